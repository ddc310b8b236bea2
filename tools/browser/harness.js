// Shows the page after the # in frames of several widths and writes what is wrong with it, or that all is right.
"use strict";

const WIDTHS = [375, 1280];
const SMALLEST_TEXT = 12; // CSS pixels
const LEAST_CONTRAST = 4.5; // WCAG 2.2, level AA

function where(element) {
  const classes = element.className ? "." + element.className : "";
  return `<${element.localName}${classes}> ${element.textContent.trim().slice(0, 40)}`;
}

// Elements that have a text of their own and are seen.
function texts(document) {
  const has_text = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== "");
  return [...document.body.querySelectorAll("*")].filter((element) => has_text(element) && element.getClientRects().length > 0);
}

function channels(colour) {
  const [red, green, blue, alpha = 1] = colour.match(/[\d.]+/g).map(Number);
  return { rgb: [red, green, blue], alpha };
}

function luminance(rgb) {
  const linear = rgb.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function contrast(view, element) {
  let behind = element;
  while (behind && channels(view.getComputedStyle(behind).backgroundColor).alpha === 0) behind = behind.parentElement;
  const colours = [view.getComputedStyle(element).color, behind ? view.getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)"];
  const [dark, light] = colours.map((colour) => luminance(channels(colour).rgb)).sort((one, other) => one - other);
  return (light + 0.05) / (dark + 0.05);
}

function faults(frame) {
  const { contentDocument: document, contentWindow: view } = frame;
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  const images = [...document.images];
  const width = document.documentElement.clientWidth;
  const sticks_out = [...document.body.querySelectorAll("*")].filter((element) => element.getBoundingClientRect().right > width + 0.5);
  const style = (element) => view.getComputedStyle(element);
  return [
    ...(document.body.children.length === 0 ? ["the page is empty"] : []),
    ...(document.documentElement.scrollWidth > width ? [`${document.documentElement.scrollWidth} pixels wide`] : []),
    ...sticks_out.map((element) => `sticks out: ${where(element)}`),
    ...images.filter((image) => !(image.naturalWidth > 0 && image.naturalHeight > 0)).map((image) => `not decoded: ${image.alt}`),
    ...images.filter((image) => image.alt.trim() === "").map(() => "a picture without a text for those who do not see it"),
    ...texts(document).filter((element) => parseFloat(style(element).fontSize) < SMALLEST_TEXT).map((element) => `small: ${where(element)}`),
    ...texts(document).filter((element) => contrast(view, element) < LEAST_CONTRAST).map((element) => `pale: ${where(element)}`),
    ...view.performance.getEntriesByType("resource").map((entry) => `loads ${entry.name.slice(0, 80)}`),
  ];
}

// One width after the other. A frame's load, and what is done in it, is waited for before this page itself counts as loaded.
function check([width, ...others]) {
  const frame = document.createElement("iframe");
  frame.width = width;
  frame.src = decodeURIComponent(location.hash.slice(1));
  frame.onload = () => {
    const scheme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const found = faults(frame);
    const all_well = `ok: ${width} pixels, ${scheme}: ${frame.contentDocument.images.length} pictures, ${texts(frame.contentDocument).length} texts`;
    const lines = found.length === 0 ? [all_well] : found.map((fault) => `not ok: ${width} pixels, ${scheme}: ${fault}`);
    document.getElementById("found").append(lines.join("\n") + "\n");
    if (others.length > 0) check(others);
  };
  document.body.append(frame);
}

check(WIDTHS);

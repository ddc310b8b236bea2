use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;

fn layer(name: &str, kind: &str, parameters: u64, activations: Option<Image>) -> LayerSeen {
    let shown = activations.as_ref().map_or(String::new(), |_| "4 of 8 maps".into());
    LayerSeen { name: name.into(), kind: kind.into(), output: "8×9×7".into(), parameters, activations, shown }
}

/// Grey noise, which no file is shorter than: no two seeds alike.
fn noise(width: usize, height: usize, seed: u64) -> Image {
    let mut values = vec![0; width * height];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut values);
    Image::new(width, height, 1, values).expect("a picture")
}

fn report() -> Report {
    Report {
        title: "A boot & \"more\"".into(),
        model: "resnet<18>".into(),
        weights: "fashion".into(),
        picture: noise(28, 28, 1),
        predictions: vec![("<script>alert('boot')</script>".into(), 0.9731), ("bag".into(), 0.02), ("coat".into(), f32::NAN)],
        figures: vec![Figure { title: "Grad-CAM".into(), about: "Warm is where it looks.".into(), image: noise(56, 56, 2) }],
        layers: vec![
            layer("features.0", "conv 3×3", 1_234, Some(noise(20, 20, 3))),
            layer("features.1", "ReLU", 0, None),
            layer("layer1.0.conv1", "conv 3×3", 1_000_000, Some(noise(21, 20, 4))),
            layer("layer1.0.inner.0", "linear", 10, None),
            layer("layer1.0.inner", "multiply", 0, None),
            layer("layer1.0", "add", 0, Some(noise(22, 20, 5))),
            layer("layer1.00", "dropout 0.5", 0, None),
        ],
        notes: vec!["A note, <b>plain</b>.".into()],
    }
}

/// The elements of a page in order, each closed by its own end: the names, an indent a level.
fn elements(page: &str) -> Vec<String> {
    let body = page.strip_prefix("<!doctype html>").expect("a doctype");
    // Angle brackets stand in the style as well.
    let (before, rest) = body.split_once("<style>").expect("a style");
    let body = format!("{before}{}", rest.split_once("</style>").expect("its end").1);
    let (mut open, mut names) = (Vec::new(), Vec::new());
    for part in body.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("the end of a tag");
        assert!(!text.contains('>') && tag.matches('"').count() % 2 == 0, "{part}");
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "`{tag}` after {names:?}");
            continue;
        }
        names.push(format!("{}{name}", " ".repeat(open.len())));
        if !["meta", "link", "img"].contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    names
}

fn count(page: &str, element: &str) -> usize {
    elements(page).iter().filter(|name| name.trim_start() == element).count()
}

#[test]
fn a_page_is_well_formed_and_has_it_all() -> Result<()> {
    let report = report();
    let page = report.html()?;
    assert_eq!([count(&page, "img"), count(&page, "details"), count(&page, "h2")], [5, 2, 3]);
    for layer in &report.layers {
        assert!(page.contains(&format!(">{}</span> <span class=\"kind\">{}<", layer.name, layer.kind)), "{}", layer.name);
    }
    for text in
        ["7 layers, 1,001,244 parameters", "1,000,010 parameters", "2 layers inside", "97.3%", "Warm is where it looks.", "4 of 8 maps"]
    {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page.matches(" alt=\"").count(), 5);
    // Small pictures are enlarged by whole factors, and every picture lies in the page.
    assert!(page.contains("class=\"pixels\" width=\"224\" height=\"224\"") && page.contains("width=\"640\" height=\"640\""));
    Ok(())
}

#[test]
fn names_are_texts_and_nothing_is_loaded() -> Result<()> {
    let page = report().html()?;
    assert!(page.contains("&lt;script&gt;alert(&#39;boot&#39;)&lt;/script&gt;") && page.contains("resnet&lt;18&gt;"));
    assert!(page.contains("<h1>A boot &amp; &quot;more&quot;</h1>") && page.contains("&lt;b&gt;plain&lt;/b&gt;"));
    assert_eq!(count(&page, "script") + count(&page, "b"), 0);
    assert_eq!(page.matches("src=").count(), page.matches("src=\"data:image/png;base64,").count());
    assert_eq!(page.matches("href=").count(), 1, "the empty icon");
    assert!(!["http:", "https:", "@import", "url("].iter().any(|outside| page.contains(outside)));
    Ok(())
}

#[test]
fn empty_parts_are_left_out() -> Result<()> {
    let (title, none) = ("A boot".to_owned(), String::new);
    let picture = noise(3, 3, 0);
    let bare =
        Report { title, model: none(), weights: none(), picture, predictions: vec![], figures: vec![], layers: vec![], notes: vec![] };
    let page = bare.html()?;
    let body: Vec<String> = elements(&page).into_iter().skip_while(|name| name.trim() != "body").map(|name| name.trim().into()).collect();
    assert_eq!(body, ["body", "main", "header", "h1", "section", "img"]);
    // A layer without learnt numbers and without a sheet is a line; one with a sheet alone is not.
    let layers = vec![layer("relu", "ReLU", 0, None), layer("pool", "max pool 2×2", 0, Some(noise(4, 4, 0)))];
    let page = Report { layers, ..bare }.html()?;
    assert_eq!(page.matches("<li class=\"line\">").count(), 1);
    assert!(page.contains("2 layers, 0 parameters") && !page.contains("<span class=\"parameters\">"));
    Ok(())
}

/// Where there is no room for all, the sheets inside of blocks go first, and the page says so.
#[test]
fn pages_have_an_end() -> Result<()> {
    let report = report();
    let tree = tree::of(&report.layers);
    assert_eq!(tree::from_the_outside(&tree), [0, 1, 5, 6, 2, 4, 3]);
    let all = report.pictures(&tree, MOST_BYTES)?;
    assert_eq!(all.left_out, 0);
    let all_but_one = report.pictures(&tree, [28 * 28, 56 * 56, 20 * 20, 22 * 20].iter().map(|bytes| bytes + 100).sum())?;
    assert_eq!((all_but_one.left_out, all_but_one.sheets[2].is_none(), all_but_one.sheets[5].is_some()), (1, true, true));
    let page = page::html(&report, &tree, &all_but_one);
    assert_eq!(count(&page, "img"), 4);
    assert!(page.contains("1 picture left out to keep the page small."));
    Ok(())
}

/// As many sheets as a ResNet-50 has, of noise, which cannot be packed: the page stays below 5 MB.
#[test]
fn a_large_network_is_a_page_of_some_megabytes() -> Result<()> {
    let sheets = (0..60).map(|index| layer(&format!("layer{index}"), "conv 3×3", 9, Some(noise(480, 480, index))));
    let page = Report { layers: sheets.collect(), ..report() }.html()?;
    assert!((3 << 20..5 << 20).contains(&page.len()), "{} bytes", page.len());
    assert!(page.contains("layer59") && page.contains("pictures left out"));
    Ok(())
}

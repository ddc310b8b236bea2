//! The page in HTML.

use super::album::Picture;
use super::tree::Node;
use super::{LayerSeen, Pictures, Report};

const STYLE: &str = include_str!("style.css");

/// Sides up to which small pictures are enlarged, by whole factors, in pixels of the page.
const ROOM_OF_PICTURE: usize = 240;
const ROOM_OF_FIGURE: usize = 320;
const ROOM_OF_SHEET: usize = 640;

/// Figures of more columns than this stand alone in their row.
const WIDE: usize = 400;

/// The whole page.
pub fn html(report: &Report, tree: &[Node], pictures: &Pictures) -> String {
    let title = escaped(&report.title);
    let parts = [
        header(report),
        answer(report, &pictures.picture),
        figures(report, pictures),
        layers(report, tree, pictures),
        notes(report, pictures.left_out),
    ];
    // The page may load nothing, and says so to the browser.
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
        parts.concat()
    )
}

/// The headline, and the network in a line.
fn header(report: &Report) -> String {
    let layers = match report.layers.len() {
        0 => String::new(),
        count => format!(
            "{}, {}",
            counted(count as u64, "layer"),
            counted(report.layers.iter().map(|layer| layer.parameters).sum(), "parameter")
        ),
    };
    let facts: Vec<String> =
        [escaped(&report.model), escaped(&report.weights), layers].into_iter().filter(|fact| !fact.is_empty()).collect();
    format!("<header>\n<h1>{}</h1>\n{}</header>\n", escaped(&report.title), wrapped("p class=\"facts\"", &facts.join(" · ")))
}

/// The picture beside what the network says of it.
fn answer(report: &Report, picture: &Picture) -> String {
    let bar = |(class, probability): &(String, f32)| {
        let percent = 100.0 * probability.clamp(0.0, 1.0);
        format!(
            "<li><span class=\"class\">{}</span><span class=\"percent\">{percent:.1}%</span>\
             <span class=\"bar\"><span style=\"width:{percent:.2}%\"></span></span></li>\n",
            escaped(class)
        )
    };
    let bars: String = report.predictions.iter().map(bar).collect();
    let picture = image(picture, ROOM_OF_PICTURE, "The picture that the network was given");
    format!("<section class=\"answer\">\n{picture}\n{}</section>\n", wrapped("ol class=\"bars\"", &bars))
}

/// The maps.
fn figures(report: &Report, pictures: &Pictures) -> String {
    let figure = |(figure, picture): (&super::Figure, &Option<Picture>)| {
        let class = match picture {
            Some(picture) if picture.width > WIDE => " class=\"wide\"",
            _ => "",
        };
        let picture = picture.as_ref().map_or_else(|| LEFT_OUT.into(), |picture| image(picture, ROOM_OF_FIGURE, &figure.title));
        let (title, about) = (escaped(&figure.title), escaped(&figure.about));
        format!("<figure{class}>\n{picture}\n<figcaption><strong>{title}</strong> {about}</figcaption>\n</figure>\n")
    };
    let figures: String = report.figures.iter().zip(&pictures.figures).map(figure).collect();
    section("What it looks at", &wrapped("div class=\"figures\"", &figures))
}

/// The network from the picture down to the scores.
fn layers(report: &Report, tree: &[Node], pictures: &Pictures) -> String {
    section("Layer by layer", &flow(&report.layers, tree, pictures))
}

/// Layers under each other.
fn flow(layers: &[LayerSeen], nodes: &[Node], pictures: &Pictures) -> String {
    let cards: String = nodes.iter().map(|node| card(layers, node, pictures)).collect();
    wrapped("ol class=\"flow\"", &cards)
}

/// A layer: its name, what it is and gives, its sheet, and the layers inside.
fn card(layers: &[LayerSeen], node: &Node, pictures: &Pictures) -> String {
    let layer = &layers[node.index];
    let parameters = parameters(layers, node);
    let learnt = match parameters {
        0 => String::new(),
        count => format!("<span class=\"parameters\">{}</span> ", counted(count, "parameter")),
    };
    let facts = format!(
        "<div class=\"layer\"><span class=\"name\">{}</span> <span class=\"kind\">{}</span> {learnt}<span class=\"output\">{}</span></div>",
        escaped(&layer.name),
        escaped(&layer.kind),
        escaped(&layer.output)
    );
    let sheet = match (&layer.activations, &pictures.sheets[node.index]) {
        (None, _) => String::new(),
        (Some(_), None) => format!("{LEFT_OUT}\n"),
        (Some(_), Some(sheet)) => {
            let sheet = image(sheet, ROOM_OF_SHEET, &format!("Activations of {}", layer.name));
            format!("<figure>\n{sheet}\n{}</figure>\n", wrapped("figcaption", &escaped(&layer.shown)))
        }
    };
    let inside = match node.inner.len() {
        0 => String::new(),
        count => format!(
            "<details>\n<summary>{} inside</summary>\n{}</details>\n",
            counted(count as u64, "layer"),
            flow(layers, &node.inner, pictures)
        ),
    };
    let class = match (parameters, layer.activations.is_some()) {
        (0, false) => " class=\"line\"",
        (0, true) => " class=\"still\"",
        _ => "",
    };
    format!("<li{class}>{facts}\n{sheet}{inside}</li>\n")
}

/// The trainable numbers of a layer with those inside of it.
fn parameters(layers: &[LayerSeen], node: &Node) -> u64 {
    layers[node.index].parameters + node.inner.iter().map(|inner| parameters(layers, inner)).sum::<u64>()
}

/// Stands where a picture would be.
const LEFT_OUT: &str = "<p class=\"left-out\">Left out to keep the page small.</p>";

/// Remarks, and how many pictures were left out.
fn notes(report: &Report, left_out: usize) -> String {
    let left_out = match left_out {
        0 => String::new(),
        count => format!("<li>{} left out to keep the page small.</li>\n", counted(count as u64, "picture")),
    };
    let notes = report.notes.iter().map(|note| format!("<li>{}</li>\n", escaped(note)));
    section("Notes", &wrapped("ul class=\"notes\"", &notes.chain([left_out]).collect::<String>()))
}

/// A picture, a small one enlarged by a whole factor to at most `room`.
fn image(picture: &Picture, room: usize, alt: &str) -> String {
    let factor = (room / picture.width.max(picture.height)).max(1);
    let class = if factor > 1 { " class=\"pixels\"" } else { "" };
    let (width, height) = (picture.width * factor, picture.height * factor);
    format!("<img{class} width=\"{width}\" height=\"{height}\" alt=\"{}\" src=\"{}\">", escaped(alt), picture.address())
}

/// A part with its heading, or nothing where it is empty.
fn section(heading: &str, content: &str) -> String {
    match content {
        "" => String::new(),
        content => format!("<section>\n<h2>{heading}</h2>\n{content}</section>\n"),
    }
}

/// Content in an element, or nothing where there is none.
fn wrapped(tag: &str, content: &str) -> String {
    let name = tag.split(' ').next().unwrap_or(tag);
    match content {
        "" => String::new(),
        content => format!("<{tag}>{content}</{name}>\n"),
    }
}

/// `1 layer`, `2 layers`, `1,176,746 parameters`.
fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// `1,176,746`.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let separated = digits.char_indices().map(|(at, digit)| match at > 0 && (digits.len() - at).is_multiple_of(3) {
        true => format!(",{digit}"),
        false => digit.to_string(),
    });
    separated.collect()
}

/// A text as it may stand in an element or in quotes; control characters, which no page may have, become `�`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character if character.is_control() && !character.is_whitespace() => escaped.push(char::REPLACEMENT_CHARACTER),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let numbers = [0, 7, 999, 1000, 61_100_840, 1_000_000_000].map(thousands);
        assert_eq!(numbers, ["0", "7", "999", "1,000", "61,100,840", "1,000,000,000"]);
        assert_eq!([counted(1, "layer"), counted(0, "layer")], ["1 layer", "0 layers"]);
    }

    #[test]
    fn texts_stay_texts() {
        assert_eq!(escaped("<a href=\"x\">'&'\u{1b}\n"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;\u{fffd}\n");
    }
}

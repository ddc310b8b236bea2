//! The text form of an augmentation, as it is typed.

use std::fmt;
use std::str::FromStr;

use cirio_vision::augment::Photometric;

use super::{Augmentation, CopyPaste, HorizontalFlip, IouCrop, ScaleJitter, ShortestSide, Step, ZoomOut};
use crate::{Error, Result};

/// What a name stands for.
type Make = fn() -> Vec<Step>;

const NAMES: [(&str, Make); 10] = [
    ("hflip", || vec![hflip()]),
    ("photometric", || vec![Step::Photometric(Photometric::default())]),
    ("zoom-out", || vec![Step::ZoomOut(ZoomOut::default())]),
    ("iou-crop", || vec![Step::IouCrop(IouCrop::default())]),
    ("scale-jitter", || vec![Step::ScaleJitter(ScaleJitter::default())]),
    ("shortest-side", || vec![Step::ShortestSide(ShortestSide::default())]),
    ("copy-paste", || vec![Step::CopyPaste(CopyPaste::default())]),
    ("multiscale", || vec![Step::ShortestSide(ShortestSide::default()), hflip()]),
    ("lsj", || vec![Step::ScaleJitter(ScaleJitter::default()), hflip()]),
    ("ssd", || {
        vec![Step::Photometric(Photometric::default()), Step::ZoomOut(ZoomOut::default()), Step::IouCrop(IouCrop::default()), hflip()]
    }),
];

fn hflip() -> Step {
    Step::Hflip(HorizontalFlip::default())
}

impl FromStr for Augmentation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "none" {
            return Ok(Self::default());
        }
        let steps = text.split(',').map(|part| named(part.trim())).collect::<Result<Vec<_>>>()?.concat();
        let augmentation = Self { steps };
        augmentation.check()?;
        Ok(augmentation)
    }
}

/// The steps of a name, or of a name and a value, `NAME:VALUE`.
fn named(text: &str) -> Result<Vec<Step>> {
    let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value)));
    let Some((_, make)) = NAMES.iter().find(|(known, _)| *known == name) else {
        let known = NAMES.map(|(name, _)| name).join(", ");
        return Err(Error::option("augmentation", format!("`{name}`"), format!("none, or of these, with commas between: {known}")));
    };
    let mut steps = make();
    match (value, steps.first_mut()) {
        (Some(value), Some(Step::ScaleJitter(jitter))) => jitter.side = pixels(name, value)?,
        (Some(value), Some(Step::ShortestSide(side))) => {
            side.sizes = value.split('/').map(|size| pixels(name, size)).collect::<Result<_>>()?;
        }
        (Some(_), _) => return Err(Error::option("augmentation", format!("`{text}`"), format!("`{name}`, which takes no value"))),
        (None, _) => {}
    }
    Ok(steps)
}

fn pixels(name: &str, text: &str) -> Result<usize> {
    text.trim().parse().map_err(|_| Error::option("augmentation", format!("`{text}` after `{name}:`"), "a number of pixels"))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hflip(_) => f.write_str("hflip"),
            Self::Photometric(_) => f.write_str("photometric"),
            Self::ZoomOut(_) => f.write_str("zoom-out"),
            Self::IouCrop(_) => f.write_str("iou-crop"),
            Self::ScaleJitter(jitter) => write!(f, "scale-jitter:{}", jitter.side),
            Self::ShortestSide(side) => {
                write!(f, "shortest-side:{}", side.sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("/"))
            }
            Self::CopyPaste(_) => f.write_str("copy-paste"),
        }
    }
}

impl fmt::Display for Augmentation {
    /// The names of the steps; strengths that are not the usual ones are not seen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&self.steps.iter().map(Step::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_lists_of_steps() -> Result<()> {
        for (text, written) in [
            ("none", "none"),
            ("hflip", "hflip"),
            ("multiscale", "shortest-side:480/512/544/576/608/640/672/704/736/768/800,hflip"),
            ("lsj, copy-paste", "scale-jitter:1024,hflip,copy-paste"),
            ("lsj:256", "scale-jitter:256,hflip"),
            ("ssd", "photometric,zoom-out,iou-crop,hflip"),
            ("shortest-side:160/192,hflip", "shortest-side:160/192,hflip"),
        ] {
            let augmentation: Augmentation = text.parse()?;
            assert_eq!(augmentation.to_string(), written);
            assert_eq!(written.parse::<Augmentation>()?, augmentation);
            let json = serde_json::to_string(&augmentation).expect("JSON");
            assert_eq!(serde_json::from_str::<Augmentation>(&json).expect("an augmentation"), augmentation);
        }
        Ok(())
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (text, said) in [
            ("hflip,zoom", "augmentation: found `zoom`, expected none, or of these, with commas between: hflip, photometric,"),
            ("", "found ``"),
            ("hflip,", "found ``"),
            ("ssd:3", "found `ssd:3`, expected `ssd`, which takes no value"),
            ("lsj:large", "found `large` after `lsj:`, expected a number of pixels"),
            ("shortest-side:160/", "found `` after `shortest-side:`"),
            ("lsj:0", "side is 0, expected 1 … 8192"),
            ("multiscale:100/99999", "sizes is 99999"),
        ] {
            let error = text.parse::<Augmentation>().expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}

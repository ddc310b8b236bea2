//! Values of flags.

use cirio_nn::device::DeviceChoice;
use cirio_train::Curve;
use cirio_vision::Views;
use clap::ValueEnum;

/// `--tta`: views of each picture that a prediction is made of.
#[derive(Clone, Copy, ValueEnum)]
pub enum Tta {
    /// One view.
    None,
    /// The picture and its mirror image.
    Flip,
    /// Four corners and the middle of what is cropped, and their mirror images.
    TenCrop,
}

impl From<Tta> for Views {
    fn from(tta: Tta) -> Self {
        match tta {
            Tta::None => Self::One,
            Tta::Flip => Self::Flip,
            Tta::TenCrop => Self::TenCrop,
        }
    }
}

/// `3x224x224` as `[3, 224, 224]`.
pub fn volume(text: &str) -> Result<[usize; 3], String> {
    let sides = sides(text)?;
    <[usize; 3]>::try_from(sides).map_err(|sides| format!("expected CxHxW such as 3x224x224, given {} numbers", sides.len()))
}

/// `9` as `[9, 9]`, `480x640` as `[480, 640]`: rows and columns.
pub fn square(text: &str) -> Result<[usize; 2], String> {
    match sides(text)?[..] {
        [side] => Ok([side; 2]),
        [rows, columns] => Ok([rows, columns]),
        _ => Err("expected one number, or ROWSxCOLUMNS".into()),
    }
}

/// A whole number from 1.
pub fn count(text: &str) -> Result<usize, String> {
    match sides(text)?[..] {
        [count] if count > 0 => Ok(count),
        _ => Err("expected one whole number from 1".into()),
    }
}

/// `constant`, `cosine`, `one-cycle`, `step:30:0.1`, `multi-step:30,60:0.1`.
pub fn curve(text: &str) -> Result<Curve, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no number of epochs"));
    let factor = |text: &str| text.parse::<f64>().map_err(|_| format!("`{text}` is no number"));
    match parts[..] {
        ["constant"] => Ok(Curve::Constant),
        ["cosine"] => Ok(Curve::Cosine { to: 0.0 }),
        // The shape that its authors and torch use: up for 30 % of the steps, from 1/25, down to 1/250,000.
        ["one-cycle"] => Ok(Curve::OneCycle { peak: 0.3, from: 0.04, to: 4e-6 }),
        ["step", every, gamma] => Ok(Curve::Step { every: number(every)?, gamma: factor(gamma)? }),
        ["multi-step", milestones, gamma] => {
            let milestones = milestones.split(',').map(number).collect::<Result<_, _>>()?;
            Ok(Curve::MultiStep { milestones, gamma: factor(gamma)? })
        }
        _ => Err("expected constant, cosine, one-cycle, step:EVERY:GAMMA or multi-step:EPOCH,EPOCH:GAMMA".into()),
    }
}

/// A length of time, in 0 ≤ x ≤ 3600 s.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, 0 to 3600".into()),
    }
}

/// A part of a whole, in 0 ≤ x < 1.
pub fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err("expected a part of a whole, in 0 ≤ x < 1".into()),
    }
}

/// A part that is neither nothing nor all, in 0 < x < 1.
pub fn part(text: &str) -> Result<f64, String> {
    share(text).ok().filter(|part| *part > 0.0).ok_or_else(|| "expected a part of a whole, in 0 < x < 1".into())
}

/// What is added to a variance, in 0 ≤ x < 1.
pub fn eps(text: &str) -> Result<f64, String> {
    share(text).map_err(|_| "expected a small number, in 0 ≤ x < 1".into())
}

/// The largest number that a size may have, so that products of a few of them stay within 64 bits.
const LARGEST: usize = 65_536;

fn sides(text: &str) -> Result<Vec<usize>, String> {
    let side = |text: &str| match text.trim().parse::<usize>() {
        Ok(side) if side <= LARGEST => Ok(side),
        Ok(side) => Err(format!("{side} is more than {LARGEST}")),
        Err(_) => Err(format!("`{text}` is no whole number")),
    };
    text.split(['x', '×']).map(side).collect()
}

/// `auto`, `cpu`, `cuda[:N]`, `metal[:N]`.
pub fn device(text: &str) -> Result<DeviceChoice, String> {
    text.parse().map_err(|error: cirio_nn::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        assert_eq!(share("0"), Ok(0.0));
        assert_eq!(share("0.25"), Ok(0.25));
        assert!(part("0").is_err() && part("0.1") == Ok(0.1));
        for bad in ["1", "-0.1", "2", "NaN", "a"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["-1", "3601", "NaN", "a"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(volume("3x224x200"), Ok([3, 224, 200]));
        assert_eq!(square("9"), Ok([9, 9]));
        assert_eq!(square("480×640"), Ok([480, 640]));
        for bad in ["", "x", "3x", "3x-1x2", "3.5", "1x2x3x4", "1x1x65537"] {
            assert!(volume(bad).is_err(), "{bad}");
        }
        assert!(square("1x2x3").is_err());
    }
}

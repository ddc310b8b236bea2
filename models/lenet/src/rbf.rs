//! The output layer of LeNet-5: Euclidean radial basis function units on fixed bitmaps of the characters.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::Pass;
use cirio_nn::Volume;
use cirio_nn::layer::{Cost, Forward, Layer, Reach, Shaped};

/// For each class the negated squared distance between (N, 84) and the class's bitmap: (N, K) logits.
///
/// The paper's penalty is y = Σ (x - w)² with w = ±1 over the 7×12 bitmap (section II.B); here the logit is -y, so that
/// the largest is the answer, as in every other network. Nothing is trained, and nothing is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rbf {
    /// K, at most the number of bitmaps.
    pub classes: usize,
}

/// 7 columns × 12 rows.
const PIXELS: usize = 84;
const DIGITS: usize = 10;

impl Layer for Rbf {
    fn kind(&self) -> String {
        "RBF on 7×12 bitmaps".into()
    }

    fn output(&self, input: &Volume) -> Shaped {
        if *input != Volume::Vector(PIXELS) {
            return Err(format!("it compares vectors of {PIXELS} values with bitmaps"));
        }
        if self.classes == 0 || self.classes > DIGITS {
            return Err(format!("there are bitmaps for {DIGITS} classes, not for {}", self.classes));
        }
        Ok(Volume::Vector(self.classes))
    }

    fn cost(&self, _input: &Volume) -> Cost {
        let connections = (PIXELS * self.classes) as u64;
        Cost { parameters: 0, macs: connections, connections }
    }

    fn reach(&self, _input: &Volume) -> Reach {
        Reach::All
    }

    fn build(&self, _input: &Volume, weights: VarBuilder) -> Result<Box<dyn Forward>> {
        let centres: Vec<f32> = (0..self.classes).flat_map(bitmap).collect();
        let centres = Tensor::from_vec(centres, (1, self.classes, PIXELS), weights.device())?.to_dtype(weights.dtype())?;
        Ok(Box::new(Centres(centres)))
    }
}

struct Centres(Tensor);

impl Forward for Centres {
    fn forward(&self, input: &Tensor, _pass: &Pass) -> Result<Tensor> {
        input.unsqueeze(1)?.broadcast_sub(&self.0)?.sqr()?.sum(2)?.neg()
    }
}

/// The 84 values of a digit's bitmap, row by row: +1 for ink, -1 for paper.
fn bitmap(digit: usize) -> impl Iterator<Item = f32> {
    let row = move |row: &&'static str| row.split(' ').nth(digit).unwrap_or_default().bytes();
    BITMAPS.iter().flat_map(row).map(|byte| if byte == b'#' { 1.0 } else { -1.0 })
}

/// The ten digits side by side, drawn for this crate in the manner of the paper's figure 3.
const BITMAPS: [&str; 12] = [
    "..###.. ...##.. .#####. ####### ....##. ####### ...###. ####### .#####. ..###..",
    ".##.##. ..###.. ##...## ....##. ...###. ##..... .##.... ##...## ##...## .##.##.",
    "##...## .####.. ##...## ...##.. ..####. ##..... ##..... .....## ##...## ##...##",
    "##...## ...##.. .....## ..##... .##.##. ##..... ##..... ....##. ##...## ##...##",
    "##...## ...##.. ....##. ..####. ##..##. #####.. #####.. ....##. .#####. ##...##",
    "##...## ...##.. ...##.. ....### ##..##. ....##. ##..##. ...##.. ##...## .##..##",
    "##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## ..#####",
    "##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##",
    "##...## ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## .....##",
    ".##.##. ...##.. ##...## ###.### ....##. .##.##. .##.##. ..##... ##...## ....##.",
    "..###.. .###### ####### .#####. ....##. ..###.. ..###.. ..##... .#####. .###...",
    "....... ....... ....... ....... ....... ....... ....... ....... ....... .......",
];

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use cirio_nn::layer::Flatten;
    use cirio_nn::{Layers, Store};

    use super::*;

    #[test]
    fn bitmaps_are_7_by_12_and_differ() {
        for digit in 0..DIGITS {
            assert_eq!(bitmap(digit).count(), PIXELS, "{digit}");
            assert!((0..digit).all(|other| !bitmap(other).eq(bitmap(digit))), "{digit}");
        }
    }

    #[test]
    fn a_vector_that_is_a_bitmap_has_no_distance_to_it() -> cirio_nn::Result<()> {
        let store = Store::new(0, DType::F32, &Device::Cpu);
        let network = Layers::new([PIXELS, 1, 1]).then("flatten", Flatten).then("rbf", Rbf { classes: DIGITS });
        let network = network.build(store.var_builder())?;
        for digit in 0..DIGITS {
            let input = Tensor::from_vec(bitmap(digit).collect::<Vec<f32>>(), (1, PIXELS, 1, 1), &Device::Cpu)?;
            let logits = network.forward(&input)?.to_vec2::<f32>()?;
            assert_eq!(logits[0][digit], 0.0);
            // Bitmaps differ in some pixels, each of which costs 2² = 4.
            assert!(logits[0].iter().enumerate().all(|(class, &logit)| class == digit || logit <= -4.0), "{logits:?}");
        }
        Ok(())
    }
}

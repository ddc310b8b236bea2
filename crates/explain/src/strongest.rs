//! The strongest activations of each map over a data set (Zeiler & Fergus 2014, section 4.1).

use candle_core::{DType, Tensor};

use crate::heat::Heat;
use crate::{Error, Result};

/// A strong activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The number of the picture.
    pub picture: usize,
    /// Row and column in the map.
    pub place: [usize; 2],
    /// The activation.
    pub value: f32,
}

/// The strongest activations of the maps of a layer, one a picture, as pictures come by. What is kept does not grow with them.
#[derive(Clone, Debug)]
pub struct Strongest {
    count: usize,
    pictures: usize,
    /// Of each map, from the strongest down.
    maps: Vec<Vec<Peak>>,
}

impl Strongest {
    /// Nothing yet; of each map `count` activations will be kept. The paper has nine.
    pub fn new(count: usize) -> Self {
        Self { count, pictures: 0, maps: Vec::new() }
    }

    /// Looks at the maps of a layer (N, C, h, w), or its values (N, K), for N pictures with these numbers.
    ///
    /// # Errors
    /// When the tensor has other axes, other maps than those before, or there is not one number a picture.
    pub fn add(&mut self, outputs: &Tensor, pictures: &[usize]) -> Result<()> {
        let (images, maps, size) = match *outputs.dims() {
            [images, maps] => (images, maps, [1, 1]),
            [images, maps, height, width] => (images, maps, [height, width]),
            ref given => return Err(Error::Setting(format!("maps {given:?}, expected (N, C, H, W) or (N, K)"))),
        };
        if images != pictures.len() {
            return Err(Error::Setting(format!("maps of {images} pictures with {} numbers", pictures.len())));
        }
        if self.maps.is_empty() {
            self.maps = vec![Vec::new(); maps];
        } else if self.maps.len() != maps {
            return Err(Error::Setting(format!("a layer of {maps} maps, and of {} before", self.maps.len())));
        }
        let values: Vec<f32> = outputs.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        for (at, values) in values.chunks_exact((size[0] * size[1]).max(1)).take(images * maps).enumerate() {
            let heat = Heat { height: size[0], width: size[1], values: values.to_vec() };
            let Some(place) = heat.strongest() else { continue };
            let value = values[place[0] * size[1] + place[1]];
            self.keep(at % maps, Peak { picture: pictures[at / maps], place, value });
        }
        self.pictures += images;
        Ok(())
    }

    /// Keeps a peak where it is among the strongest; of equal ones the first.
    fn keep(&mut self, map: usize, peak: Peak) {
        let peaks = &mut self.maps[map];
        // A dead map has no strong places, and NaN is none.
        if peak.value > 0.0 {
            let place = peaks.partition_point(|other| other.value >= peak.value);
            peaks.insert(place, peak);
            peaks.truncate(self.count);
        }
    }

    /// C, the number of maps; 0 before the first pictures.
    pub fn maps(&self) -> usize {
        self.maps.len()
    }

    /// The strongest activations of a map, the strongest first, fewer where the map was above 0 in fewer pictures.
    ///
    /// # Errors
    /// When there is no such map, or it was dead: never above 0.
    pub fn of_map(&self, map: usize) -> Result<&[Peak]> {
        match self.maps.get(map).map(Vec::as_slice) {
            Some([]) => Err(Error::Nothing(format!("map {map} is dead: it was above 0 in none of {} pictures", self.pictures))),
            Some(peaks) => Ok(peaks),
            None => Err(Error::Setting(format!("map {map}: there are maps 0 to {}", self.maps.len().saturating_sub(1)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_peak_a_picture_the_strongest_first() -> Result<()> {
        let mut strongest = Strongest::new(2);
        strongest.add(&Tensor::new(&[[[[0f32, 3.0], [1.0, 2.0]], [[-1.0, -2.0], [0.0, 0.0]]]], &Device::Cpu)?, &[7])?;
        strongest.add(
            &Tensor::new(&[[[[5f32, 0.0], [5.0, 2.0]], [[0.0; 2]; 2]], [[[1.0, 4.0], [0.0; 2]], [[0.0; 2]; 2]]], &Device::Cpu)?,
            &[8, 9],
        )?;
        let expected = [Peak { picture: 8, place: [0, 0], value: 5.0 }, Peak { picture: 9, place: [0, 1], value: 4.0 }];
        assert_eq!(strongest.of_map(0)?, expected);
        let dead = strongest.of_map(1).unwrap_err().to_string();
        assert_eq!(dead, "map 1 is dead: it was above 0 in none of 3 pictures");
        assert!(strongest.of_map(2).unwrap_err().to_string().contains("maps 0 to 1"));
        let other = strongest.add(&Tensor::zeros((1, 3, 2, 2), DType::F32, &Device::Cpu)?, &[0]).unwrap_err().to_string();
        assert!(other.contains("3 maps, and of 2 before"), "{other}");
        assert!(strongest.add(&Tensor::zeros(4, DType::F32, &Device::Cpu)?, &[0; 4]).is_err());
        Ok(())
    }

    proptest! {
        /// What is kept is what sorting everything would give, however the pictures come in batches.
        #[test]
        fn the_strongest_are_those_of_all(values in proptest::collection::vec(-8i8..8, 24), batch in 1usize..7, count in 1usize..9) {
            let all: Vec<f32> = values.iter().map(|&value| f32::from(value)).collect();
            let mut strongest = Strongest::new(count);
            for (number, part) in all.chunks(batch).enumerate() {
                let maps = Tensor::from_slice(part, (part.len(), 1), &Device::Cpu).unwrap();
                let numbers: Vec<usize> = (0..part.len()).map(|at| number * batch + at).collect();
                strongest.add(&maps, &numbers).unwrap();
            }
            let mut sorted: Vec<(usize, f32)> = all.iter().copied().enumerate().filter(|(_, value)| *value > 0.0).collect();
            sorted.sort_by(|one, other| other.1.total_cmp(&one.1));
            sorted.truncate(count);
            let kept: Vec<(usize, f32)> = strongest.of_map(0).unwrap_or_default().iter().map(|peak| (peak.picture, peak.value)).collect();
            prop_assert_eq!(kept, sorted);
        }
    }
}

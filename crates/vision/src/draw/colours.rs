//! Colour maps: numbers as colours that look as far apart as the numbers are.

use crate::Colour;

/// What is not a number.
const NOT_A_NUMBER: Colour = [128; 3];

/// Every seventeenth colour of the table of 256 that its authors published (Smith and van der Walt, 2015, CC0). Straight lines
/// between them stay within 7 levels of the table.
const VIRIDIS: [Colour; 16] = [
    [68, 1, 84],
    [72, 26, 108],
    [71, 47, 125],
    [65, 68, 135],
    [57, 86, 140],
    [49, 104, 142],
    [42, 120, 142],
    [35, 136, 142],
    [31, 152, 139],
    [34, 168, 132],
    [53, 183, 121],
    [84, 197, 104],
    [122, 209, 81],
    [165, 219, 54],
    [210, 226, 27],
    [253, 231, 37],
];

/// As [`VIRIDIS`]; within 3 levels of the table.
const MAGMA: [Colour; 16] = [
    [0, 0, 4],
    [11, 9, 36],
    [32, 17, 75],
    [59, 15, 112],
    [87, 21, 126],
    [114, 31, 129],
    [140, 41, 129],
    [168, 50, 125],
    [196, 60, 117],
    [222, 73, 104],
    [241, 96, 93],
    [250, 127, 94],
    [254, 159, 109],
    [254, 191, 132],
    [253, 222, 160],
    [252, 253, 191],
];

const GREY: [Colour; 2] = [[0; 3], [255; 3]];

/// Two hues of CIELAB, 268° and 32°, whose lightness goes in even steps from 38 to 96 in the middle.
const DIVERGING: [Colour; 9] = [
    [16, 93, 147],
    [26, 130, 203],
    [118, 167, 222],
    [183, 204, 235],
    [243, 243, 243],
    [237, 192, 186],
    [220, 143, 133],
    [198, 94, 84],
    [170, 38, 39],
];

/// A way from numbers 0 … 1 to colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourMap {
    /// From dark violet over green to yellow; its lightness rises evenly. For maps of any kind.
    Viridis,
    /// From black over red to a light yellow; its lightness rises evenly. For heat that is laid over pictures.
    Magma,
    /// From black to white.
    Grey,
    /// From blue over white to red: 0 … 0.5 … 1. For values whose sign matters.
    Diverging,
}

impl ColourMap {
    /// The colour of a value 0 … 1. What lies beyond has the colour of the nearer end; what is not a number is grey.
    pub fn colour(self, value: f32) -> Colour {
        let points = self.points();
        if value.is_nan() {
            return NOT_A_NUMBER;
        }
        let place = value.clamp(0.0, 1.0) * (points.len() - 1) as f32;
        let below = (place as usize).min(points.len() - 2);
        let share = place - below as f32;
        let between = |channel: usize| {
            let [from, to] = [below, below + 1].map(|point| f32::from(points[point][channel]));
            (from + share * (to - from)).round() as u8
        };
        [0, 1, 2].map(between)
    }

    /// The lowest and the highest of some values, which get the colours of the ends. Those of [`Self::Diverging`] are as far from 0 on
    /// either side, so that 0 is white. What is not finite is passed over; where nothing is finite, the range is 0 … 0.
    pub fn range(self, values: &[f32]) -> [f32; 2] {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (low, high) = finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        match self {
            _ if low > high => [0.0; 2],
            Self::Diverging => [-low.abs().max(high.abs()), low.abs().max(high.abs())],
            Self::Viridis | Self::Magma | Self::Grey => [low, high],
        }
    }

    fn points(self) -> &'static [Colour] {
        match self {
            Self::Viridis => &VIRIDIS,
            Self::Magma => &MAGMA,
            Self::Grey => &GREY,
            Self::Diverging => &DIVERGING,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L* of CIELAB for white D65, 0 … 100.
    fn lightness(colour: Colour) -> f64 {
        let [red, green, blue] = colour.map(|value| match f64::from(value) / 255.0 {
            value if value <= 0.04045 => value / 12.92,
            value => ((value + 0.055) / 1.055).powf(2.4),
        });
        match 0.2126 * red + 0.7152 * green + 0.0722 * blue {
            bright if bright > 216.0 / 24389.0 => 116.0 * bright.cbrt() - 16.0,
            dark => dark * 24389.0 / 27.0,
        }
    }

    /// L* at 65 places.
    fn steps(map: ColourMap) -> Vec<f64> {
        (0..65).map(|step| lightness(map.colour(step as f32 / 64.0))).collect()
    }

    #[test]
    fn lightness_rises_evenly() {
        // How far each may be from a straight line; Magma's own table bends at its dark end, where CIELAB and its authors' space differ.
        for (map, ends, bend) in
            [(ColourMap::Viridis, [14.9, 90.9], 2.0), (ColourMap::Magma, [0.1, 97.9], 6.0), (ColourMap::Grey, [0.0, 100.0], 5.0)]
        {
            let steps = steps(map);
            assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{map:?}: {steps:?}");
            assert!((steps[0] - ends[0]).abs() < 0.1 && (steps[64] - ends[1]).abs() < 0.1, "{map:?}: {steps:?}");
            for (step, found) in steps.iter().enumerate() {
                let even = steps[0] + (steps[64] - steps[0]) * step as f64 / 64.0;
                assert!((found - even).abs() < bend, "{map:?} at {step}: {found} for {even}");
            }
        }
    }

    #[test]
    fn diverging_is_symmetric_around_a_light_middle() {
        let steps = steps(ColourMap::Diverging);
        assert!(steps[32] > 95.0, "{}", steps[32]);
        assert!(steps[..33].windows(2).all(|pair| pair[0] < pair[1]));
        for step in 0..32 {
            assert!((steps[step] - steps[64 - step]).abs() < 1.0, "{step}: {} and {}", steps[step], steps[64 - step]);
        }
        let ([red, _, blue], [grey, other, third]) = (ColourMap::Diverging.colour(0.0), ColourMap::Diverging.colour(0.5));
        assert!(blue > red && grey == other && other == third);
    }

    #[test]
    fn ends_places_between_and_beyond() {
        assert_eq!(ColourMap::Viridis.colour(0.0), [68, 1, 84]);
        assert_eq!([1.0, 7.0, f32::INFINITY].map(|value| ColourMap::Viridis.colour(value)), [[253, 231, 37]; 3]);
        assert_eq!(ColourMap::Magma.colour(f32::NEG_INFINITY), [0, 0, 4]);
        assert_eq!(ColourMap::Grey.colour(0.5), [128; 3]);
        assert_eq!(ColourMap::Magma.colour(f32::NAN), [128; 3]);
        // Number 68 of the published table.
        assert_eq!(ColourMap::Viridis.colour(68.0 / 255.0), [57, 86, 140]);
    }

    #[test]
    fn ranges() {
        assert_eq!(ColourMap::Viridis.range(&[3.0, -1.0, f32::NAN, f32::INFINITY]), [-1.0, 3.0]);
        assert_eq!(ColourMap::Diverging.range(&[0.5, -2.0]), [-2.0, 2.0]);
        assert_eq!(ColourMap::Grey.range(&[f32::NAN]), [0.0, 0.0]);
    }
}

//! From polygons to masks, pixel for pixel as pycocotools' `rleFrPoly` does it (cocoapi, `common/maskApi.c`).
//!
//! There the corners are rounded to fifths of a pixel, every edge is walked in fifths, and where the walk crosses the middle of a column of pixels
//! the mask begins or ends in that column. Here only those crossings are computed, so that time and memory depend on the picture and not on the
//! length of the edges.

use crate::{Error, Result, Rle, Runs};

/// Steps a pixel.
const STEPS: i64 = 5;

/// The largest coordinate, in pixels: what C's int holds in steps, with room for differences.
const FARTHEST: f64 = 1e8;

/// The most crossings of edges and columns in a mask: 128 MB of them.
const MOST_CROSSINGS: usize = 1 << 24;

impl Rle {
    /// The mask of `[rows, columns]` inside one polygon, given as x, y, x, y, … in pixels from the upper left corner. What lies twice inside is
    /// outside (the even-odd rule), and what lies outside of the picture is cut off.
    ///
    /// # Errors
    /// When a coordinate has no partner, is no number or is more than 10⁸ pixels away, when the mask would have 2³² pixels or more, and when edges
    /// cross columns more than 2²⁴ times.
    pub fn from_polygon(size: [usize; 2], polygon: &[f64]) -> Result<Self> {
        inside(size, polygon, &mut MOST_CROSSINGS.clone())
    }

    /// The mask of `[rows, columns]` inside any of some polygons; it is empty without one.
    ///
    /// # Errors
    /// As [`Rle::from_polygon`], where all polygons together have at most 2²⁴ crossings.
    pub fn from_polygons<P: AsRef<[f64]>>(size: [usize; 2], polygons: &[P]) -> Result<Self> {
        let mut budget = MOST_CROSSINGS;
        let masks = polygons.iter().map(|polygon| inside(size, polygon.as_ref(), &mut budget));
        Self::union(size, &masks.collect::<Result<Vec<_>>>()?)
    }
}

/// The inside of a polygon, which takes its crossings from the budget.
fn inside(size: [usize; 2], polygon: &[f64], budget: &mut usize) -> Result<Rle> {
    let mut places = crossings(size, polygon, budget)?;
    places.sort_unstable();
    let (mut runs, mut at, mut ours) = (Runs::default(), 0, false);
    for place in places {
        runs.add(ours, place - at);
        (at, ours) = (place, !ours);
    }
    runs.add(ours, size[0] * size[1] - at);
    runs.of(size)
}

/// The places, column by column, where the inside of a polygon begins or ends, in no order.
fn crossings(size: [usize; 2], polygon: &[f64], budget: &mut usize) -> Result<Vec<usize>> {
    let [rows, columns] = size;
    if rows.checked_mul(columns).is_none_or(|pixels| u32::try_from(pixels).is_err()) {
        return Err(Error::Rle(format!("a mask of {rows}×{columns} has more than {} pixels", u32::MAX)));
    }
    let (corners, rest) = polygon.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Error::Polygon(format!("{} numbers are no polygon: the last y is missing", polygon.len())));
    }
    if let Some(far) = polygon.iter().find(|value| !(-FARTHEST..=FARTHEST).contains(*value)) {
        return Err(Error::Polygon(format!("a corner at {far} is farther than {FARTHEST} pixels away")));
    }
    let corners = || corners.iter().map(|corner| corner.map(to_steps));
    let mut places = Vec::new();
    for (from, to) in corners().zip(corners().cycle().skip(1)) {
        let edge = Edge::new(from, to);
        let crossed = edge.columns(columns);
        let too_many = || Error::Polygon(format!("polygons cross columns of pixels more than {MOST_CROSSINGS} times"));
        *budget = budget.checked_sub(crossed.len()).ok_or_else(too_many)?;
        places.extend(crossed.map(|column| column * rows + edge.row_at(column, rows)));
    }
    Ok(places)
}

/// How many rows, or columns, have their middle before `step`; a middle lies between the steps 5·n + 2 and 5·n + 3.
fn middles_before(step: i64, most: usize) -> usize {
    usize::try_from((step + 2).div_euclid(STEPS)).unwrap_or(0).min(most)
}

/// A coordinate in steps, rounded as C does it: towards zero, after adding a half.
fn to_steps(pixels: f64) -> i64 {
    (STEPS as f64 * pixels + 0.5) as i64
}

/// An edge from `from` on, in steps: `long` of them along the axis on which it is longer, `slope` on the other one for each.
struct Edge {
    from: [i64; 2],
    to: [i64; 2],
    long: i64,
    slope: f64,
    /// Whether it is at least as wide as high.
    flat: bool,
}

impl Edge {
    /// From the corner with the smaller coordinate on the longer axis to the other one.
    fn new(from: [i64; 2], to: [i64; 2]) -> Self {
        let [width, height] = [(to[0] - from[0]).abs(), (to[1] - from[1]).abs()];
        let flat = width >= height;
        let axis = usize::from(!flat);
        let (from, to) = if from[axis] > to[axis] { (to, from) } else { (from, to) };
        let long = width.max(height);
        Self { from, to, long, slope: (to[1 - axis] - from[1 - axis]) as f64 / long as f64, flat }
    }

    /// The coordinate on the other axis after `steps`.
    fn across(&self, steps: i64) -> i64 {
        (self.from[usize::from(self.flat)] as f64 + self.slope * steps as f64 + 0.5) as i64
    }

    /// The columns of the picture whose middle it crosses.
    fn columns(&self, columns: usize) -> std::ops::Range<usize> {
        let [first, last] = [self.from[0].min(self.to[0]), self.from[0].max(self.to[0])];
        middles_before(first, columns)..middles_before(last, columns)
    }

    /// The first row whose middle is not above the crossing of a column, at most `rows`. Of the two steps beside the middle of the column the upper one
    /// counts.
    fn row_at(&self, column: usize, rows: usize) -> usize {
        let left = STEPS * column as i64 + 2;
        let y = if self.flat {
            let steps = left - self.from[0];
            self.across(steps).min(self.across(steps + 1))
        } else {
            self.from[1] + self.last_before(left)
        };
        middles_before(y, rows)
    }

    /// The last step of a steep edge before it crosses from x = `left` to the next x, or back.
    fn last_before(&self, left: i64) -> i64 {
        let begins_left = self.from[0] <= left;
        let (mut before, mut after) = (0, self.long);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            match (self.across(middle) <= left) == begins_left {
                true => before = middle,
                false => after = middle,
            }
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// pycocotools' own way: every step of every edge, then those between which a column's middle lies.
    fn walked([rows, columns]: [usize; 2], polygon: &[f64]) -> Vec<u32> {
        let corners: Vec<[i64; 2]> = polygon.chunks(2).map(|corner| [to_steps(corner[0]), to_steps(corner[1])]).collect();
        let mut walk = Vec::new();
        for (index, &from) in corners.iter().enumerate() {
            let to = corners[(index + 1) % corners.len()];
            let [width, height] = [(to[0] - from[0]).abs(), (to[1] - from[1]).abs()];
            let axis = usize::from(width < height);
            let flip = from[axis] > to[axis];
            let (start, end) = if flip { (to, from) } else { (from, to) };
            let (long, rise) = (width.max(height), (end[1 - axis] - start[1 - axis]) as f64);
            for step in 0..=long {
                let step = if flip { long - step } else { step };
                let mut point = [0; 2];
                point[axis] = start[axis] + step;
                point[1 - axis] = if long == 0 { 0 } else { (start[1 - axis] as f64 + rise / long as f64 * step as f64 + 0.5) as i64 };
                walk.push(point);
            }
        }
        let mut places = vec![rows * columns];
        for pair in walk.windows(2).filter(|pair| pair[0][0] != pair[1][0]) {
            let x = (pair[0][0].min(pair[1][0]) as f64 + 0.5) / 5.0 - 0.5;
            let y = (pair[0][1].min(pair[1][1]) as f64 + 0.5) / 5.0 - 0.5;
            if x == x.floor() && x >= 0.0 && x < columns as f64 {
                places.push(x as usize * rows + y.clamp(0.0, rows as f64).ceil() as usize);
            }
        }
        places.sort_unstable();
        let (mut runs, mut at) = (Runs::default(), 0);
        for (index, place) in places.into_iter().enumerate() {
            runs.add(index % 2 == 1, place - at);
            at = place;
        }
        runs.of([rows, columns]).unwrap().counts().to_vec()
    }

    #[test]
    fn by_hand() -> Result<()> {
        let square = Rle::from_polygon([4, 5], &[1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0])?;
        assert_eq!(square.counts(), [5, 2, 2, 2, 9]);
        assert_eq!(Rle::from_polygon([4, 5], &[-9.0, -9.0, 99.0, -9.0, 99.0, 99.0, -9.0, 99.0])?.area(), 20, "cut off");
        assert_eq!(Rle::from_polygon([4, 5], &[])?.area(), 0);
        assert_eq!(Rle::from_polygon([0, 5], &[0.0, 0.0, 3.0, 0.0, 3.0, 3.0])?.area(), 0);
        let far = Rle::from_polygon([4, 5], &[-1e8, -1e8, 1e8, -1e8, 1e8, 1e8, -1e8, 1e8])?;
        assert_eq!(far.counts(), [0, 20]);
        let two = Rle::from_polygons([4, 5], &[[0.0, 0.0, 3.0, 0.0, 3.0, 4.0, 0.0, 4.0], [2.0, 0.0, 4.0, 0.0, 4.0, 2.0, 2.0, 2.0]])?;
        assert_eq!(two.area(), 14);
        Ok(())
    }

    #[test]
    fn what_is_no_polygon_is_refused() {
        for wrong in [vec![1.0; 7], vec![f64::NAN; 6], vec![f64::INFINITY; 6], vec![1e9; 6]] {
            assert!(Rle::from_polygon([9, 9], &wrong).is_err(), "{wrong:?}");
        }
        assert!(Rle::from_polygon([1 << 16, 1 << 16], &[0.0; 6]).is_err());
        let across = [0.0, 0.0, 1e8, 0.0];
        assert!(Rle::from_polygon([1, 1 << 31], &across).is_err(), "more crossings than there is memory for");
        let wide = across.map(|value| value * 0.1);
        assert!(Rle::from_polygon([1, 1 << 31], &[wide; 2].concat()).is_err());
        assert!(Rle::from_polygons([1, 1 << 31], &[wide.map(|value| value * 0.5); 2]).is_err(), "the budget is for all");
    }

    proptest! {
        #[test]
        fn as_if_every_step_were_walked(
            rows in 1..30usize,
            columns in 1..30usize,
            polygon in prop::collection::vec(prop_oneof![-9.0..40.0, (-20..80).prop_map(|half| f64::from(half) / 2.0), -500.0..500.0], 2..24),
        ) {
            let polygon = &polygon[..polygon.len() / 2 * 2];
            let rle = Rle::from_polygon([rows, columns], polygon).unwrap();
            prop_assert_eq!(rle.counts(), walked([rows, columns], polygon));
        }
    }
}

//! The best by score.

use std::cmp::Ordering;

/// From high to low; what is not a number comes last.
pub(crate) fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The indices of the `count` highest scores, or of all if there are no more, from high to low; of equal ones the first comes first.
pub fn top_k(scores: &[f32], count: usize) -> Vec<usize> {
    let order = |&a: &usize, &b: &usize| descending(scores[a], scores[b]).then(a.cmp(&b));
    let mut indices: Vec<usize> = (0..scores.len()).collect();
    if count < indices.len() {
        indices.select_nth_unstable_by(count, order);
        indices.truncate(count);
    }
    indices.sort_unstable_by(order);
    indices
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(top_k(&[0.5, 2.0, f32::NAN, 2.0, -1.0, f32::INFINITY], 4), [5, 1, 3, 0]);
        assert_eq!(top_k(&[f32::NAN, 1.0], 5), [1, 0]);
        assert!(top_k(&[1.0], 0).is_empty() && top_k(&[], 3).is_empty());
    }

    proptest! {
        #[test]
        fn it_is_the_beginning_of_a_stable_sort(scores in prop::collection::vec(-4..4i8, 0..60), count in 0..70usize) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let mut sorted: Vec<usize> = (0..scores.len()).collect();
            sorted.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            sorted.truncate(count);
            prop_assert_eq!(top_k(&scores, count), sorted);
        }
    }
}

//! Which object found is which object there?

use super::thresholds;

/// An object that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    /// Whether any number of objects found may be it.
    pub crowd: bool,
    /// Whether finding it does not count.
    pub ignored: bool,
}

/// What became of an object found: a bit for each threshold, the lowest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// It was there.
    pub matched: u16,
    /// It does not count: what it matched does not, or it matched nothing and its area is outside of the range.
    pub ignored: u16,
}

/// Matches objects found, the highest score first, with those there, threshold by threshold. `overlaps` has a row for each found and a column for each
/// there. Each takes the one that overlaps it the most and is not taken yet, of equal ones the last; one that is ignored only where no other is
/// left that overlaps enough.
pub(super) fn verdicts(overlaps: &[f64], truths: &[Side], outside: &[bool]) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::default(); outside.len()];
    let places = |ignored: bool| (0..truths.len()).filter(move |&place| truths[place].ignored == ignored);
    let order: Vec<usize> = places(false).chain(places(true)).collect();
    for (bit, threshold) in thresholds().into_iter().enumerate().map(|(index, threshold)| (1 << index, threshold)) {
        let mut taken = vec![false; truths.len()];
        for (index, verdict) in verdicts.iter_mut().enumerate() {
            let overlaps = &overlaps[index * truths.len()..][..truths.len()];
            match best(overlaps, truths, &order, &taken, threshold) {
                Some(place) => {
                    taken[place] = true;
                    verdict.matched |= bit;
                    verdict.ignored |= if truths[place].ignored { bit } else { 0 };
                }
                None => verdict.ignored |= if outside[index] { bit } else { 0 },
            }
        }
    }
    verdicts
}

/// The place of the object there that overlaps the most, at least by the threshold.
fn best(overlaps: &[f64], truths: &[Side], order: &[usize], taken: &[bool], threshold: f64) -> Option<usize> {
    let (mut least, mut held) = (threshold, None::<usize>);
    for &place in order {
        if taken[place] && !truths[place].crowd {
            continue;
        }
        if truths[place].ignored && held.is_some_and(|held| !truths[held].ignored) {
            break;
        }
        if overlaps[place] >= least {
            (least, held) = (overlaps[place], Some(place));
        }
    }
    held
}

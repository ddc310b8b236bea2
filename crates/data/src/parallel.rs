//! A plain way to share a range among the cores.

use std::ops::Range;
use std::thread;

/// Divides 0..`count` into one range a core and returns what `work` makes of each, in order.
pub(crate) fn in_parallel<T: Send>(count: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, usize::from).clamp(1, count.max(1));
    let share = count.div_ceil(threads);
    let range = |thread: usize| (thread * share).min(count)..((thread + 1) * share).min(count);
    if threads == 1 {
        return vec![work(range(0))];
    }
    let work = &work;
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(range(thread)))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once_and_in_order() {
        for count in [0, 1, 2, 3, 7, 100] {
            let numbers = in_parallel(count, |range| range.collect::<Vec<_>>()).concat();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        }
    }
}

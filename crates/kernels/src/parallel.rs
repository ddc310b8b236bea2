//! Scratch memory, and loops over tasks on rayon's threads.
//!
//! No two tasks add to the same number, and where sums are cut into parts, shapes alone say where: so a result does not depend
//! on how many threads there are, nor on which of them took which task.
#![allow(unsafe_code)] // `Parts`: one output is written by many threads

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::simd::vectorised;

/// Floating-point operations below which asking other threads costs more than it saves: where a thread of the pool asks, which takes back
/// what no other wants.
const WORTH_THREADS: usize = 1 << 19;

/// The same where a thread outside asks, which has to wake the pool and to be woken.
const WORTH_POOL: usize = 1 << 20;

/// Floating-point operations that take as long as one value of a loop which memory limits.
pub(crate) const COST: usize = 8;

/// Floats in a cache line: buffers begin on one.
const LINE: usize = 16;

/// Working memory of the kernels, kept from call to call.
///
/// It grows to the largest need that it has met, and then allocates no more. One `Scratch` serves any number of layers one
/// after the other; calls that run at the same time need one each. What it holds between calls has no meaning.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    memory: Vec<f32>,
    /// For what is computed while the buffers are in use.
    rest: Option<Box<Scratch>>,
    /// For threads that each call kernels of their own.
    threads: Vec<Scratch>,
}

impl Scratch {
    /// No memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Buffers of these lengths, each on a cache line, with old values in them.
    pub(crate) fn buffers<const COUNT: usize>(&mut self, lengths: [usize; COUNT]) -> [&mut [f32]; COUNT] {
        self.buffers_and_rest(lengths).0
    }

    /// Buffers, and working memory for what is called while they are in use.
    pub(crate) fn buffers_and_rest<const COUNT: usize>(&mut self, lengths: [usize; COUNT]) -> ([&mut [f32]; COUNT], &mut Self) {
        let padded = lengths.map(|length| length.next_multiple_of(LINE));
        let needed = padded.iter().sum::<usize>() + LINE;
        if self.memory.len() < needed {
            self.memory.resize(needed, 0.0);
        }
        let start = self.memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let mut rest = &mut self.memory[start..];
        let mut index = 0;
        let buffers = padded.map(|length| {
            let (buffer, after) = std::mem::take(&mut rest).split_at_mut(length);
            rest = after;
            index += 1;
            &mut buffer[..lengths[index - 1]]
        });
        (buffers, self.rest.get_or_insert_default())
    }

    /// Working memory for each of so many threads.
    fn threads(&mut self, count: usize) -> &mut [Self] {
        if self.threads.len() < count {
            self.threads.resize_with(count, Self::new);
        }
        &mut self.threads[..count]
    }
}

thread_local! {
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, whose kernels wake no other thread and so wait for none: for work under a lock, as a thread of rayon's pool that waits
/// may be given other work, which may ask for the same lock.
pub fn on_this_thread<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    work()
}

/// Runs `work` on a thread of rayon's pool. Kernels that are called one after the other share their work at less cost there: a thread
/// outside the pool sleeps and is woken at each of them.
///
/// One such work is there at a time, and while it is, others run on the threads that ask: a thread of the pool that waits is given pieces
/// of kernels alone, never another work, which would have to be done before its own goes on and may ask for the same lock.
pub fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            TAKEN.store(false, Ordering::Release);
        }
    }
    let is_there = ALONE.get() || rayon::current_num_threads() == 1 || rayon::current_thread_index().is_some();
    if is_there || TAKEN.swap(true, Ordering::Acquire) {
        return work();
    }
    let _leave = Leave;
    rayon::scope(|_| work())
}

/// How many threads are worth asking for `tasks` pieces that take this many floating-point operations together.
pub(crate) fn threads_for(tasks: usize, operations: usize) -> usize {
    let worth = if rayon::current_thread_index().is_some() { WORTH_THREADS } else { WORTH_POOL };
    if operations < worth || ALONE.get() { 1 } else { rayon::current_num_threads().min(tasks).max(1) }
}

/// Runs `work(task, lane)` for each task. `lanes` holds a buffer of `lane` floats for each thread that may take part.
pub(crate) fn for_each_task(tasks: usize, lanes: &mut [f32], lane: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let next = AtomicUsize::new(0);
    let take = |lane: &mut [f32]| {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            work(task, lane);
        }
    };
    if lanes.len() <= lane {
        take(lanes);
    } else {
        lanes.par_chunks_mut(lane).with_max_len(1).for_each(take);
    }
}

/// Runs `work(task)` for each task, compiled for this machine's vectors; together they take this many floating-point operations.
///
/// A long `work` needs `#[inline(always)]`, see [`vectorised`].
pub(crate) fn for_each_index(tasks: usize, operations: usize, work: impl Fn(usize) + Sync + Send) {
    let one = |task| vectorised!(|| work(task));
    if threads_for(tasks, operations) == 1 {
        (0..tasks).for_each(one);
    } else {
        (0..tasks).into_par_iter().with_min_len(together(tasks, operations)).for_each(one);
    }
}

/// Runs `work(index, piece)` for each piece of `out`, else as [`for_each_index`].
pub(crate) fn for_each_piece(out: &mut [f32], length: usize, operations: usize, work: impl Fn(usize, &mut [f32]) + Sync + Send) {
    let pieces = out.len().div_ceil(length);
    let one = |(index, piece): (usize, &mut [f32])| vectorised!(|| work(index, piece));
    if threads_for(pieces, operations) == 1 {
        out.chunks_mut(length).enumerate().for_each(one);
    } else {
        out.par_chunks_mut(length).enumerate().with_min_len(together(pieces, operations)).for_each(one);
    }
}

/// Runs `work(index, piece, scratch)` for each piece of `out` on so many threads: each takes whole pieces, and the kernels that it calls for
/// them wake no other and wait for none.
pub(crate) fn for_each_piece_apart<E: Send>(
    threads: usize,
    out: &mut [f32],
    length: usize,
    scratch: &mut Scratch,
    work: impl Fn(usize, &mut [f32], &mut Scratch) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let (next, total) = (AtomicUsize::new(0), out.len());
    let out = Parts::new(out);
    let take = |scratch: &mut Scratch| {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= total.div_ceil(length) {
                return Ok(());
            }
            // SAFETY: each piece is taken once.
            work(index, unsafe { out.part(piece(index, length, total)) }, scratch)?;
        }
    };
    if threads == 1 {
        return take(scratch);
    }
    scratch.threads(threads).par_iter_mut().with_max_len(1).try_for_each(|scratch| on_this_thread(|| take(scratch)))
}

/// How many of `tasks` one thread takes together: enough to be worth asking for them.
fn together(tasks: usize, operations: usize) -> usize {
    (COST * CHUNK).div_ceil((operations / tasks).max(1))
}

/// The length of a lane that holds buffers of these lengths, see [`split`].
pub(crate) fn lane_len(lengths: &[usize]) -> usize {
    lengths.iter().map(|length| length.next_multiple_of(LINE)).sum::<usize>().max(LINE)
}

/// Cuts a lane of [`lane_len`] into its buffers.
pub(crate) fn split<const COUNT: usize>(mut lane: &mut [f32], lengths: [usize; COUNT]) -> [&mut [f32]; COUNT] {
    lengths.map(|length| {
        let (buffer, rest) = std::mem::take(&mut lane).split_at_mut(length.next_multiple_of(LINE));
        lane = rest;
        &mut buffer[..length]
    })
}

/// The `index`-th of the pieces of `length` that cover `0..total`.
pub(crate) fn piece(index: usize, length: usize, total: usize) -> Range<usize> {
    let start = (index * length).min(total);
    start..(start + length).min(total)
}

/// Values that one thread takes at a time where each is computed on its own.
pub(crate) const CHUNK: usize = 1 << 14;

/// Runs `work` on each piece of `from` and the piece of `to` beside it. The last pieces may be shorter.
pub(crate) fn for_each_pair(from: &[f32], to: &mut [f32], lengths: [usize; 2], work: impl Fn(&[f32], &mut [f32]) + Sync) {
    let pieces = to.len().div_ceil(lengths[1]);
    if threads_for(pieces, COST * from.len().max(to.len())) == 1 {
        from.chunks(lengths[0]).zip(to.chunks_mut(lengths[1])).for_each(|(from, to)| work(from, to));
    } else {
        let together = CHUNK.div_ceil(lengths[0].max(lengths[1]));
        from.par_chunks(lengths[0]).zip(to.par_chunks_mut(lengths[1])).with_min_len(together).for_each(|(from, to)| work(from, to));
    }
}

/// Runs `work` on each piece of `x`, the piece of `dy` beside it, and the piece of `dx`, which has x's length.
pub(crate) fn for_each_triple(
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    lengths: [usize; 2],
    work: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
) {
    let pieces = dx.len().div_ceil(lengths[0]);
    if threads_for(pieces, COST * dx.len().max(dy.len())) == 1 {
        let gradients = dy.chunks(lengths[1]).zip(dx.chunks_mut(lengths[0]));
        x.chunks(lengths[0]).zip(gradients).for_each(|(x, (dy, dx))| work(x, dy, dx));
    } else {
        let together = CHUNK.div_ceil(lengths[0].max(lengths[1]));
        let gradients = dy.par_chunks(lengths[1]).zip(dx.par_chunks_mut(lengths[0]));
        x.par_chunks(lengths[0]).zip(gradients).with_min_len(together).for_each(|(x, (dy, dx))| work(x, dy, dx));
    }
}

/// So many zeros, written by all threads: for large results one thread alone takes longer than some kernels.
pub fn zeros(count: usize) -> Vec<f32> {
    const PIECE: usize = 1 << 16;
    if threads_for(count.div_ceil(PIECE), COST * count) == 1 {
        return vec![0.0; count];
    }
    let mut values = Vec::with_capacity(count);
    values.spare_capacity_mut()[..count].par_chunks_mut(PIECE).for_each(|piece| {
        piece.fill(MaybeUninit::new(0.0));
    });
    // SAFETY: there is room for them, and each has been written.
    unsafe { values.set_len(count) };
    values
}

/// A slice of which several threads write parts that do not overlap.
pub(crate) struct Parts<'a> {
    start: *mut f32,
    length: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for a `&mut [f32]`, and who calls `part` promises that no two parts overlap, so that threads which
// share it never touch the same float.
unsafe impl Sync for Parts<'_> {}

impl<'a> Parts<'a> {
    pub(crate) fn new(whole: &'a mut [f32]) -> Self {
        Self { start: whole.as_mut_ptr(), length: whole.len(), borrow: PhantomData }
    }

    /// One part. The range is checked.
    ///
    /// # Safety
    /// While the part is in use, no other part that overlaps it is.
    #[allow(clippy::mut_from_ref)] // see the type
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.length, "part {range:?} of {}", self.length);
        // SAFETY: the range lies inside the slice, which is borrowed mutably for 'a; the caller keeps parts apart.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The place of the first float of a range, for innermost loops. The range is checked.
    ///
    /// # Safety
    /// Only floats of the range are read or written through the pointer, and nobody else writes them meanwhile, or reads those that
    /// are written.
    pub(crate) unsafe fn pointer(&self, range: Range<usize>) -> *mut f32 {
        assert!(range.start <= range.end && range.end <= self.length, "part {range:?} of {}", self.length);
        // SAFETY: the range lies inside the slice.
        unsafe { self.start.add(range.start) }
    }

    /// One part, to be read. The range is checked.
    ///
    /// # Safety
    /// While it is in use, no [`part`](Self::part) that overlaps it is.
    pub(crate) unsafe fn read(&self, range: Range<usize>) -> &[f32] {
        assert!(range.start <= range.end && range.end <= self.length, "part {range:?} of {}", self.length);
        // SAFETY: the range lies inside the slice, which is borrowed for 'a; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_apart_aligned_and_kept() {
        let mut scratch = Scratch::new();
        for _ in 0..2 {
            let [a, b, c] = scratch.buffers([3, 0, 40]);
            assert_eq!([a.len(), b.len(), c.len()], [3, 0, 40]);
            assert_eq!([a.as_ptr() as usize % 64, c.as_ptr() as usize % 64], [0, 0]);
            a.fill(1.0);
            c.fill(2.0);
            assert!(a.iter().all(|&value| value == 1.0));
        }
        let size = scratch.memory.len();
        scratch.buffers([10]);
        assert_eq!(scratch.memory.len(), size);
    }

    #[test]
    fn zeros_are_all_there() {
        for count in [0, 5, 1 << 20, (1 << 20) + 3] {
            let values = zeros(count);
            assert!(values.len() == count && values.iter().all(|&value| value == 0.0));
        }
    }

    #[test]
    fn one_work_at_a_time_goes_to_the_pool() {
        let here = || std::thread::current().id();
        let in_the_pool = || rayon::current_thread_index().is_some();
        assert_eq!(on_this_thread(|| in_pool(here)), here());
        if rayon::current_num_threads() > 1 {
            let beside = || std::thread::scope(|scope| scope.spawn(|| in_pool(in_the_pool)).join().expect("no panic"));
            assert_eq!(in_pool(|| (in_the_pool(), beside())), (true, false));
            assert!(std::panic::catch_unwind(|| in_pool(|| panic!("on purpose"))).is_err());
            assert!(in_pool(in_the_pool), "the place is free again");
        }
    }

    #[test]
    fn every_task_runs_once() {
        for lanes in [1, 3] {
            let mut done = vec![0.0; 50];
            let parts = Parts::new(&mut done);
            for_each_task(50, &mut vec![0.0; lanes * 4], 4, |task, lane| {
                assert_eq!(lane.len(), 4);
                // SAFETY: each task has its own float.
                let part = unsafe { parts.part(task..task + 1) };
                part[0] += 1.0;
            });
            assert_eq!(done, vec![1.0; 50]);
        }
    }
}

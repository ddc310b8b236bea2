//! Work that threads share by the piece, and its results put back in order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::dataset::Skipped;
use crate::{Error, Result};

/// What came of one piece of work.
pub(crate) struct Made<T> {
    /// None where all its pictures were skipped.
    pub(crate) value: Option<T>,
    /// Its pictures that cannot be read.
    pub(crate) skipped: Vec<Skipped>,
}

/// How to go through the pieces.
pub(crate) struct Plan {
    /// Where the pictures come from, for messages.
    pub(crate) name: String,
    /// The numbers of the pieces.
    pub(crate) pieces: Range<usize>,
    /// Threads. With 0 the caller's thread does the work.
    pub(crate) workers: usize,
    /// The most pieces that are ready or under way.
    pub(crate) prefetch: usize,
}

/// The results, in order, each with its number.
///
/// A piece that fails, or whose work panics, is an error at its place; those after it can still be taken. Where no picture at all could be
/// read there is one error in the end. Dropping it stops the threads and waits for them.
pub(crate) struct Ordered<T> {
    plan: Plan,
    shared: Arc<Shared<T>>,
    /// None where the caller's thread does the work.
    threads: Option<Threads<T>>,
    /// The first piece that no thread was asked for yet.
    unasked: usize,
    skipped: Vec<Skipped>,
    anything: bool,
}

type Work<T> = dyn Fn(usize, &AtomicBool) -> Result<Made<T>> + Send + Sync;

struct Shared<T> {
    work: Box<Work<T>>,
    stopped: AtomicBool,
}

struct Threads<T> {
    handles: Vec<JoinHandle<()>>,
    /// Dropped to tell the threads that there is no more to do.
    ask: Option<Sender<usize>>,
    answers: Receiver<(usize, Result<Made<T>>)>,
    /// Results that came before their turn.
    early: BTreeMap<usize, Result<Made<T>>>,
}

impl<T> Shared<T> {
    fn make(&self, piece: usize) -> Result<Made<T>> {
        catch_unwind(AssertUnwindSafe(|| (self.work)(piece, &self.stopped))).unwrap_or_else(|_| {
            Err(Error::option("loader", format!("a panic on the way to batch {piece}"), "a batch, or an error that says why there is none"))
        })
    }
}

impl<T: Send + 'static> Ordered<T> {
    /// Starts the threads. `work` makes the piece of a number; it may give up, with anything, once its flag is set.
    pub(crate) fn start(plan: Plan, work: impl Fn(usize, &AtomicBool) -> Result<Made<T>> + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { work: Box::new(work), stopped: AtomicBool::new(false) });
        let threads = Threads::start(&shared, plan.workers.min(plan.pieces.len()));
        let first = plan.pieces.start;
        Self { plan, shared, threads, unasked: first, skipped: Vec::new(), anything: first > 0 }
    }

    /// Takes a piece, after asking for as many further ones as the prefetch allows.
    fn take(&mut self, piece: usize) -> Result<Made<T>> {
        let Some(threads) = &mut self.threads else {
            return self.shared.make(piece);
        };
        let limit = self.plan.pieces.end.min(piece.saturating_add(self.plan.prefetch));
        threads.ask(self.unasked..limit);
        self.unasked = self.unasked.max(limit);
        threads.answer(piece)
    }
}

impl<T> Ordered<T> {
    /// The pictures that were left out so far because they could not be read.
    pub(crate) fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

impl<T: Send + 'static> Iterator for Ordered<T> {
    type Item = (usize, Result<T>);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(piece) = self.plan.pieces.next() {
            match self.take(piece) {
                Ok(mut made) => {
                    self.skipped.append(&mut made.skipped);
                    if let Some(value) = made.value {
                        self.anything = true;
                        return Some((piece, Ok(value)));
                    }
                }
                Err(error) => {
                    self.anything = true;
                    return Some((piece, Err(error)));
                }
            }
        }
        if self.anything {
            return None;
        }
        self.anything = true;
        let reason = self.skipped.first().map_or_else(String::new, |first| format!(", first {}: {}", first.picture, first.reason));
        let reason = format!("none of {} pictures can be read{reason}", self.skipped.len());
        Some((self.plan.pieces.end, Err(Error::Picture { picture: self.plan.name.clone(), reason })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.plan.pieces.len() + 1))
    }
}

impl<T: Send + 'static> Threads<T> {
    /// Starts up to `count` threads; none if the system gives none.
    fn start(shared: &Arc<Shared<T>>, count: usize) -> Option<Self> {
        let (ask, asked) = unbounded::<usize>();
        let (answer, answers) = unbounded();
        let handles: Vec<_> = (0..count)
            .map_while(|_| {
                let (shared, asked, answer) = (shared.clone(), asked.clone(), answer.clone());
                let work = move || {
                    for piece in asked {
                        if shared.stopped.load(Ordering::Relaxed) || answer.send((piece, shared.make(piece))).is_err() {
                            return;
                        }
                    }
                };
                Builder::new().name("cirio-loader".to_owned()).spawn(work).ok()
            })
            .collect();
        if handles.is_empty() {
            return None;
        }
        Some(Self { handles, ask: Some(ask), answers, early: BTreeMap::new() })
    }

    fn ask(&self, pieces: Range<usize>) {
        if let Some(ask) = &self.ask {
            for piece in pieces {
                // A failure shows when the answer does not come.
                let _ = ask.send(piece);
            }
        }
    }

    /// Waits for one piece; keeps others that come before it.
    fn answer(&mut self, wanted: usize) -> Result<Made<T>> {
        loop {
            if let Some(made) = self.early.remove(&wanted) {
                return made;
            }
            match self.answers.recv() {
                Ok((piece, made)) => {
                    self.early.insert(piece, made);
                }
                Err(_) => return Err(Error::option("loader", "no thread that is alive", "its threads to run until the epoch ends")),
            }
        }
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if let Some(threads) = &mut self.threads {
            threads.ask = None;
            for thread in threads.handles.drain(..) {
                let _ = thread.join();
            }
        }
    }
}

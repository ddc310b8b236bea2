//! One pass through the data: the threads, and the batches put back in order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Source;
use super::batch::{Batch, Prepared};
use crate::dataset::Skipped;
use crate::{Error, Result};

/// The batches of one epoch, in order.
///
/// A batch that cannot be made comes as an error at its place; the batches after it can still be
/// taken. Dropping the epoch stops its threads and waits for them, at most for the picture that each
/// has under way.
pub struct Epoch {
    pass: Arc<Pass>,
    /// None where the caller's thread does the work.
    workers: Option<Workers>,
    /// The batch that is handed out next.
    next: usize,
    /// The first batch that no thread was asked for yet.
    unasked: usize,
    batches: usize,
    skipped: Vec<Skipped>,
    anything: bool,
}

/// What the threads of one epoch share.
struct Pass {
    source: Arc<Source>,
    epoch: u64,
    order: Vec<usize>,
    stopped: AtomicBool,
}

struct Workers {
    threads: Vec<JoinHandle<()>>,
    /// Dropped to tell the threads that there is no more to do.
    ask: Option<Sender<usize>>,
    answers: Receiver<(usize, Result<Prepared>)>,
    /// Batches that came before their turn.
    early: BTreeMap<usize, Result<Prepared>>,
}

impl Pass {
    fn indices(&self, batch: usize) -> Range<usize> {
        let size = self.source.config.batch;
        batch * size..((batch + 1) * size).min(self.order.len())
    }

    fn prepare(&self, batch: usize) -> Result<Prepared> {
        self.source.prepare(self.epoch, &self.order[self.indices(batch)], &self.stopped)
    }
}

impl Epoch {
    pub(super) fn start(source: Arc<Source>, epoch: u64, order: Vec<usize>, first: usize, batches: usize) -> Self {
        let workers = source.config.workers.min(batches.saturating_sub(first));
        let pass = Arc::new(Pass { source, epoch, order, stopped: AtomicBool::new(false) });
        let workers = Workers::start(&pass, workers);
        Self { pass, workers, next: first, unasked: first, batches, skipped: Vec::new(), anything: first > 0 }
    }

    /// The pictures that were left out so far because they could not be read.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Takes batch `self.next`, after asking for as many further ones as the prefetch allows.
    fn take(&mut self) -> Result<Prepared> {
        let Some(workers) = &mut self.workers else {
            return self.pass.prepare(self.next);
        };
        let limit = self.batches.min(self.next + self.pass.source.config.prefetch);
        workers.ask(self.unasked..limit);
        self.unasked = self.unasked.max(limit);
        workers.answer(self.next)
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.batches {
            let prepared = self.take();
            let number = self.next;
            self.next += 1;
            let mut prepared = match prepared {
                Ok(prepared) => prepared,
                Err(error) => {
                    self.anything = true;
                    return Some(Err(error));
                }
            };
            self.skipped.append(&mut prepared.skipped);
            // A batch of which every picture was skipped is no batch.
            if !prepared.is_empty() {
                self.anything = true;
                let source = &self.pass.source;
                return Some(prepared.into_batch(number, source.preprocess.output_shape(), &source.config.device));
            }
        }
        if self.anything {
            return None;
        }
        self.anything = true;
        let reason = self.skipped.first().map_or_else(String::new, |first| format!(", first {}: {}", first.picture, first.reason));
        let picture = self.pass.source.dataset.name().to_owned();
        Some(Err(Error::Picture { picture, reason: format!("none of {} pictures can be read{reason}", self.skipped.len()) }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.batches.saturating_sub(self.next) + 1))
    }
}

impl Workers {
    /// Starts up to `count` threads; none if the system gives none.
    fn start(pass: &Arc<Pass>, count: usize) -> Option<Self> {
        let (ask, asked) = unbounded::<usize>();
        let (answer, answers) = unbounded();
        let threads: Vec<_> = (0..count)
            .map_while(|_| {
                let (pass, asked, answer) = (pass.clone(), asked.clone(), answer.clone());
                let work = move || {
                    for batch in asked {
                        if pass.stopped.load(Ordering::Relaxed) || answer.send((batch, pass.prepare(batch))).is_err() {
                            return;
                        }
                    }
                };
                Builder::new().name("cirio-loader".to_owned()).spawn(work).ok()
            })
            .collect();
        if threads.is_empty() {
            return None;
        }
        Some(Self { threads, ask: Some(ask), answers, early: BTreeMap::new() })
    }

    fn ask(&self, batches: Range<usize>) {
        if let Some(ask) = &self.ask {
            for batch in batches {
                // A failure shows when the answer does not come.
                let _ = ask.send(batch);
            }
        }
    }

    /// Waits for one batch; keeps others that come before it.
    fn answer(&mut self, wanted: usize) -> Result<Prepared> {
        loop {
            if let Some(prepared) = self.early.remove(&wanted) {
                return prepared;
            }
            match self.answers.recv() {
                Ok((batch, prepared)) => {
                    self.early.insert(batch, prepared);
                }
                Err(_) => return Err(Error::option("loader", "no thread that is alive", "its threads to run until the epoch ends")),
            }
        }
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.pass.stopped.store(true, Ordering::Relaxed);
        if let Some(workers) = &mut self.workers {
            workers.ask = None;
            for thread in workers.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}

//! One forward pass: whether it is in training, and what is wanted from it beside the network's output.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{Result, Tensor, Var};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::ops::Rectifier;

/// What one forward pass carries along.
pub struct Pass<'a> {
    dropout: Option<&'a DropoutSource>,
    /// Whether the pass is among frozen layers, where it is one in evaluation.
    frozen: Cell<bool>,
    /// Names of the layers whose outputs are wanted, with what has been found.
    taps: RefCell<Vec<(&'a str, Option<Tensor>)>>,
    /// The names of the blocks that the pass is inside of, each with a dot behind.
    prefix: RefCell<String>,
    /// How gradients pass back through ReLUs.
    rectifier: Rectifier,
    /// The layer whose output becomes a variable, and that variable.
    begin: Option<(&'a str, RefCell<Option<Var>>)>,
}

impl<'a> Pass<'a> {
    /// A pass in training where there is a source of dropout, else in evaluation; the outputs of the layers `taps` are kept.
    pub(crate) fn new(dropout: Option<&'a DropoutSource>, taps: &[&'a str]) -> Self {
        let taps = RefCell::new(taps.iter().map(|&name| (name, None)).collect());
        Self { dropout, frozen: Cell::new(false), taps, prefix: RefCell::default(), rectifier: Rectifier::Gradient, begin: None }
    }

    /// A pass in evaluation, of which no layer's output is kept.
    pub(crate) fn evaluation() -> Self {
        Self::new(None, &[])
    }

    /// The same pass, gradients passing back through ReLUs by `rule`.
    pub(crate) fn with_rectifier(self, rule: Rectifier) -> Self {
        Self { rectifier: rule, ..self }
    }

    /// The same pass, the output of the layer `name` becoming a variable.
    pub(crate) fn beginning_at(self, name: &'a str) -> Self {
        Self { begin: Some((name, RefCell::default())), ..self }
    }

    /// Says whether the layers that follow are frozen.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.frozen.set(frozen);
    }

    /// Runs a layer, whose full name an error names.
    pub(crate) fn inside<T>(&self, name: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let outside = self.prefix.borrow().len();
        self.prefix.borrow_mut().push_str(name);
        self.prefix.borrow_mut().push('.');
        let output = run();
        self.prefix.borrow_mut().truncate(outside);
        output.map_err(|error| error.context(format!("in layer `{}`", self.full_name(name))))
    }

    /// The outputs wanted, or the name of the first of them that no layer has.
    pub(crate) fn into_taps(self) -> std::result::Result<Vec<Tensor>, &'a str> {
        self.taps.into_inner().into_iter().map(|(name, found)| found.ok_or(name)).collect()
    }

    /// The variable that took the place of an output.
    pub(crate) fn into_begin(self) -> Option<Var> {
        self.begin?.1.into_inner()
    }

    /// Whether this is a pass in training, and not among the frozen layers that it begins with; see [`Stack`](crate::Stack).
    pub fn is_training(&self) -> bool {
        self.dropout.is_some() && !self.frozen.get()
    }

    /// In training, the generator of the next dropout mask.
    pub fn dropout(&self) -> Option<ChaCha8Rng> {
        self.dropout.filter(|_| self.is_training()).map(DropoutSource::next)
    }

    /// How gradients pass back through ReLUs.
    pub(crate) fn rectifier(&self) -> Rectifier {
        self.rectifier
    }

    /// Whether this is a pass in training, of frozen layers too.
    pub(crate) fn is_in_training(&self) -> bool {
        self.dropout.is_some()
    }

    /// Whether layers are run one by one, since the outputs of some are wanted.
    pub(crate) fn is_observed(&self) -> bool {
        self.begin.is_some() || !self.taps.borrow().is_empty()
    }

    /// Makes passes over parts of the batch through layers of which no output is wanted but the last one's.
    pub(crate) fn of_parts(&self) -> impl Fn() -> Pass<'a> + Sync + use<'a> {
        let (dropout, rectifier, frozen, prefix) = (self.dropout, self.rectifier, self.frozen.get(), self.prefix.borrow().clone());
        move || Pass { rectifier, frozen: Cell::new(frozen), prefix: RefCell::new(prefix.clone()), ..Pass::new(dropout, &[]) }
    }

    /// The name of a layer with those of the blocks around it.
    pub(crate) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix.borrow())
    }

    /// Whether a layer's output is wanted, and not that of the layer behind it by the same name.
    pub(crate) fn wants(&self, name: &str, next: Option<&str>) -> bool {
        let (full, next) = (self.full_name(name), next.map(|next| self.full_name(next)));
        self.names_wanted(|wanted| is_meant(&full, wanted) && !next.as_ref().is_some_and(|next| is_meant(next, wanted)))
    }

    /// Whether the output of something inside a layer is wanted.
    pub(crate) fn looks_into(&self, name: &str) -> bool {
        let inside = self.full_name(name) + ".";
        self.names_wanted(|wanted| wanted.starts_with(&inside))
    }

    fn names_wanted(&self, is: impl Fn(&str) -> bool) -> bool {
        let begin = self.begin.iter().map(|(name, _)| *name);
        self.is_observed() && (begin.chain(self.taps.borrow().iter().map(|(name, _)| *name)).any(is))
    }

    /// Keeps an output if it is wanted, and gives what the pass goes on with: the output, or the variable that takes its place.
    pub(crate) fn after(&self, name: &str, output: Tensor) -> Result<Tensor> {
        if !self.is_observed() {
            return Ok(output);
        }
        let output = match &self.begin {
            Some((begin, variable)) if is_meant(name, begin) => {
                let new = Var::from_tensor(&output.detach())?;
                let output = new.as_tensor().clone();
                variable.replace(Some(new));
                output
            }
            _ => output,
        };
        for (_, found) in self.taps.borrow_mut().iter_mut().filter(|(tap, _)| is_meant(name, tap)) {
            *found = Some(output.clone());
        }
        Ok(output)
    }
}

/// Whether a layer is the one wanted: by its name, or by a prefix such as `layer1`, whose last layer counts.
fn is_meant(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Where the generators of dropout stand; a checkpoint keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropoutState {
    /// The seed of the run.
    pub seed: u64,
    /// Masks drawn so far.
    pub drawn: u64,
}

#[derive(Default)]
pub(crate) struct DropoutSource {
    seed: AtomicU64,
    drawn: AtomicU64,
}

impl DropoutSource {
    pub(crate) fn state(&self) -> DropoutState {
        DropoutState { seed: self.seed.load(Ordering::Relaxed), drawn: self.drawn.load(Ordering::Relaxed) }
    }

    pub(crate) fn set(&self, state: DropoutState) {
        self.seed.store(state.seed, Ordering::Relaxed);
        self.drawn.store(state.drawn, Ordering::Relaxed);
    }

    fn next(&self) -> ChaCha8Rng {
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed.load(Ordering::Relaxed));
        generator.set_stream(self.drawn.fetch_add(1, Ordering::Relaxed));
        generator
    }
}

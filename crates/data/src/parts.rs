//! Which part of a data set a split is read from, whatever the format.

use std::path::Path;

use crate::{Error, OpenOptions, Result, Split};

/// The fraction that is held out when there is no part for validation.
pub const DEFAULT_VAL_FRACTION: f64 = 0.2;

/// Where the parts of a data set lie: a folder each, or a file of labels.
pub(crate) struct Parts<T> {
    pub train: T,
    pub val: Option<T>,
    pub test: Option<T>,
}

/// Where the pictures of a split come from.
pub(crate) enum Place<'a, T> {
    /// All of this part.
    Whole(&'a T),
    /// The training part, of which this fraction is held out for validation.
    Drawn(f64),
}

impl<T> Parts<T> {
    /// A set that is not divided.
    pub(crate) fn whole(train: T) -> Self {
        Self { train, val: None, test: None }
    }

    /// `Val` takes the part for it, else that for tests, else what is held out of the training part; if a fraction is asked for there, the part for
    /// tests is kept for the end. `Test` takes the part for it, else that for validation.
    ///
    /// # Errors
    /// When there is nothing to test with.
    pub(crate) fn place(&self, dir: &Path, split: Split, options: &OpenOptions) -> Result<Place<'_, T>> {
        let (val, test) = (self.val.as_ref(), self.test.as_ref());
        let validates = val.or(test.filter(|_| options.val_fraction.is_none()));
        let drawn = Place::Drawn(options.val_fraction.unwrap_or(DEFAULT_VAL_FRACTION));
        match split {
            Split::Train => Ok(validates.map_or(drawn, |_| Place::Whole(&self.train))),
            Split::Val => Ok(validates.map_or(drawn, Place::Whole)),
            Split::Test => test
                .or(val)
                .map(Place::Whole)
                .ok_or_else(|| Error::layout(dir, "has neither a part test nor a part val; what is held out by the seed is the split val")),
        }
    }

    /// The same parts of other things.
    pub(crate) fn map<U>(self, mut change: impl FnMut(T) -> U) -> Parts<U> {
        Parts { train: change(self.train), val: self.val.map(&mut change), test: self.test.map(&mut change) }
    }

    /// The parts that there are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Split, &T)> {
        [(Split::Train, Some(&self.train)), (Split::Val, self.val.as_ref()), (Split::Test, self.test.as_ref())]
            .into_iter()
            .filter_map(|(split, part)| Some((split, part?)))
    }
}

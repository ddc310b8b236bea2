//! A data set whose classes have other numbers.

use std::sync::Arc;

use crate::dataset::{Dataset, Sample, Skipped};
use crate::{Error, Result};

/// The pictures of another data set, their classes numbered in another order: that of a network, say.
pub struct Relabelled {
    whole: Arc<dyn Dataset>,
    classes: Vec<String>,
    labels: Vec<u32>,
}

impl Relabelled {
    /// `whole` with its classes in the order of `classes`, which may name more of them.
    ///
    /// # Errors
    /// If a class of `whole` is not among `classes`.
    pub fn new(whole: Arc<dyn Dataset>, classes: &[String]) -> Result<Self> {
        let place = |name: &String| classes.iter().position(|class| class == name);
        let missing = |name: &String| Error::option("class", format!("{name:?}"), format!("one of {}", classes.join(", ")));
        let numbers = whole.classes().iter().map(|name| place(name).ok_or_else(|| missing(name))).collect::<Result<Vec<_>>>()?;
        let label = |&label: &u32| numbers.get(label as usize).map(|&number| number as u32);
        let out_of_range = || Error::option("label", "a number beyond the classes", format!("below {}", numbers.len()));
        let labels = whole.labels().iter().map(label).collect::<Option<Vec<_>>>().ok_or_else(out_of_range)?;
        Ok(Self { whole, classes: classes.to_vec(), labels })
    }
}

impl Dataset for Relabelled {
    fn name(&self) -> &str {
        self.whole.name()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let Sample { image, .. } = self.whole.get(index)?;
        Ok(Sample { image, label: self.label(index)? })
    }

    fn picture_name(&self, index: usize) -> String {
        self.whole.picture_name(index)
    }

    fn skipped(&self) -> &[Skipped] {
        self.whole.skipped()
    }

    fn notes(&self) -> &[String] {
        self.whole.notes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InMemory, PictureSize};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn pets() -> Arc<dyn Dataset> {
        let size = PictureSize { height: 1, width: 1, channels: 1 };
        Arc::new(InMemory::new("pets", names(&["cat", "dog"]), vec![0, 1, 1], vec![7, 8, 9], size).expect("a data set"))
    }

    #[test]
    fn classes_are_found_by_name() -> Result<()> {
        let set = Relabelled::new(pets(), &names(&["fish", "dog", "cat"]))?;
        assert_eq!(set.labels(), [2, 1, 1]);
        assert_eq!((set.get(0)?.label, set.get(2)?.image.data()), (2, &[9u8][..]));
        Ok(())
    }

    #[test]
    fn a_class_that_is_not_there_is_named() {
        let error = Relabelled::new(pets(), &names(&["fish", "cat"])).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("\"dog\"") && error.contains("fish, cat"), "{error}");
    }
}

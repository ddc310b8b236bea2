//! The list of layers, without weights.

use std::collections::HashSet;
use std::sync::Arc;

use candle_core::Device;
use candle_nn::VarBuilder;

use crate::layer::Layer;
use crate::reader;
use crate::{Error, Result, Stack, Table, Volume, Weights};

/// Named layers, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Sequence(Vec<(String, Arc<dyn Layer>)>);

impl Sequence {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer. Its name, with a dot behind, begins the names of its weights.
    #[must_use]
    pub fn then(mut self, name: impl Into<String>, layer: impl Layer) -> Self {
        self.0.push((name.into(), Arc::new(layer)));
        self
    }

    /// Adds the layers of another list, `prefix` before the name of each.
    #[must_use]
    pub fn then_all(mut self, prefix: &str, others: &Self) -> Self {
        self.0.extend(others.0.iter().map(|(name, layer)| (format!("{prefix}{name}"), layer.clone())));
        self
    }

    /// The layers with their names, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &dyn Layer)> {
        self.0.iter().map(|(name, layer)| (name.as_str(), layer.as_ref()))
    }

    /// The number of layers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no layer.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The volume after the last layer.
    ///
    /// # Errors
    /// When a layer cannot take what comes before it, naming the layer and the volume; when two layers share a name.
    pub fn output(&self, input: &Volume) -> Result<Volume> {
        Ok(self.volumes(input)?.last().copied().unwrap_or(*input))
    }

    /// The volume after each layer.
    pub fn volumes(&self, input: &Volume) -> Result<Vec<Volume>> {
        let mut names = HashSet::new();
        let mut volume = *input;
        self.iter()
            .map(|(name, layer)| {
                if !names.insert(name) {
                    return Err(Error::DuplicateName(name.to_owned()));
                }
                volume = layer.output(&volume).map_err(|reason| Error::Layer {
                    layer: name.to_owned(),
                    kind: layer.kind(),
                    input: volume,
                    reason,
                })?;
                Ok(volume)
            })
            .collect()
    }
}

/// A network as a list of layers for images of `[C, H, W]`. It holds no weights: see [`Stack`].
#[derive(Clone, Debug)]
pub struct Layers {
    input: [usize; 3],
    sequence: Sequence,
    counts: Counts,
    notes: Vec<String>,
}

/// What a network's table counts beside parameters and multiply-adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub neurons: bool,
    pub connections: bool,
}

impl Layers {
    /// An empty list for images of `[C, H, W]`.
    pub fn new(input: [usize; 3]) -> Self {
        Self { input, sequence: Sequence::default(), counts: Counts::default(), notes: Vec::new() }
    }

    /// Adds a layer. Its name, with a dot behind, begins the names of its weights.
    #[must_use]
    pub fn then(mut self, name: impl Into<String>, layer: impl Layer) -> Self {
        self.sequence = self.sequence.then(name, layer);
        self
    }

    /// Adds the layers of another list, `prefix` before the name of each.
    #[must_use]
    pub fn then_all(mut self, prefix: &str, others: &Sequence) -> Self {
        self.sequence = self.sequence.then_all(prefix, others);
        self
    }

    /// The same list for images of another size.
    #[must_use]
    pub fn with_input(self, input: [usize; 3]) -> Self {
        Self { input, ..self }
    }

    /// The same list, its table also counting connections as LeCun et al. (1998) do.
    #[must_use]
    pub fn count_connections(mut self) -> Self {
        self.counts.connections = true;
        self
    }

    /// The same list, its table also counting neurons, the values of a layer's output, as Krizhevsky et al. (2012) do.
    #[must_use]
    pub fn count_neurons(mut self) -> Self {
        self.counts.neurons = true;
        self
    }

    /// The same list with a remark below its table.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// The remarks below its table.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// `[C, H, W]` of the images that the list was made for.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// The layers.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// The volume after the last layer; K classes for a classifier.
    pub fn output(&self) -> Result<Volume> {
        self.sequence.output(&Volume::maps(self.input))
    }

    /// Sizes, parameters, multiply-adds and receptive fields, a row a layer.
    pub fn table(&self) -> Result<Table> {
        Table::new(self)
    }

    /// Names and shapes of all weights, in the order of the layers. Nothing of their size is allocated.
    ///
    /// # Errors
    /// When the layers' shapes do not fit together.
    pub fn shapes(&self) -> Result<Vec<(String, Vec<usize>)>> {
        let stack = self.build(reader::shapes_only())?;
        Ok(stack.parameters().into_iter().map(|parameter| (parameter.name, parameter.tensor.dims().to_vec())).collect())
    }

    /// The network with the weights that a `VarBuilder` gives: a [`Store`](crate::Store)'s, or any of candle's.
    ///
    /// # Errors
    /// When shapes do not fit together, or a weight is missing or has another shape.
    pub fn build(&self, weights: VarBuilder) -> Result<Stack> {
        Stack::build(self, weights)
    }

    /// The network with all weights of a file, in f32, to be used as it is.
    ///
    /// # Errors
    /// When a weight is missing, unused or of another shape: all of them in one report.
    pub fn load(&self, weights: &Weights, device: &Device) -> Result<Stack> {
        let (stack, report) = weights.build(device, |weights| self.build(weights))?;
        report.complete()?;
        Ok(stack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Relu, conv};

    #[test]
    fn a_list_in_a_list() -> Result<()> {
        let inner = Sequence::new().then("0", conv(4, 3)).then("1", Relu);
        let layers = Layers::new([3, 8, 8]).then("stem", conv(3, 1)).then_all("block.", &inner).then_all("", &inner);
        let names: Vec<&str> = layers.sequence().iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["stem", "block.0", "block.1", "0", "1"]);
        assert_eq!(layers.output()?, Volume::maps([4, 4, 4]));
        let twice = layers.then_all("block.", &inner).output().unwrap_err().to_string();
        assert!(twice.contains("block.0"), "{twice}");
        Ok(())
    }
}

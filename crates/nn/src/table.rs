//! The table of a network: a row a layer, as the papers print it.

use std::fmt;
use std::ops::Range;

use crate::layer::{Layer, Reach};
use crate::{Layers, Result, Sequence, Volume};

/// One layer of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The layer's name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// The volume after it.
    pub output: Volume,
    /// Trainable numbers.
    pub parameters: u64,
    /// Multiply-adds for one image.
    pub macs: u64,
    /// Connections as LeCun et al. (1998) count them, where the network counts them.
    pub connections: Option<u64>,
    /// What one output sees of the image.
    pub receptive_field: ReceptiveField,
    /// Rows and columns of the layer's input that its stride leaves unused.
    pub unused: [usize; 2],
}

/// A network's layers with their sizes and costs for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// `[C, H, W]` of the image.
    pub input: [usize; 3],
    /// A row a layer; the layers of a residual block stand before the row of its addition.
    pub rows: Vec<Row>,
    /// Remarks of the model.
    pub notes: Vec<String>,
    /// Whether a column of neurons is printed.
    neurons: bool,
}

impl Table {
    pub(crate) fn new(layers: &Layers) -> Result<Self> {
        let mut rows = Vec::new();
        let input = Volume::maps(layers.input());
        walk(layers.sequence(), "", &input, ReceptiveField::start(layers.input()), &mut rows)?;
        let counts = layers.counts();
        if !counts.connections {
            rows.iter_mut().for_each(|row| row.connections = None);
        }
        Ok(Self { input: layers.input(), rows, notes: layers.notes().to_vec(), neurons: counts.neurons })
    }

    /// Trainable numbers in all.
    pub fn parameters(&self) -> u64 {
        self.rows.iter().map(|row| row.parameters).sum()
    }

    /// Multiply-adds in all for one image.
    pub fn macs(&self) -> u64 {
        self.rows.iter().map(|row| row.macs).sum()
    }

    /// Connections in all, where the network counts them.
    pub fn connections(&self) -> Option<u64> {
        self.rows.iter().map(|row| row.connections).sum()
    }
}

/// What one output sees of the image, `[rows, columns]`. Behind layers that enlarge maps it is not known, and counted as before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceptiveField {
    /// H and W of the image.
    pub image: [usize; 2],
    /// Pixels seen.
    pub seen: [usize; 2],
    /// Pixels of the image from one output to the next.
    pub step: [usize; 2],
    /// The first pixel that the first output sees; below 0 where it sees padding.
    pub first: [i64; 2],
}

impl ReceptiveField {
    /// The longer side of what is seen.
    pub fn side(&self) -> usize {
        self.seen[0].max(self.seen[1])
    }

    /// The rows and the columns of the image that the output at a place sees; padding is left out.
    pub fn at(&self, place: [usize; 2]) -> [Range<usize>; 2] {
        let begin = self.begin(place);
        [0, 1].map(|axis| {
            let inside = |pixel: i64| pixel.clamp(0, self.image[axis] as i64) as usize;
            inside(begin[axis])..inside(begin[axis].saturating_add(self.seen[axis] as i64))
        })
    }

    /// The first row and column that the output at a place sees; below 0 where it sees padding.
    pub fn begin(&self, place: [usize; 2]) -> [i64; 2] {
        [0, 1].map(|axis| (place[axis] as i64).saturating_mul(self.step[axis] as i64).saturating_add(self.first[axis]))
    }

    fn start([_, height, width]: [usize; 3]) -> Self {
        Self { image: [height, width], seen: [1; 2], step: [1; 2], first: [0; 2] }
    }

    /// After a layer: every window adds (extent - 1) steps, every stride lengthens the step.
    fn through(self, reach: Reach) -> Self {
        match reach {
            Reach::Point => self,
            Reach::All => Self { seen: self.image, step: [0; 2], first: [0; 2], ..self },
            Reach::Window(sliding) => Self {
                seen: [0, 1].map(|axis| self.seen[axis] + (sliding.extent[axis] - 1) * self.step[axis]),
                step: [0, 1].map(|axis| self.step[axis] * sliding.stride[axis]),
                first: [0, 1].map(|axis| self.first[axis] - (sliding.padding[axis] * self.step[axis]) as i64),
                ..self
            },
        }
    }

    /// What either of two branches sees.
    fn union(self, other: Self) -> Self {
        let first = [0, 1].map(|axis| self.first[axis].min(other.first[axis]));
        let end = |field: &Self, axis: usize| field.first[axis] + field.seen[axis] as i64;
        let seen = [0, 1].map(|axis| (end(&self, axis).max(end(&other, axis)) - first[axis]) as usize);
        Self { seen, first, ..self }
    }
}

fn walk(sequence: &Sequence, prefix: &str, input: &Volume, mut field: ReceptiveField, rows: &mut Vec<Row>) -> Result<ReceptiveField> {
    let mut volume = *input;
    for ((name, layer), output) in sequence.iter().zip(sequence.volumes(input)?) {
        let name = format!("{prefix}{name}");
        let reach = layer.reach(&volume);
        let inner = layer.inner();
        if !inner.is_empty() {
            let before = field;
            for branch in inner {
                let after = walk(branch, &format!("{name}."), &volume, before, rows)?;
                field = after.union(field);
            }
        }
        field = field.through(reach);
        rows.push(row(name, layer, &volume, output, reach, field));
        volume = output;
    }
    Ok(field)
}

fn row(name: String, layer: &dyn Layer, input: &Volume, output: Volume, reach: Reach, field: ReceptiveField) -> Row {
    let cost = layer.cost(input);
    Row {
        name,
        kind: layer.kind(),
        output,
        parameters: cost.parameters,
        macs: cost.macs,
        connections: Some(cost.connections),
        receptive_field: field,
        unused: match reach {
            Reach::Window(sliding) => sliding.unused,
            Reach::Point | Reach::All => [0; 2],
        },
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest =
            |text: fn(&Row) -> &str, least: usize| self.rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0).max(least);
        let (name, kind) = (longest(|row| &row.name, 5), longest(|row| &row.kind, 5));
        let optional = |shown: bool, text: String| if shown { format!("  {text:>11}") } else { String::new() };
        let counting = self.connections();
        let mut line = |layer: &str, what: &str, numbers: [String; 6], note: &str| {
            let [output, neurons, parameters, macs, connections, seen] = numbers;
            let (neurons, connections) = (optional(self.neurons, neurons), optional(counting.is_some(), connections));
            let text =
                format!("{layer:name$}  {what:kind$}  {output:>11}{neurons}  {parameters:>11}  {macs:>14}{connections}  {seen:>4}{note}");
            writeln!(f, "{}", text.trim_end())
        };
        let none = String::new;
        line("layer", "what", ["output", "neurons", "parameters", "multiply-adds", "connections", "sees"].map(String::from), "")?;
        line("", "input", [Volume::maps(self.input).to_string(), none(), none(), none(), none(), none()], "")?;
        for row in &self.rows {
            let note = match row.unused {
                [0, 0] => none(),
                [rows, columns] => format!("  (the stride leaves {} and {} unused)", count(rows, "row"), count(columns, "column")),
            };
            let [neurons, parameters, macs] = [row.output.len() as u64, row.parameters, row.macs].map(thousands);
            let connections = row.connections.map_or_else(none, thousands);
            line(
                &row.name,
                &row.kind,
                [row.output.to_string(), neurons, parameters, macs, connections, row.receptive_field.side().to_string()],
                &note,
            )?;
        }
        let [parameters, macs, connections] = [self.parameters(), self.macs(), counting.unwrap_or(0)].map(thousands);
        line("total", "", [none(), none(), parameters, macs, connections, none()], "")?;
        self.notes.iter().try_for_each(|note| writeln!(f, "\n{note}"))
    }
}

/// `1 row`, `2 rows`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// 61706 as `61,706`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Conv2d, Flatten, Relu, Residual, batch_norm, conv, linear, max_pool};

    #[test]
    fn lenet_sees_32_pixels() -> Result<()> {
        let table = Layers::new([1, 32, 32])
            .then("c1", conv(6, 5))
            .then("s2", max_pool(2))
            .then("c3", conv(16, 5))
            .then("s4", max_pool(2))
            .then("flatten", Flatten)
            .then("f5", linear(120))
            .table()?;
        let seen: Vec<usize> = table.rows.iter().map(|row| row.receptive_field.side()).collect();
        assert_eq!(seen, [5, 6, 14, 16, 16, 32]);
        assert_eq!(table.parameters(), 156 + 2416 + 48_120);
        assert_eq!(table.rows[0].macs, 150 * 28 * 28);
        Ok(())
    }

    #[test]
    fn a_block_lists_its_layers_and_sees_the_wider_branch() -> Result<()> {
        let body = Sequence::new()
            .then("conv1", Conv2d { stride: [2; 2], padding: [1; 2], ..conv(8, 3) })
            .then("bn1", batch_norm())
            .then("relu", Relu)
            .then("conv2", Conv2d { padding: [1; 2], ..conv(8, 3) });
        let shortcut = Sequence::new().then("downsample.0", Conv2d { stride: [2; 2], ..conv(8, 1) });
        let table = Layers::new([4, 16, 16]).then("layer1.0", Residual { body, shortcut }).table()?;
        let names: Vec<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu", "layer1.0.conv2", "layer1.0.downsample.0", "layer1.0"]);
        assert_eq!(table.rows[5].receptive_field.side(), 7);
        assert_eq!(table.rows[5].output, Volume::maps([8, 8, 8]));
        Ok(())
    }

    /// A padded convolution with a stride, behind which a branch of 3×3 and one of 1×1 are added.
    #[test]
    fn a_place_has_its_pixels() -> Result<()> {
        let wide = Sequence::new().then("conv", Conv2d { padding: [1; 2], ..conv(2, 3) });
        let table = Layers::new([1, 9, 12])
            .then("conv", Conv2d { stride: [2, 3], padding: [1, 2], ..conv(2, 3) })
            .then("block", Residual { body: wide, shortcut: Sequence::new() })
            .then("flatten", Flatten)
            .then("fc", linear(3))
            .table()?;
        let field = |name: &str| table.rows.iter().find(|row| row.name == name).expect("a row").receptive_field;
        assert_eq!(field("conv").begin([0, 0]), [-1, -2]);
        assert_eq!(field("conv").at([0, 0]), [0..2, 0..1], "padding is left out");
        assert_eq!(field("conv").at([4, 2]), [7..9, 4..7]);
        assert_eq!((field("block").seen, field("block").begin([1, 1])), ([7, 9], [-1, -2]));
        assert_eq!(field("fc").at([0, 0]), [0..9, 0..12]);
        // The branch that begins first and the one that ends last may be two.
        let at = |first: i64, seen: usize| ReceptiveField { first: [first; 2], seen: [seen; 2], ..field("conv") };
        assert_eq!(at(-3, 4).union(at(0, 3)), at(-3, 6));
        Ok(())
    }

    #[test]
    fn what_a_stride_leaves_is_said() -> Result<()> {
        let text = Layers::new([1, 9, 9]).then("conv", Conv2d { stride: [4; 2], ..conv(1, 3) }).table()?.to_string();
        assert!(text.contains("2 rows and 2 columns unused"), "{text}");
        Ok(())
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 61_706, 138_357_544].map(thousands), ["0", "999", "1,000", "61,706", "138,357,544"]);
    }
}

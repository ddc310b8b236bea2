//! A layer table as blocks to draw.

use cirio_nn::{Row, Table, Volume};
use cirio_vision::draw::{Block, Role};

/// A network's volumes from the picture on. Layers that compute nothing of their own (ReLU, batch norm, dropout, flatten) are named with the
/// volume that they work on; layers of one kind and one volume after another are slices of one block, as are residual blocks.
pub fn blocks(table: &Table) -> Vec<Block> {
    let mut groups = vec![Group { role: Role::Input, size: table.input, before: vec![], units: vec![], passing: vec![] }];
    let mut waiting = Vec::new();
    for unit in table.rows.chunk_by(|one, next| part(&one.name) == part(&next.name)) {
        let (Some(group), Some(last)) = (groups.last_mut(), unit.last()) else { continue };
        let size = size(&last.output);
        match role(unit, group.size) {
            None if size == group.size => group.passing.extend(unit),
            None => waiting.extend(unit),
            Some(role) if size == group.size && role == group.role && role != Role::Dense => group.units.push(unit),
            Some(role) => groups.push(Group { role, size, before: std::mem::take(&mut waiting), units: vec![unit], passing: vec![] }),
        }
    }
    groups.iter().map(Group::block).collect()
}

/// Layers that make one volume.
struct Group<'a> {
    role: Role,
    size: [usize; 3],
    /// The layers that only bring the volume before into another form.
    before: Vec<&'a Row>,
    /// The rows of each of the layers, or blocks of layers, that compute it.
    units: Vec<&'a [Row]>,
    /// The layers between and after them that compute nothing of their own.
    passing: Vec<&'a Row>,
}

impl Group<'_> {
    fn block(&self) -> Block {
        let units = || self.units.iter().copied().flatten();
        let rows = || self.before.iter().copied().chain(units()).chain(self.passing.iter().copied());
        Block {
            name: self.name(),
            made_by: match (self.role, self.units.last()) {
                (Role::Stack, Some(unit)) => self.stack(unit),
                _ => counted(rows()),
            },
            size: self.size,
            role: self.role,
            slices: self.units.len().max(1),
            parameters: rows().map(|row| row.parameters).sum(),
        }
    }

    /// `conv1`, `features.0–2`, `layer1 ×3`.
    fn name(&self) -> String {
        let names: Vec<&str> = self.units.iter().filter_map(|unit| unit.first()).map(|row| part(&row.name)).collect();
        match names[..] {
            [] => "input".into(),
            [name] => name.into(),
            [first, .., last] => match (first.rsplit_once('.'), last.rsplit_once('.')) {
                (Some((stem, "0")), Some((other, _))) if stem == other && self.role == Role::Stack => format!("{stem} ×{}", names.len()),
                (Some((stem, _)), Some((other, number))) if stem == other => format!("{first}–{number}"),
                _ => format!("{first}–{last}"),
            },
        }
    }

    /// The layers of one of its blocks in their order; of the last, since the first may have a shortcut of its own.
    fn stack(&self, unit: &[Row]) -> Vec<String> {
        let residual = if self.units.iter().all(|unit| unit.iter().any(|row| row.kind == "add")) { "residual " } else { "" };
        let count = self.units.len();
        let head = format!("{count} {residual}block{} of", if count == 1 { "" } else { "s" });
        let computing: Vec<&Row> = unit.iter().filter(|row| row.macs > 0).collect();
        let layers = computing.chunk_by(|one, next| one.kind == next.kind).flat_map(|rows| counted(rows.iter().copied()));
        std::iter::once(head).chain(layers).collect()
    }
}

/// What the layers are, each once: those that compute with how often.
fn counted<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    let mut kinds: Vec<(&Row, usize)> = Vec::new();
    for row in rows {
        match kinds.iter_mut().find(|(seen, _)| seen.kind == row.kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((row, 1)),
        }
    }
    let words = |(row, count): (&Row, usize)| if count > 1 && row.macs > 0 { format!("{count} × {}", row.kind) } else { row.kind.clone() };
    kinds.into_iter().map(words).collect()
}

/// The part of a network that a layer belongs to: `layer1.0` of `layer1.0.conv1`, `features.2` of `features.2.block.0.0`.
fn part(name: &str) -> &str {
    let mut end = 0;
    for piece in name.split_inclusive('.') {
        end += piece.len();
        if piece.trim_end_matches('.').bytes().all(|letter| letter.is_ascii_digit()) {
            return name[..end].trim_end_matches('.');
        }
    }
    name
}

/// What kind of layers these are, after a volume of this size; none where they compute nothing and lose nothing.
fn role(unit: &[Row], before: [usize; 3]) -> Option<Role> {
    let mut computing = unit.iter().filter(|row| row.macs > 0);
    match (computing.next(), computing.next()) {
        (Some(_), Some(_)) => Some(Role::Stack),
        (Some(row), None) if matches!(row.output, Volume::Vector(_)) => Some(Role::Dense),
        (Some(row), None) if row.kind.starts_with("subsample") => Some(Role::Pool),
        (Some(_), None) => Some(Role::Convolution),
        (None, _) => unit.last().filter(|row| row.output.len() != before.iter().product::<usize>()).map(|_| Role::Pool),
    }
}

fn size(volume: &Volume) -> [usize; 3] {
    match *volume {
        Volume::Maps { channels, height, width } => [channels, height, width],
        Volume::Vector(length) => [length, 1, 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(model: &str) -> Vec<Block> {
        let model = cirio::find(model).expect("a model");
        blocks(&model.layers(model.classes).table().expect("a table"))
    }

    fn names(blocks: &[Block]) -> Vec<&str> {
        blocks.iter().map(|block| block.name.as_str()).collect()
    }

    #[test]
    fn lenet_has_a_block_a_layer() {
        let blocks = drawn("lenet5");
        assert_eq!(names(&blocks), ["input", "conv1", "pool1", "conv2", "pool2", "fc1", "fc2", "fc3"]);
        assert_eq!(blocks[1].made_by, ["conv 5×5", "ReLU"]);
        assert_eq!(blocks[5].made_by, ["flatten", "linear", "ReLU"]);
        assert_eq!(blocks[5].size, [120, 1, 1]);
    }

    #[test]
    fn layers_of_one_volume_are_slices() {
        let blocks = drawn("vgg16");
        assert_eq!(names(&blocks)[..3], ["input", "features.0–2", "features.4"]);
        assert_eq!((blocks[1].slices, blocks[1].made_by[0].as_str()), (2, "2 × conv 3×3, padding 1"));
        assert_eq!(names(&blocks)[11..], ["classifier.0", "classifier.3", "classifier.6"], "two vectors of 4096 stay two");
    }

    #[test]
    fn repeated_blocks_are_counted() {
        let blocks = drawn("resnet50");
        assert_eq!(names(&blocks), ["input", "conv1", "maxpool", "layer1 ×3", "layer2 ×4", "layer3 ×6", "layer4 ×3", "avgpool", "fc"]);
        assert_eq!(blocks[3].made_by, ["3 residual blocks of", "conv 1×1", "conv 3×3, padding 1", "conv 1×1"]);
    }

    #[test]
    fn nothing_is_lost() {
        for model in cirio::MODELS {
            let table = model.layers(model.classes).table().expect("a table");
            let blocks = blocks(&table);
            assert_eq!(blocks.iter().map(|block| block.parameters).sum::<u64>(), table.parameters(), "{}", model.name);
            assert!(blocks.len() <= 24, "{}: {}", model.name, blocks.len());
            assert_eq!(blocks.last().map(|block| block.size), table.rows.last().map(|row| size(&row.output)), "{}", model.name);
        }
    }
}

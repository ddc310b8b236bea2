//! Which layers are parts of which.

use super::LayerSeen;

/// A layer and the layers inside of it.
pub struct Node {
    /// Its place in the list.
    pub index: usize,
    /// The layers inside, in order.
    pub inner: Vec<Node>,
}

/// The layers as a tree: a block takes the layers before it whose names begin with its own and a dot.
pub fn of(layers: &[LayerSeen]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let is_inside = |node: &Node| layers[node.index].name.strip_prefix(&layer.name).is_some_and(|rest| rest.starts_with('.'));
        let outside = nodes.iter().rposition(|node| !is_inside(node)).map_or(0, |last| last + 1);
        let inner = nodes.split_off(outside);
        nodes.push(Node { index, inner });
    }
    nodes
}

/// The places of all layers, those that are in no block first, then those in blocks, then those in blocks of blocks.
pub fn from_the_outside(nodes: &[Node]) -> Vec<usize> {
    let mut level: Vec<&Node> = nodes.iter().collect();
    let mut places = Vec::new();
    while !level.is_empty() {
        places.extend(level.iter().map(|node| node.index));
        level = level.into_iter().flat_map(|node| &node.inner).collect();
    }
    places
}

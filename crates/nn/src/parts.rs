//! Small networks take a batch in parts: each thread some images through all layers. Their maps never leave a core's own cache, and no layer
//! waits for the slowest thread.

/// Weights of a network, in floats, that leave room in a core's own cache.
pub(crate) const FEW_WEIGHTS: usize = 1 << 18;

/// Floats of images that go through together: their maps, some times as many floats, stay in a core's own cache.
const IMAGES: usize = 1 << 14;

/// Parts that a batch is cut into at least, so that several threads have enough to do, whatever their number.
const PARTS: usize = 16;

/// How many of the images (N, …) go together through a network with so many weights: N where it is not small. It follows from sizes alone, so
/// that results do not depend on threads.
pub(crate) fn together(images: &[usize], weights: usize) -> usize {
    let n = images.first().copied().unwrap_or(1);
    if n < PARTS || weights > FEW_WEIGHTS {
        return n;
    }
    (IMAGES / images[1..].iter().product::<usize>().max(1)).clamp(1, n / PARTS)
}

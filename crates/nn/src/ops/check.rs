//! What every operation asks of its tensors, and how it says so.

use candle_core::{Error, Result, Tensor};

/// `OP: MESSAGE`.
pub(super) fn error(op: &str, message: impl std::fmt::Display) -> Error {
    Error::Msg(format!("{op}: {message}"))
}

/// That the input has floating-point values.
pub(super) fn float(op: &str, x: &Tensor) -> Result<()> {
    match x.dtype().is_float() {
        true => Ok(()),
        false => Err(error(op, format!("the input has values of type {:?}, expected floating-point ones", x.dtype()))),
    }
}

/// The sizes N, C, H, W of floating-point maps.
pub(super) fn maps(op: &str, x: &Tensor) -> Result<[usize; 4]> {
    float(op, x)?;
    match *x.dims() {
        [n, c, h, w] => Ok([n, c, h, w]),
        _ => Err(error(op, format!("the input has the shape {:?}, expected (N, C, H, W)", x.shape()))),
    }
}

/// That `tensor` has the type and the device of the input.
pub(super) fn alike(op: &str, x: &Tensor, name: &str, tensor: &Tensor) -> Result<()> {
    if x.dtype() != tensor.dtype() {
        return Err(error(op, format!("the input is {:?}, the {name} {:?}", x.dtype(), tensor.dtype())));
    }
    if !x.device().same_device(tensor.device()) {
        let (input, other) = (x.device().location(), tensor.device().location());
        return Err(error(op, format!("the input is on {input:?}, the {name} on {other:?}")));
    }
    Ok(())
}

/// That `tensor` is like the input and holds one value for each of `length` channels or features.
pub(super) fn vector(op: &str, x: &Tensor, name: &str, tensor: &Tensor, length: usize) -> Result<()> {
    alike(op, x, name, tensor)?;
    match *tensor.dims() {
        [given] if given == length => Ok(()),
        _ => Err(error(op, format!("the {name} has the shape {:?}, expected ({length})", tensor.shape()))),
    }
}

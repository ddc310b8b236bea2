//! The names that a file of torch may refer to, and what stands for them here.

use std::fmt;

use safetensors::Dtype;

use super::pickle::{Arena, Value};
use super::view::Storage;

/// What stands for a function or class of Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Makes a dictionary.
    Dict,
    /// Makes a tensor from storage, offset, sizes and strides.
    Tensor,
    /// As `Tensor`, with its type as the seventh argument.
    TensorOfType,
    /// Gives its first argument: a parameter is its tensor, a `torch.Size` its tuple.
    First,
    /// Makes a tensor of a subclass: calls its first argument with its third.
    Subclass,
    /// A class of storages: of numbers of this type, or of bytes.
    Storage(Option<Dtype>),
    /// A type of numbers.
    Type(Dtype),
    /// Makes something that no tensor depends on.
    Harmless,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dict => "a dictionary",
            Self::Tensor | Self::TensorOfType | Self::First | Self::Subclass => "a maker of tensors",
            Self::Storage(_) | Self::Type(_) | Self::Harmless => "a class",
        })
    }
}

/// What stands for a name.
///
/// # Errors
/// For every name that is not listed here, with that name.
pub(super) fn find(module: &str, name: &str) -> Result<Known, String> {
    Ok(match (module, name) {
        ("collections", "OrderedDict" | "defaultdict") => Known::Dict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Known::Tensor,
        ("torch._utils", "_rebuild_tensor_v3") => Known::TensorOfType,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") | ("torch", "Size") => Known::First,
        ("torch._tensor", "_rebuild_from_type_v2") => Known::Subclass,
        ("torch", "UntypedStorage") | ("torch.storage", "UntypedStorage" | "_UntypedStorage") => Known::Storage(None),
        // What stands beside the weights in a checkpoint: options, the epoch's score, a device.
        ("argparse", "Namespace")
        | ("torch", "device" | "Tensor")
        | ("torch.nn.parameter", "Parameter")
        | ("numpy", "dtype")
        | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar")
        | ("_codecs", "encode")
        | ("__builtin__" | "builtins", "set" | "dict" | "list" | "int" | "float") => Known::Harmless,
        ("torch", name) => match (name.strip_suffix("Storage").and_then(storage_type), number_type(name)) {
            (Some(dtype), _) => Known::Storage(Some(dtype)),
            (None, Some(dtype)) => Known::Type(dtype),
            (None, None) => return Err(refused("torch", name)),
        },
        _ => return Err(refused(module, name)),
    })
}

/// Why a name is refused. A name may hold anything, so it is shown escaped and cut.
fn refused(module: &str, name: &str) -> String {
    let full: String = format!("{module}.{name}").chars().take(100).flat_map(char::escape_debug).collect();
    let way_out = "save its weights alone, in Python: torch.save(model.state_dict(), …)";
    if module.starts_with("__torch__") {
        format!("it is a program of TorchScript (`{full}`), which is refused; {way_out}")
    } else if module == "torch" && name.ends_with("Storage") {
        format!("its numbers are of a type that is not read (`{full}`)")
    } else if module.starts_with("torch.nn.") || name.starts_with(char::is_uppercase) {
        format!("it holds an object of the class `{full}`, which is refused, as a class is code; if that is a whole model, {way_out}")
    } else {
        format!("it refers to `{full}`, which is refused: only tensors and plain values are read, and nothing is executed")
    }
}

/// The type of the numbers in a `torch.FloatStorage` and its like.
fn storage_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "Double" => Dtype::F64,
        "Float" => Dtype::F32,
        "Half" => Dtype::F16,
        "BFloat16" => Dtype::BF16,
        "Long" => Dtype::I64,
        "Int" => Dtype::I32,
        "Short" => Dtype::I16,
        "Char" => Dtype::I8,
        "Byte" => Dtype::U8,
        "Bool" => Dtype::BOOL,
        _ => return None,
    })
}

/// A `torch.float32` and its like.
fn number_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "float8_e4m3fn" => Dtype::F8_E4M3,
        "float8_e5m2" => Dtype::F8_E5M2,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "uint8" => Dtype::U8,
        "bool" => Dtype::BOOL,
        _ => return None,
    })
}

/// A storage from what the pickle says of it: ("storage", class, key, device, count), and in old files the part of another
/// storage that it is.
pub(super) fn storage(arena: &Arena, id: &Value) -> Result<Storage, String> {
    match arena.items(id) {
        Some([Value::Text(kind), ..]) if &**kind == "module" => Err(refused("torch.nn.modules", "Module")),
        Some([Value::Text(kind), Value::Known(Known::Storage(dtype)), Value::Text(key), _, Value::Int(count), rest @ ..])
            if &**kind == "storage" =>
        {
            let mut storage = Storage { key: key.clone(), dtype: *dtype, offset: 0, count: whole(*count)? };
            if let Some([_, Value::Int(offset), Value::Int(count)]) = rest.first().and_then(|part| arena.items(part)) {
                (storage.offset, storage.count) = (whole(*offset)?, whole(*count)?);
            }
            Ok(storage)
        }
        _ => Err("it names a storage in an unknown way".to_owned()),
    }
}

/// A count.
pub(super) fn whole(number: i128) -> Result<u64, String> {
    u64::try_from(number).map_err(|_| format!("a size or offset is {number}"))
}

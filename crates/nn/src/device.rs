//! The device to compute on, by its name.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::{Error, Result};

/// `auto`, `cpu`, `cuda`, `cuda:1`, `metal`, `metal:0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU that this build knows and that answers, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this number.
    Cuda(usize),
    /// The Metal device with this number.
    Metal(usize),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::Device(format!("`{text}` is no device: use auto, cpu, cuda, cuda:N, metal or metal:N"));
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, number.parse().map_err(|_| unknown())?),
            None => (text, 0),
        };
        match kind {
            "cuda" => Ok(Self::Cuda(number)),
            "metal" => Ok(Self::Metal(number)),
            "auto" if text == kind => Ok(Self::Auto),
            "cpu" if text == kind => Ok(Self::Cpu),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal(number) => write!(f, "metal:{number}"),
        }
    }
}

impl DeviceChoice {
    /// Opens the device. With `Auto`, a GPU library that fails gives the CPU and a warning to be shown.
    ///
    /// # Errors
    /// When a device was named and does not open, or this build has no support for it.
    pub fn open(self) -> Result<(Device, Option<String>)> {
        let failed = |error: candle_core::Error| Error::Device(format!("the device {self} does not open: {}", first_line(&error)));
        match self {
            Self::Auto => Ok(auto(candidates())),
            Self::Cpu => Ok((Device::Cpu, None)),
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(not_built(self, "cuda")),
            Self::Metal(_) if !cfg!(feature = "metal") => Err(not_built(self, "metal")),
            Self::Cuda(number) => Device::new_cuda(number).map(|d| (d, None)).map_err(failed),
            Self::Metal(number) => Device::new_metal(number).map(|d| (d, None)).map_err(failed),
        }
    }
}

/// The GPU devices that this build was made for, each by its name and the call that opens it.
fn candidates() -> Vec<(&'static str, candle_core::Result<Device>)> {
    let mut found = Vec::new();
    if cfg!(feature = "cuda") {
        found.push(("cuda", Device::new_cuda(0)));
    }
    if cfg!(feature = "metal") {
        found.push(("metal", Device::new_metal(0)));
    }
    found
}

/// The first that opened; else the CPU, with what failed.
fn auto(candidates: Vec<(&'static str, candle_core::Result<Device>)>) -> (Device, Option<String>) {
    let mut failures = Vec::new();
    for (name, opened) in candidates {
        match opened {
            Ok(device) => return (device, None),
            Err(error) => failures.push(format!("{name} does not open ({})", first_line(&error))),
        }
    }
    let warning = (!failures.is_empty()).then(|| format!("{}: computing on the CPU", failures.join(", ")));
    (Device::Cpu, warning)
}

fn not_built(choice: DeviceChoice, feature: &str) -> Error {
    Error::Device(format!("the device {choice} was asked for, but this program was built without the feature `{feature}`"))
}

fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() -> Result<()> {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda:0", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
            ("metal:1", DeviceChoice::Metal(1)),
        ] {
            assert_eq!(text.parse::<DeviceChoice>()?, choice);
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceChoice>()?, DeviceChoice::Cuda(0));
        for bad in ["", "gpu", "cuda:", "cuda:x", "cpu:0", "auto:1"] {
            assert!(bad.parse::<DeviceChoice>().is_err(), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn a_gpu_that_fails_gives_the_cpu_and_a_warning() {
        let (device, warning) = auto(vec![("cuda", Err(candle_core::Error::Msg("driver too old\nbacktrace".into())))]);
        assert!(device.is_cpu());
        assert_eq!(warning.as_deref(), Some("cuda does not open (driver too old): computing on the CPU"));
        assert!(auto(vec![]).1.is_none());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_in_is_an_error() {
        let error = DeviceChoice::Cuda(0).open().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("without the feature `cuda`"), "{error}");
    }
}

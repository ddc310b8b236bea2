//! `cirio size`: the arithmetic of a convolution's or a pool's output.

use anyhow::Result;
use cirio_nn::Volume;
use cirio_nn::layer::{Conv2d, Layer, conv};
use cirio_nn::size::Window;
use serde::Serialize;

use crate::console::{Usage, print, print_json};
use crate::parse;

/// Output size and parameters of a convolution, with the arithmetic: (W - F + 2P)/S + 1.
#[derive(clap::Args)]
pub struct Args {
    /// W: the input's side in pixels, or ROWSxCOLUMNS.
    #[arg(long, short, value_parser = parse::square)]
    input: [usize; 2],
    /// F: the kernel's side, or ROWSxCOLUMNS.
    #[arg(long, short, value_parser = parse::square)]
    kernel: [usize; 2],
    /// S: pixels from one window to the next.
    #[arg(long, short, default_value = "1", value_parser = parse::square)]
    stride: [usize; 2],
    /// P: pixels added on each side.
    #[arg(long, short, default_value = "0", value_parser = parse::square)]
    padding: [usize; 2],
    /// D: distance between the kernel's taps.
    #[arg(long, default_value = "1", value_parser = parse::square)]
    dilation: [usize; 2],
    /// C: channels of the input; with --filters, the parameters are counted.
    #[arg(long, requires = "filters", value_parser = parse::count)]
    channels: Option<usize>,
    /// Number of filters, which is the number of output channels.
    #[arg(long, requires = "channels", value_parser = parse::count)]
    filters: Option<usize>,
}

#[derive(Serialize)]
struct Document {
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    output: [usize; 2],
    exact: [f64; 2],
    unused: [usize; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<Filters>,
}

#[derive(Serialize)]
struct Filters {
    channels: usize,
    filters: usize,
    output: Vec<usize>,
    params: u64,
    macs: u64,
}

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        let wrong = |error: cirio_nn::Error| Usage(error.to_string());
        let windows = [0, 1].map(|axis| Window {
            input: self.input[axis],
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            padding: self.padding[axis],
            dilation: self.dilation[axis],
        });
        let [rows, columns] = windows;
        let fits = [rows.fit().map_err(wrong)?, columns.fit().map_err(wrong)?];
        let exact = [rows.exact().map_err(wrong)?, columns.exact().map_err(wrong)?];
        let filters = self.filters()?;
        if json {
            let Self { input, kernel, stride, padding, dilation, .. } = self;
            let (output, unused) = (fits.map(|fit| fit.output), fits.map(|fit| fit.unused));
            return print_json(&Document { input, kernel, stride, padding, dilation, output, exact, unused, filters });
        }
        let names: &[(usize, &str)] = if rows == columns { &[(0, "")] } else { &[(0, "rows:    "), (1, "columns: ")] };
        for &(axis, name) in names {
            print(format_args!("{name}{} = {}", windows[axis], exact[axis]))?;
            if fits[axis].unused > 0 {
                let plural = if fits[axis].unused == 1 { "pixel" } else { "pixels" };
                print(format_args!(
                    "{name}the stride does not divide: the floor {} is used, and {} {plural} at the far end stay unused",
                    fits[axis].output, fits[axis].unused
                ))?;
            }
        }
        if let Some(Filters { channels, filters, output, params, macs }) = filters {
            let [f, g] = self.kernel;
            let volume = output.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
            print(format_args!("output volume (C×H×W): {volume}"))?;
            print(format_args!("parameters: ({f}·{g}·{channels} + 1)·{filters} = {params}"))?;
            print(format_args!("multiply-adds: {f}·{g}·{channels} for each of {} outputs = {macs}", output.iter().product::<usize>()))?;
        }
        Ok(())
    }

    fn filters(&self) -> Result<Option<Filters>> {
        let (Some(channels), Some(filters)) = (self.channels, self.filters) else { return Ok(None) };
        let layer = Conv2d { kernel: self.kernel, stride: self.stride, padding: self.padding, dilation: self.dilation, ..conv(filters, 1) };
        let input = Volume::maps([channels, self.input[0], self.input[1]]);
        let output = layer.output(&input).map_err(Usage)?.dims();
        let cost = layer.cost(&input);
        Ok(Some(Filters { channels, filters, output, params: cost.parameters, macs: cost.macs }))
    }
}

//! `cirio filter`: convolution and correlation of a picture, or of a matrix typed as text.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use cirio_vision::Image;
use cirio_vision::filter::{Border, Kernel, Matrix, Operation, filter, filter_image};
use clap::ValueEnum;
use serde::Serialize;

use crate::console::{Usage, print, print_json};
use crate::parse;

/// True convolution of a picture, or of a matrix from standard input, with a small kernel.
#[derive(clap::Args)]
pub struct Args {
    /// A picture, or `-` for a matrix on standard input: rows on lines, numbers between spaces or commas.
    input: PathBuf,
    /// A name (identity, box, gaussian, sharpen, sobel-x, sobel-y, laplacian, emboss; `gaussian:5` for another size), or a
    /// matrix such as '0 1 0; 1 -4 1; 0 1 0'.
    #[arg(long, short, allow_hyphen_values = true)]
    kernel: String,
    /// Lay the kernel on as it is, as networks do; without this it is flipped first.
    #[arg(long)]
    correlate: bool,
    /// What stands beyond the border [default: none for a matrix, edge for a picture].
    #[arg(long, short, value_enum)]
    pad: Option<Pad>,
    /// Places from one window to the next.
    #[arg(long, short, default_value = "1", value_parser = parse::count)]
    stride: usize,
    /// Round the numbers of a matrix half up to whole ones.
    #[arg(long)]
    round: bool,
    /// Where the filtered picture is written, as PNG.
    #[arg(long, short)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Pad {
    /// Nothing: the result is smaller.
    None,
    /// Zeros.
    Zero,
    /// The nearest value.
    Edge,
}

impl From<Pad> for Border {
    fn from(pad: Pad) -> Self {
        match pad {
            Pad::None => Self::None,
            Pad::Zero => Self::Zero,
            Pad::Edge => Self::Edge,
        }
    }
}

#[derive(Serialize)]
struct MatrixDocument<'a> {
    output: Vec<&'a [f64]>,
}

#[derive(Serialize)]
struct PictureDocument {
    output: String,
    size: [usize; 2],
}

/// The longest matrix that is read from standard input.
const LONGEST: u64 = 64 << 20;

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        let kernel: Kernel = self.kernel.parse().map_err(|error| Usage(format!("--kernel: {error}")))?;
        let operation = if self.correlate { Operation::Correlate } else { Operation::Convolve };
        match self.input.as_os_str() == "-" {
            true => self.matrix(&kernel, operation, json),
            false => self.picture(&kernel, operation, json),
        }
    }

    fn matrix(&self, kernel: &Kernel, operation: Operation, json: bool) -> Result<()> {
        if self.out.is_some() {
            bail!(Usage("--out is for pictures; a matrix is printed".into()));
        }
        let mut text = String::new();
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text).context("standard input")?;
        let input: Matrix = text.parse().context("standard input")?;
        let output = filter(&input, kernel, operation, self.pad.map_or(Border::None, Border::from), self.stride)?;
        let output = if self.round { output.rounded() } else { output };
        match json {
            true => print_json(&MatrixDocument { output: output.iter().collect() }),
            false => print(output),
        }
    }

    fn picture(&self, kernel: &Kernel, operation: Operation, json: bool) -> Result<()> {
        let Some(out) = &self.out else {
            bail!(Usage("where is the filtered picture to go? Add --out FILE.png".into()));
        };
        let image = Image::open(&self.input)?;
        let filtered = filter_image(&image, kernel, operation, self.pad.map_or(Border::Edge, Border::from), self.stride)?;
        filtered.save(out)?;
        let output = out.display().to_string();
        match json {
            true => print_json(&PictureDocument { output, size: [filtered.width(), filtered.height()] }),
            false => print(format_args!("{output}: {}×{}", filtered.width(), filtered.height())),
        }
    }
}

#[cfg(test)]
mod tests {
    use cirio_vision::filter::KERNELS;

    use super::*;

    #[test]
    fn the_help_names_every_kernel() {
        let mut command = <Args as clap::Args>::augment_args(clap::Command::new("filter"));
        let help = command.render_long_help().to_string();
        assert!(KERNELS.iter().all(|kernel| help.contains(kernel)), "{help}");
    }
}

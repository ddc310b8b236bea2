//! `cirio filter`: convolution and correlation of a picture, or of a matrix typed as text, and drawings of how they work.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use cirio_vision::Image;
use cirio_vision::draw::save_frames;
use cirio_vision::filter::{Border, Kernel, Matrix, Operation, Pool, filter_image, pool_image};
use cirio_vision::lesson::{Lesson, stages, steps};
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
    /// Pool the result: `max:2` or `avg:2` for windows of 2×2 side by side, `max:3:2` for 3×3 with a stride of 2.
    #[arg(long, value_name = "KIND:SIDE[:STRIDE]")]
    pool: Option<Pool>,
    /// Round the numbers of a matrix half up to whole ones.
    #[arg(long)]
    round: bool,
    /// Draw how it is done, as PNG. Of a matrix of up to 16 rows and columns, padding included: window for window with all sums, as an animation
    /// that browsers play. Of a picture: one sheet with the picture, filtered, with the stride, pooled, and the arithmetic of the sizes.
    #[arg(long, value_name = "FILE.png")]
    steps: Option<PathBuf>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Steps>,
}

/// A drawn lesson.
#[derive(Serialize)]
struct Steps {
    file: String,
    pictures: usize,
}

#[derive(Serialize)]
struct PictureDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    size: [usize; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<String>,
}

/// The longest matrix that is read from standard input.
const LONGEST: u64 = 64 << 20;

/// How long each step of a lesson is seen, in thousandths of a second.
const STEP_MS: u16 = 900;

impl Args {
    pub fn run(self, json: bool) -> Result<()> {
        let kernel: Kernel = self.kernel.parse().map_err(|error| Usage(format!("--kernel: {error}")))?;
        let operation = if self.correlate { Operation::Correlate } else { Operation::Convolve };
        if let Some(path) = self.steps.as_ref().filter(|path| path.extension().is_none_or(|ending| ending != "png")) {
            bail!(Usage(format!("--steps {}: the drawing is a PNG, and its name ends in .png", path.display())));
        }
        let of_matrix = self.input.as_os_str() == "-";
        let border = self.pad.map_or(if of_matrix { Border::None } else { Border::Edge }, Border::from);
        let lesson = Lesson { kernel, operation, border, stride: self.stride, pool: self.pool, round: self.round };
        match of_matrix {
            true => self.matrix(&lesson, json),
            false => self.picture(&lesson, json),
        }
    }

    fn matrix(&self, lesson: &Lesson, json: bool) -> Result<()> {
        if self.out.is_some() {
            bail!(Usage("--out is for pictures; a matrix is printed, and --steps draws it".into()));
        }
        let mut text = String::new();
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text).context("standard input")?;
        let input: Matrix = text.parse().context("standard input")?;
        let output = lesson.output(&input)?;
        let drawn = |path: &PathBuf| -> Result<Steps> {
            let pictures = steps(&input, lesson)?;
            save_frames(path, &pictures, STEP_MS)?;
            Ok(Steps { file: path.display().to_string(), pictures: pictures.len() })
        };
        let steps = self.steps.as_ref().map(drawn).transpose()?;
        match json {
            true => print_json(&MatrixDocument { output: output.iter().collect(), steps }),
            false => print(output),
        }
    }

    fn picture(&self, lesson: &Lesson, json: bool) -> Result<()> {
        if self.out.is_none() && self.steps.is_none() {
            bail!(Usage("where is the filtered picture to go? Add --out FILE.png, or --steps FILE.png for a sheet of all steps".into()));
        }
        let image = Image::open(&self.input)?;
        let filtered = filter_image(&image, &lesson.kernel, lesson.operation, lesson.border, lesson.stride)?;
        let filtered = match lesson.pool {
            Some(windows) => pool_image(&filtered, windows)?,
            None => filtered,
        };
        if let Some(out) = &self.out {
            filtered.save(out)?;
        }
        if let Some(sheet) = &self.steps {
            stages(&image, lesson)?.save(sheet)?;
        }
        let name = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let (output, steps, size) = (name(&self.out), name(&self.steps), [filtered.width(), filtered.height()]);
        if json {
            return print_json(&PictureDocument { output, size, steps });
        }
        let files = [output, steps].into_iter().flatten().collect::<Vec<_>>().join(", ");
        print(format_args!("{files}: {}×{}", size[0], size[1]))
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

//! What a convolution does, step by step: the course's 8×8 numbers under a blurring kernel as an animation, and a picture that is searched for
//! edges, with a stride and a pool.
//!
//!     cargo run --release --example filters
//!     cargo run --release --example filters -- FOLDER

use std::path::PathBuf;

use anyhow::{Result, ensure};
use cirio_vision::Image;
use cirio_vision::draw::save_frames;
use cirio_vision::filter::{Border, Matrix, Operation};
use cirio_vision::lesson::{Lesson, stages, steps};

/// Szeliski, *Computer Vision*, figure 3.10.
const NUMBERS: &str =
    "45 60 98 127 132 133 137 133; 46 65 98 123 126 128 131 133; 47 65 96 115 119 123 135 137; 47 63 91 107 113 122 138 134;
    50 59 80 97 110 123 133 134; 49 53 68 83 97 113 128 133; 50 50 58 70 84 102 116 126; 50 50 52 58 69 86 101 120";

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map_or_else(|| PathBuf::from("drawn"), PathBuf::from);
    std::fs::create_dir_all(&folder)?;

    // Numbers: each window, its sum, the output that fills, and then the largest of each 2×2.
    let numbers: Matrix = NUMBERS.parse()?;
    let blur = Lesson {
        kernel: "0.1 0.1 0.1; 0.1 0.2 0.1; 0.1 0.1 0.1".parse()?,
        operation: Operation::Convolve,
        border: Border::None,
        stride: 1,
        pool: Some("max:2".parse()?),
        round: true,
    };
    let pictures = steps(&numbers, &blur)?;
    save_frames(folder.join("convolution.png"), &pictures, 900)?;
    println!("{} steps to\n{}", pictures.len(), blur.output(&numbers)?);
    ensure!(blur.filtered(&numbers)?.iter().next() == Some(&[69.0, 95.0, 116.0, 125.0, 129.0, 132.0]), "the answer of the book");

    // A picture: what each step makes of it, and of its size.
    let picture = Image::open(concat!(env!("CARGO_MANIFEST_DIR"), "/images/shapes.png"))?;
    let edges = Lesson { kernel: "sobel-x".parse()?, operation: Operation::Correlate, border: Border::Edge, stride: 2, ..blur };
    stages(&picture, &edges)?.save(folder.join("edges.png"))?;
    println!("{}: convolution.png, edges.png", folder.display());
    Ok(())
}

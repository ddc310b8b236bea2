//! Times the layers of LeNet-5's training step at batch 128, and some layers of larger networks, forward and backward.
//!
//! `cargo bench -p cirio-kernels [-- NAME]` times those whose name has NAME in it; `RAYON_NUM_THREADS` is the number of threads.
#![allow(clippy::print_stdout)] // a program

use std::hint::black_box;
use std::time::{Duration, Instant};

use cirio_kernels::blocked::{self, Epilogue, Filters, Maps, Method, Packed, Weights};
use cirio_kernels::{
    AlignCorners, BatchNorm, Buffer, Conv2d, Conv2dShape, Interpolation, Linear, Lrn, LrnShape, MaxPool2d, Pool2dShape, Region, Resize2d,
    Resize2dShape, RoiAlign, RoiAlignShape, ScaleShift, Scratch, ShapeError, Tanh, log_softmax, log_softmax_backward, relu, relu_backward,
    sigmoid, sigmoid_backward, softmax, softmax_backward,
};

fn main() -> Result<(), ShapeError> {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!(
        "{} threads; median and best of a layer's calls, and what its floating-point operations make of the median",
        rayon::current_num_threads()
    );
    let mut bench = Bench { wanted, scratch: Scratch::new(), total: Duration::ZERO };
    let n = 128;

    bench.conv("lenet conv1", n, conv([1, 6], 32, 5, 0), true)?;
    bench.relu("lenet relu1", n * 6 * 28 * 28)?;
    bench.max_pool("lenet pool1", n, pool(6, 28, 2, 2))?;
    bench.conv("lenet conv2", n, conv([6, 16], 14, 5, 0), false)?;
    bench.relu("lenet relu2", n * 16 * 10 * 10)?;
    bench.max_pool("lenet pool2", n, pool(16, 10, 2, 2))?;
    bench.linear("lenet fc1", n, 400, 120)?;
    bench.relu("lenet relu3", n * 120)?;
    bench.linear("lenet fc2", n, 120, 84)?;
    bench.relu("lenet relu4", n * 84)?;
    bench.linear("lenet fc3", n, 84, 10)?;
    println!("{:<44} {:>9.3} ms\n", "all of these: a training step of LeNet-5", milliseconds(bench.total));

    for (side, c_in, c_out) in [
        (32, 3, 10),
        (32, 10, 10),
        (16, 10, 10),
        (8, 10, 10),
        (28, 16, 16),
        (14, 16, 16),
        (10, 16, 16),
        (14, 24, 24),
        (14, 8, 32),
        (14, 32, 8),
        (28, 32, 32),
        (14, 48, 48),
    ] {
        bench.conv(&format!("few {c_in}>{c_out} {side}"), n, conv([c_in, c_out], side, 3, 1), false)?;
    }
    bench.conv("vgg first", 1, conv([3, 64], 224, 3, 1), true)?;
    bench.conv("vgg middle", 1, conv([128, 128], 112, 3, 1), false)?;
    bench.conv("vgg last", 1, conv([512, 512], 14, 3, 1), false)?;
    bench.conv("cifar vgg first", 64, conv([3, 64], 32, 3, 1), true)?;
    bench.conv("cifar vgg second", 64, conv([64, 64], 32, 3, 1), false)?;
    bench.conv("cifar vgg middle", 64, conv([128, 128], 16, 3, 1), false)?;
    bench.conv("cifar vgg third", 64, conv([256, 256], 8, 3, 1), false)?;
    bench.conv("cifar vgg fourth", 64, conv([512, 512], 4, 3, 1), false)?;
    bench.conv("cifar vgg last", 64, conv([512, 512], 2, 3, 1), false)?;
    bench.conv("box head", 512, conv([96, 96], 7, 3, 1), false)?;
    bench.conv("mask head", 128, conv([64, 64], 14, 3, 1), false)?;
    bench.conv("resnet pointwise", 1, conv([64, 256], 56, 1, 0), false)?;
    bench.conv("depthwise", 8, Conv2dShape { groups: 64, ..conv([64, 64], 56, 3, 1) }, false)?;
    bench.conv("alexnet first", 8, Conv2dShape { stride: [4; 2], ..conv([3, 64], 224, 11, 2) }, true)?;
    bench.max_pool("alexnet pool", 8, pool(64, 55, 3, 2))?;
    bench.lrn("alexnet norm", 8, LrnShape { c: 64, pixels: 55 * 55, size: 5, alpha: 1e-4, beta: 0.75, k: 2.0 })?;
    bench.batch_norm("resnet norm", 8, 64, 112 * 112)?;
    bench.batch_norm("cifar norm", 128, 64, 16 * 16)?;
    bench.batch_norm("cifar last norm", 128, 512, 2 * 2)?;
    for (name, count) in [("lenet", n * 6 * 28 * 28), ("large", 1 << 22)] {
        bench.each(&format!("{name} tanh"), count, |x, y| Tanh::LENET.forward(x, y), |y, dy, dx| Tanh::LENET.backward(y, dy, dx))?;
        bench.each(&format!("{name} sigmoid"), count, sigmoid, sigmoid_backward)?;
    }
    let (rows, k) = (256, 1000);
    bench.each("softmax of 256 x 1000", rows * k, |x, y| softmax(rows, k, x, y), |y, dy, dx| softmax_backward(rows, k, y, dy, dx))?;
    bench.each(
        "log softmax of 256 x 1000",
        rows * k,
        |x, y| log_softmax(rows, k, x, y),
        |y, dy, dx| log_softmax_backward(rows, k, y, dy, dx),
    )?;
    for interpolation in [Interpolation::Nearest, Interpolation::Bilinear(AlignCorners::No)] {
        bench.resize(2, Resize2dShape { c: 256, h: 50, w: 68, output: [100, 136], interpolation })?;
    }
    bench.roi_align(
        "roi align 7x7 of 512",
        512,
        RoiAlignShape { c: 256, h: 50, w: 68, output: [7, 7], sampling_ratio: 2, spatial_scale: 1.0 / 16.0, aligned: false },
    )?;
    bench.linear("alexnet fc, one image", 1, 9216, 4096)?;
    bench.linear("alexnet fc, eight images", 8, 9216, 4096)?;

    for (c_in, c_out, side) in
        [(64, 64, 224), (64, 128, 112), (128, 128, 112), (256, 256, 56), (512, 512, 28), (512, 512, 14), (512, 512, 7)]
    {
        bench.blocked(1, conv([c_in, c_out], side, 3, 1))?;
    }
    for (c_in, c_out, side) in [(64, 256, 56), (256, 64, 56), (512, 128, 28), (1024, 256, 14), (256, 1024, 14), (2048, 512, 7)] {
        bench.blocked(1, conv([c_in, c_out], side, 1, 0))?;
    }
    bench.blocked(1, Conv2dShape { stride: [2; 2], ..conv([3, 64], 224, 7, 3) })?;
    bench.blocked(1, Conv2dShape { stride: [4; 2], ..conv([3, 64], 224, 11, 2) })?;
    bench.blocked(1, conv([64, 192], 27, 5, 2))?;
    bench.blocked(1, conv([192, 384], 13, 3, 1))?;
    for (c_in, c_out, side) in [(3, 64, 32), (64, 64, 32), (128, 128, 16), (256, 256, 8), (512, 512, 4), (512, 512, 2)] {
        bench.blocked(32, conv([c_in, c_out], side, 3, 1))?;
    }
    for (c, side) in [(128, 56), (256, 28)] {
        let shape = Conv2dShape { groups: 32, ..conv([c, c], side, 3, 1) };
        bench.conv(&format!("resnext {c} {side}"), 1, shape, false)?;
        bench.blocked(1, shape)?;
    }
    for (n, c, side, kernel, stride) in [(1, 64, 112, 3, 2), (1, 72, 56, 3, 1), (1, 240, 28, 5, 1), (8, 240, 28, 5, 1), (8, 64, 56, 3, 1)] {
        bench.blocked(n, Conv2dShape { groups: c, stride: [stride; 2], ..conv([c, c], side, kernel, kernel / 2) })?;
    }
    Ok(())
}

/// A square convolution with stride 1.
fn conv([c_in, c_out]: [usize; 2], side: usize, kernel: usize, padding: usize) -> Conv2dShape {
    Conv2dShape { c_in, c_out, h: side, w: side, kernel: [kernel; 2], stride: [1; 2], padding: [padding; 2], dilation: [1; 2], groups: 1 }
}

fn pool(c: usize, side: usize, kernel: usize, stride: usize) -> Pool2dShape {
    Pool2dShape { c, h: side, w: side, kernel: [kernel; 2], stride: [stride; 2], padding: [0; 2], ceil_mode: false }
}

/// Numbers in -0.5 … 0.5, some of them alike.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index * 7919 % 1013) as f32 / 1012.0 - 0.5).collect()
}

fn aligned(count: usize) -> Buffer {
    let mut buffer = Buffer::zeros(count);
    buffer.copy_from_slice(&values(count));
    buffer
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

struct Bench {
    wanted: String,
    scratch: Scratch,
    /// The sum of the medians so far.
    total: Duration,
}

impl Bench {
    /// Times one call; `operations` are its multiplications and additions.
    fn time(
        &mut self,
        name: &str,
        operations: usize,
        mut call: impl FnMut(&mut Scratch) -> Result<(), ShapeError>,
    ) -> Result<(), ShapeError> {
        if !name.contains(&self.wanted) {
            return Ok(());
        }
        let mut times = Vec::new();
        let begin = Instant::now();
        while times.len() < 5 || (begin.elapsed() < Duration::from_millis(250) && times.len() < 2000) {
            let start = Instant::now();
            call(&mut self.scratch)?;
            times.push(start.elapsed());
        }
        times.sort();
        let (median, best) = (times[times.len() / 2], times[0]);
        self.total += median;
        let speed = operations as f64 / median.as_secs_f64() / 1e9;
        println!("{name:<44} {:>9.3} ms {:>9.3} ms {speed:>7.1} GFLOP/s", milliseconds(median), milliseconds(best));
        Ok(())
    }

    fn conv(&mut self, name: &str, n: usize, shape: Conv2dShape, first: bool) -> Result<(), ShapeError> {
        let plan = Conv2d::new(shape)?;
        let [rows, columns] = plan.output();
        let x = values(n * shape.c_in * shape.h * shape.w);
        let w = values(shape.c_out * shape.c_in / shape.groups * shape.kernel[0] * shape.kernel[1]);
        let b = values(shape.c_out);
        let mut y = values(n * shape.c_out * rows * columns);
        let dy = y.clone();
        let (mut dx, mut dw, mut db) = (x.clone(), w.clone(), b.clone());
        let operations = 2 * n * rows * columns * w.len();
        self.time(&format!("{name} forward"), operations, |scratch| plan.forward(n, &x, &w, Some(&b), black_box(&mut y), scratch))?;
        if !first {
            self.time(&format!("{name} to input"), operations, |scratch| plan.backward_input(n, &dy, &w, black_box(&mut dx), scratch))?;
        }
        self.time(&format!("{name} to weight"), operations, |scratch| plan.backward_weight(n, &x, &dy, black_box(&mut dw), scratch))?;
        self.time(&format!("{name} to bias"), dy.len(), |_| plan.backward_bias(n, &dy, black_box(&mut db)))
    }

    /// Maps whose channels lie side by side, by each method.
    fn blocked(&mut self, n: usize, shape: Conv2dShape) -> Result<(), ShapeError> {
        if !"blocked".contains(self.wanted.split(' ').next().unwrap_or_default()) {
            return Ok(());
        }
        let [rows, columns] = shape.output();
        let size = [shape.c_in, shape.h, shape.w];
        let input = if shape.c_in < 8 { Maps::planar(size)? } else { Maps::blocked(size)? }.with_margin(shape.padding)?;
        let output = Maps::blocked([shape.c_out, rows, columns])?;
        let w = values(shape.c_out * shape.c_in / shape.groups * shape.kernel[0] * shape.kernel[1]);
        let (x, mut y) = (aligned(n * input.image()), aligned(n * output.image()));
        let operations = 2 * n * rows * columns * w.len();
        let best = blocked::Conv2d::best_method(&shape, n);
        for method in [Method::Direct, Method::Winograd(2), Method::Winograd(4), Method::Depthwise, Method::Merged] {
            let Some(plan) = blocked::Conv2d::new(shape, [input, output, output], method)? else { continue };
            let (mut weights, bias) = (aligned(plan.packed()), aligned(plan.packed_bias()));
            plan.pack(&Weights::new(&w, &shape)?, &mut weights)?;
            let star = if method == best { "*" } else { "" };
            let name = format!("blocked {n} {}>{} {rows} {method:?}{star}", shape.c_in, shape.c_out);
            self.time(&name, operations, |scratch| {
                let filters = Filters { weights: Packed::Full(&weights), bias: &bias };
                plan.forward(n, &x, filters, Epilogue::default(), black_box(&mut y), scratch)
            })?;
        }
        Ok(())
    }

    fn linear(&mut self, name: &str, n: usize, inputs: usize, outputs: usize) -> Result<(), ShapeError> {
        let plan = Linear::new(inputs, outputs)?;
        let (x, w, b, dy) = (values(n * inputs), values(inputs * outputs), values(outputs), values(n * outputs));
        let (mut y, mut dx, mut dw, mut db) = (dy.clone(), x.clone(), w.clone(), b.clone());
        let operations = 2 * n * w.len();
        self.time(&format!("{name} forward"), operations, |scratch| plan.forward(n, &x, &w, Some(&b), black_box(&mut y), scratch))?;
        self.time(&format!("{name} to input"), operations, |scratch| plan.backward_input(n, &dy, &w, black_box(&mut dx), scratch))?;
        self.time(&format!("{name} to weight"), operations, |scratch| plan.backward_weight(n, &x, &dy, black_box(&mut dw), scratch))?;
        self.time(&format!("{name} to bias"), dy.len(), |_| plan.backward_bias(n, &dy, black_box(&mut db)))
    }

    fn max_pool(&mut self, name: &str, n: usize, shape: Pool2dShape) -> Result<(), ShapeError> {
        let plan = MaxPool2d::new(shape)?;
        let [rows, columns] = plan.output();
        let x = values(n * shape.c * shape.h * shape.w);
        let dy = values(n * shape.c * rows * columns);
        let (mut y, mut dx) = (dy.clone(), x.clone());
        let operations = dy.len() * shape.kernel[0] * shape.kernel[1];
        self.time(&format!("{name} forward"), operations, |_| plan.forward(n, &x, black_box(&mut y)))?;
        self.time(&format!("{name} backward"), operations, |_| plan.backward(n, &x, &dy, black_box(&mut dx)))
    }

    fn relu(&mut self, name: &str, count: usize) -> Result<(), ShapeError> {
        self.each(name, count, relu, relu_backward)
    }

    /// A function without weights, y from x and dx from x or y and dy, all of one length.
    fn each(
        &mut self,
        name: &str,
        count: usize,
        forward: impl Fn(&[f32], &mut [f32]) -> Result<(), ShapeError>,
        backward: impl Fn(&[f32], &[f32], &mut [f32]) -> Result<(), ShapeError>,
    ) -> Result<(), ShapeError> {
        let (x, dy) = (values(count), values(count));
        let (mut y, mut dx) = (x.clone(), x.clone());
        self.time(&format!("{name} forward"), count, |_| forward(&x, black_box(&mut y)))?;
        self.time(&format!("{name} backward"), count, |_| backward(&x, &dy, black_box(&mut dx)))
    }

    fn lrn(&mut self, name: &str, n: usize, shape: LrnShape) -> Result<(), ShapeError> {
        let plan = Lrn::new(shape)?;
        let x = values(n * shape.c * shape.pixels);
        let (mut y, mut dx, dy) = (x.clone(), x.clone(), x.clone());
        let operations = 2 * x.len() * shape.size;
        self.time(&format!("{name} forward"), operations, |scratch| plan.forward(n, &x, black_box(&mut y), scratch))?;
        self.time(&format!("{name} backward"), 2 * operations, |scratch| plan.backward(n, &x, &dy, black_box(&mut dx), scratch))
    }

    /// In training, and with given statistics.
    fn batch_norm(&mut self, name: &str, n: usize, c: usize, pixels: usize) -> Result<(), ShapeError> {
        let plan = BatchNorm::new(c, pixels, 1e-5)?;
        let (x, dy, weight, bias) = (values(n * c * pixels), values(n * c * pixels), values(c), values(c));
        let (mut y, mut dx) = (x.clone(), x.clone());
        let [mut mean, mut variance, mut dweight, mut dbias] = [(); 4].map(|()| values(c));
        self.time(&format!("{name} forward"), 6 * x.len(), |_| {
            plan.forward(n, &x, [&weight, &bias], black_box(&mut y), [&mut mean, &mut variance])
        })?;
        self.time(&format!("{name} backward"), 8 * x.len(), |_| {
            plan.backward(n, &x, &dy, [&weight, &bias], [&mean, &variance], [black_box(&mut dx), &mut dweight, &mut dbias])
        })?;
        let plan = ScaleShift::new(c, pixels)?;
        self.time(&format!("{name} given"), 2 * x.len(), |scratch| plan.forward(n, &x, &weight, Some(&bias), black_box(&mut y), scratch))
    }

    fn resize(&mut self, n: usize, shape: Resize2dShape) -> Result<(), ShapeError> {
        let plan = Resize2d::new(shape)?;
        let Resize2dShape { c, h, w, output: [rows, columns], interpolation } = shape;
        let (x, dy) = (values(n * c * h * w), values(n * c * rows * columns));
        let (mut y, mut dx) = (dy.clone(), x.clone());
        let name = format!("resize {interpolation:?}");
        self.time(&format!("{name} forward"), 6 * dy.len(), |_| plan.forward(n, &x, black_box(&mut y)))?;
        self.time(&format!("{name} backward"), 6 * dy.len(), |_| plan.backward(n, &dy, black_box(&mut dx)))
    }

    /// Regions of all sizes up to a quarter of one image.
    fn roi_align(&mut self, name: &str, regions: usize, shape: RoiAlignShape) -> Result<(), ShapeError> {
        let plan = RoiAlign::new(shape)?;
        let RoiAlignShape { c, h, w, output: [rows, columns], spatial_scale, .. } = shape;
        let (x, dy) = (values(c * h * w), values(regions * c * rows * columns));
        let (mut y, mut dx) = (dy.clone(), x.clone());
        let region = |index: usize| {
            let share = |step: usize| (index * step % 101) as f32 / 200.0;
            let (left, upper) = (share(37) * w as f32, share(53) * h as f32);
            let corners = [left, upper, left + share(71) * w as f32, upper + share(89) * h as f32];
            Region { image: 0, corners: corners.map(|corner| corner / spatial_scale) }
        };
        let regions: Vec<Region> = (0..regions).map(region).collect();
        let operations = 32 * dy.len();
        self.time(&format!("{name} forward"), operations, |_| plan.forward(1, &x, &regions, black_box(&mut y)))?;
        self.time(&format!("{name} backward"), operations, |_| plan.backward(1, &regions, &dy, black_box(&mut dx)))
    }
}

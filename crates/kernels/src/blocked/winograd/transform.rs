//! The transforms of Winograd's algorithms F(M×M, K×K) along one side of a square; each is applied to columns, then to rows. A = M + K − 1
//! points: 0, ±1, (±2 where there are six) and infinity. The transform of patches depends on the points alone.

use pulp::Simd;

/// G, of F(2×2, 3×3): a filter at the points.
pub(super) const G2: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// G, of F(4×4, 3×3).
pub(super) const G4: [[f32; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// G, of F(2×2, 5×5): the same points, of longer filters.
pub(super) const G2_5: [[f32; 5]; 6] = [
    [1.0 / 4.0, 0.0, 0.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0, 1.0 / 3.0, 2.0 / 3.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0, -1.0 / 3.0, 2.0 / 3.0],
    [0.0, 0.0, 0.0, 0.0, 1.0],
];

/// Bᵀd, of a patch.
#[inline(always)]
pub(super) fn input<S: Simd, const A: usize>(simd: S, d: [S::f32s; A]) -> [S::f32s; A] {
    let (add, sub) = (|a, b| simd.add_f32s(a, b), |a, b| simd.sub_f32s(a, b));
    let times = |factor: f32, a, b| simd.mul_add_e_f32s(simd.splat_f32s(factor), a, b);
    let mut out = d;
    if A == 4 {
        out[0] = sub(d[0], d[2]);
        out[1] = add(d[1], d[2]);
        out[2] = sub(d[2], d[1]);
        out[3] = sub(d[1], d[3]);
    } else {
        let (even, odd) = (times(-4.0, d[2], d[4]), times(-4.0, d[1], d[3]));
        let (second, first) = (sub(d[4], d[2]), sub(d[3], d[1]));
        out[0] = times(4.0, d[0], times(-5.0, d[2], d[4]));
        out[1] = add(even, odd);
        out[2] = sub(even, odd);
        out[3] = times(2.0, first, second);
        out[4] = times(-2.0, first, second);
        out[5] = times(4.0, d[1], times(-5.0, d[3], d[5]));
    }
    out
}

/// Aᵀm, of the products.
#[inline(always)]
pub(super) fn output<S: Simd, const M: usize, const A: usize>(simd: S, m: [S::f32s; A]) -> [S::f32s; M] {
    let (add, sub) = (|a, b| simd.add_f32s(a, b), |a, b| simd.sub_f32s(a, b));
    let times = |factor: f32, a, b| simd.mul_add_e_f32s(simd.splat_f32s(factor), a, b);
    let mut out = [m[0]; M];
    let (sum, difference) = (add(m[1], m[2]), sub(m[1], m[2]));
    if A == 4 {
        out[0] = add(m[0], sum);
        out[1] = sub(difference, m[3]);
    } else if M == 2 {
        let (far, apart) = (add(m[3], m[4]), sub(m[3], m[4]));
        out[0] = add(add(m[0], sum), far);
        out[1] = add(times(2.0, apart, difference), m[5]);
    } else {
        let (far, apart) = (add(m[3], m[4]), sub(m[3], m[4]));
        out[0] = add(add(m[0], sum), far);
        out[1] = times(2.0, apart, difference);
        out[2] = times(4.0, far, sum);
        out[3] = add(times(8.0, apart, difference), m[5]);
    }
    out
}

/// Ad, of a tile of the output's gradient: [`output`] the other way.
#[inline(always)]
pub(super) fn output_gradient<S: Simd, const M: usize, const A: usize>(simd: S, d: [S::f32s; M]) -> [S::f32s; A] {
    let (add, sub) = (|a, b| simd.add_f32s(a, b), |a, b| simd.sub_f32s(a, b));
    let times = |factor: f32, a, b| simd.mul_add_e_f32s(simd.splat_f32s(factor), a, b);
    let mut out = [d[0]; A];
    if M == 2 {
        out[1] = add(d[0], d[1]);
        out[2] = sub(d[0], d[1]);
        out[3] = sub(simd.splat_f32s(0.0), d[1]);
    } else {
        let (even, odd) = (add(d[0], d[2]), add(d[1], d[3]));
        let (far, apart) = (times(4.0, d[2], d[0]), times(4.0, d[3], d[1]));
        out[1] = add(even, odd);
        out[2] = sub(even, odd);
        out[3] = times(2.0, apart, far);
        out[4] = times(-2.0, apart, far);
        out[5] = d[3];
    }
    out
}

/// One point of a filter: a row of G times its values.
#[inline(always)]
pub(super) fn filter<S: Simd, const K: usize>(simd: S, row: [f32; K], values: [S::f32s; K]) -> S::f32s {
    let mut sum = simd.mul_f32s(simd.splat_f32s(row[0]), values[0]);
    for s in 1..K {
        sum = simd.mul_add_e_f32s(simd.splat_f32s(row[s]), values[s], sum);
    }
    sum
}

/// Gᵀm, of the gradient to a filter: all of [`filter`] the other way.
#[inline(always)]
pub(super) fn filter_gradient<S: Simd, const A: usize>(simd: S, g: &[[f32; 3]; A], m: [S::f32s; A]) -> [S::f32s; 3] {
    let mut out = [simd.splat_f32s(0.0); 3];
    for s in 0..3 {
        for i in 0..A {
            if g[i][s] != 0.0 {
                out[s] = simd.mul_add_e_f32s(simd.splat_f32s(g[i][s]), m[i], out[s]);
            }
        }
    }
    out
}

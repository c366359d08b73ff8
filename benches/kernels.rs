//! The CPU kernels through the Rust surface: `cargo bench`, or `cargo bench -- gemm` for a part.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use oxgrad::base::error::catch;
use oxgrad::graph::Var;
use oxgrad::tensor::Tensor;

const SIZES: [usize; 3] = [1_000, 100_000, 10_000_000];

fn main() {
    floor();
    divan::main();
}

/// What this machine can do at best, so that shares can be read off: the bandwidth of a copy on all threads.
fn floor() {
    const N: usize = 1 << 25;
    let (from, mut to) = (vec![1f32; N], vec![0f32; N]);
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = std::time::Instant::now();
        oxgrad::cpu::pool::fill(&mut to, |at, part| part.copy_from_slice(&from[at..at + part.len()]));
        best = best.min(start.elapsed().as_secs_f64());
    }
    black_box(&to);
    let (threads, rate) = (oxgrad::cpu::pool::threads(), 8.0 * N as f64 / best / 1e9);
    println!("floor: {threads} threads copy {rate:.1} GB/s (read and written)");
}

/// Values between 0.5 and 1.5, in no order that a kernel could profit from.
fn array(shape: &[usize]) -> Var {
    let n: usize = shape.iter().product();
    let data: Vec<f32> =
        (0..n as u32).map(|i| 0.5 + (i.wrapping_mul(0x9e37_79b9) >> 8) as f32 / (1 << 24) as f32).collect();
    Var::new(Tensor::from_slice(shape, &data).unwrap())
}

/// Runs `f` until its result is in memory.
fn force(f: impl FnOnce() -> Var) -> Var {
    let y = catch(f).unwrap();
    y.tensor.force().unwrap();
    black_box(y)
}

/// Elementwise loops: bytes read and written.
#[divan::bench_group]
mod map {
    use super::*;

    fn run(bencher: Bencher, n: usize, f: impl Fn(&Var) -> Var) {
        let x = array(&[n]);
        bencher.counter(BytesCount::of_many::<f32>(2 * n)).bench_local(|| force(|| f(&x)));
    }

    #[divan::bench(args = SIZES)]
    fn add(bencher: Bencher, n: usize) {
        let (a, b) = (array(&[n]), array(&[n]));
        bencher.counter(BytesCount::of_many::<f32>(3 * n)).bench_local(|| force(|| &a + &b));
    }

    #[divan::bench(args = SIZES)]
    fn exp(bencher: Bencher, n: usize) {
        run(bencher, n, Var::exp);
    }

    #[divan::bench(args = SIZES)]
    fn tanh(bencher: Bencher, n: usize) {
        run(bencher, n, Var::tanh);
    }

    /// Six operations in one loop.
    #[divan::bench(args = SIZES)]
    fn chain(bencher: Bencher, n: usize) {
        run(bencher, n, |x| (&(&(x * 0.5 + 1.0).tanh() * x) - 0.3).sigmoid());
    }
}

/// Sums: bytes read.
#[divan::bench_group]
mod fold {
    use super::*;

    const SIDES: [usize; 3] = [32, 316, 3162];

    fn run(bencher: Bencher, side: usize, axes: &[usize]) {
        let x = array(&[side, side]);
        bencher.counter(BytesCount::of_many::<f32>(side * side)).bench_local(|| force(|| x.sum_axes(axes, false)));
    }

    #[divan::bench(args = SIDES)]
    fn rows(bencher: Bencher, side: usize) {
        run(bencher, side, &[1]);
    }

    #[divan::bench(args = SIDES)]
    fn columns(bencher: Bencher, side: usize) {
        run(bencher, side, &[0]);
    }

    #[divan::bench(args = SIDES)]
    fn all(bencher: Bencher, side: usize) {
        run(bencher, side, &[0, 1]);
    }
}

/// Square matrix products: an item is a multiplication with its addition.
#[divan::bench_group]
mod gemm {
    use super::*;

    const SIDES: [usize; 5] = [8, 64, 256, 512, 1024];

    fn run(bencher: Bencher, n: usize, transpose_a: bool, transpose_b: bool) {
        let (a, b) = (array(&[n, n]), array(&[n, n]));
        bencher.counter(ItemsCount::new(n * n * n)).bench_local(|| force(|| a.dot(&b, transpose_a, transpose_b)));
    }

    #[divan::bench(args = SIDES)]
    fn plain(bencher: Bencher, n: usize) {
        run(bencher, n, false, false);
    }

    #[divan::bench(args = SIDES)]
    fn transposed_a(bencher: Bencher, n: usize) {
        run(bencher, n, true, false);
    }

    #[divan::bench(args = SIDES)]
    fn transposed_b(bencher: Bencher, n: usize) {
        run(bencher, n, false, true);
    }

    /// A matrix times a vector: bound by reading the matrix.
    #[divan::bench(args = SIDES)]
    fn vector(bencher: Bencher, n: usize) {
        let (a, x) = (array(&[n, n]), array(&[n]));
        bencher.counter(BytesCount::of_many::<f32>(n * n)).bench_local(|| force(|| a.dot(&x, false, false)));
    }
}

/// Rows: bytes read and written.
#[divan::bench_group]
mod rows {
    use super::*;

    const SHAPES: [(usize, usize); 4] = [(10_000, 10), (64, 1000), (1000, 1000), (32, 32_000)];

    fn run(bencher: Bencher, shape: (usize, usize), f: impl Fn(&Var) -> Var) {
        let x = array(&[shape.0, shape.1]);
        let bytes = BytesCount::of_many::<f32>(2 * shape.0 * shape.1);
        bencher.counter(bytes).bench_local(|| force(|| f(&x)));
    }

    #[divan::bench(args = SHAPES)]
    fn softmax(bencher: Bencher, shape: (usize, usize)) {
        run(bencher, shape, |x| x.softmax(-1));
    }

    #[divan::bench(args = SHAPES)]
    fn log_softmax(bencher: Bencher, shape: (usize, usize)) {
        run(bencher, shape, |x| x.log_softmax(-1));
    }
}

/// Moves: bytes read and written.
#[divan::bench_group]
mod moves {
    use super::*;

    const SIDES: [usize; 3] = [64, 1000, 3000];

    fn run(bencher: Bencher, n: usize, f: impl Fn(&Var) -> Var) {
        let x = array(&[n, n]);
        bencher.counter(BytesCount::of_many::<f32>(2 * n * n)).bench_local(|| force(|| f(&x)));
    }

    #[divan::bench(args = SIDES)]
    fn transpose(bencher: Bencher, n: usize) {
        run(bencher, n, |x| x.transpose(&[1, 0]) + 0.0);
    }

    #[divan::bench(args = SIDES)]
    fn concat(bencher: Bencher, n: usize) {
        let half = array(&[n, n / 2]);
        let parts = [half.clone(), half];
        let bytes = BytesCount::of_many::<f32>(2 * n * n);
        bencher.counter(bytes).bench_local(|| force(|| Var::concat(&parts, 1)));
    }

    #[divan::bench(args = SIDES)]
    fn add_row(bencher: Bencher, n: usize) {
        let row = array(&[1, n]);
        run(bencher, n, |x| x + &row);
    }
}

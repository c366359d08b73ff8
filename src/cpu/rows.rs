//! Kernels on the rows of an array: softmax and layer normalization, and their gradients. A row is read from memory once
//! and stays in cache while the passes over it run.

use crate::base::{Element, Level};
use crate::cpu::isa::Isa;
use crate::cpu::map::Shared;
use crate::cpu::math::Real;
use crate::cpu::pool;
use crate::cpu::scratch::{self, Slot};
use crate::cpu::turn::turn;
use std::cell::Cell;

/// Sums run in this many lanes, and in blocks that are added up in f64.
const LANES: usize = 128;
const BLOCK: usize = 1024;

/// Element types that rows are computed in.
pub trait Row: Real + Element {}
impl Row for f32 {}
impl Row for f64 {}

/// [`LANES`] as a number that the compiler does not know: it would unroll the loop over lanes, and then not find the
/// vectors in it.
#[inline(always)]
fn lanes() -> usize {
    std::hint::black_box(LANES)
}

/// The sum of `f` over places of `K` slices of one length.
#[inline(always)]
fn sum<T: Row, const K: usize>(xs: [&[T]; K], f: impl Fn([T; K]) -> T) -> f64 {
    let (n, width) = (xs[0].len(), lanes());
    let mut total = 0.0;
    for start in (0..n).step_by(BLOCK) {
        let end = n.min(start + BLOCK);
        let mut lanes = [T::of(0.0); LANES];
        for at in (start..end).step_by(width) {
            let len = width.min(end - at);
            let (xs, lanes) = (xs.map(|x| x[at..at + len].as_ptr()), lanes.as_mut_ptr());
            for l in 0..len {
                // A check of each place would leave half of the lanes to scalar code.
                // SAFETY: `l` is below the length of the slices, which is at most that of the lanes.
                unsafe { *lanes.add(l) = *lanes.add(l) + f(xs.map(|x| *x.add(l))) };
            }
        }
        let used = (end - start).min(LANES).next_power_of_two();
        total += Real::to_f64(halve(&mut lanes[..used], |a, b| a + b));
    }
    total
}

/// `y = f(x)`, and the sum of that. The end of a row is computed in a padded place, since functions are slow one by one.
#[inline(always)]
fn apply_and_sum<T: Row>(x: &[T], y: &mut [T], f: impl Fn(T) -> T) -> f64 {
    let width = lanes();
    let mut total = 0.0;
    for (x, y) in x.chunks(BLOCK).zip(y.chunks_mut(BLOCK)) {
        let mut lanes = [T::of(0.0); LANES];
        // Two places: a loop whose ends are the same memory would not be vector code.
        let (mut pad, mut done) = ([x[0]; LANES], [T::of(0.0); LANES]);
        for (x, y) in x.chunks(width).zip(y.chunks_mut(width)) {
            let (len, whole) = (x.len(), x.len() == width);
            if !whole {
                pad[..len].copy_from_slice(x);
            }
            let (from, to) = if whole { (x.as_ptr(), y.as_mut_ptr()) } else { (pad.as_ptr(), done.as_mut_ptr()) };
            for i in 0..len.next_multiple_of(64) {
                // SAFETY: `i` is below the number of lanes, which both places hold.
                unsafe { *to.add(i) = f(*from.add(i)) };
            }
            if !whole {
                y.copy_from_slice(&done[..len]);
            }
            lanes.iter_mut().zip(&*y).for_each(|(lane, &v)| *lane = *lane + v);
        }
        let used = x.len().min(LANES).next_power_of_two();
        total += Real::to_f64(halve(&mut lanes[..used], |a, b| a + b));
    }
    total
}

/// Joins lanes, a power of two of them, pair by pair.
#[inline(always)]
fn halve<T: Row>(lanes: &mut [T], f: impl Fn(T, T) -> T) -> T {
    let mut half = lanes.len() / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(&*high).for_each(|(a, &b)| *a = f(*a, b));
        half /= 2;
    }
    lanes[0]
}

/// The largest of `f(x)`; nan where any is nan.
#[inline(always)]
fn largest<T: Row>(x: &[T], f: impl Fn(T) -> T) -> T {
    let width = lanes();
    let mut lanes = [T::of(f64::NEG_INFINITY); LANES];
    for chunk in x.chunks(width) {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = Real::max(*lane, f(v));
        }
    }
    halve(&mut lanes[..x.len().clamp(1, LANES).next_power_of_two()], Real::max)
}

/// Which of the softmax family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Soft {
    Plain,
    Log,
}

/// The shape of the work: `outer` blocks of `n` elements at steps of `inner`.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
}

impl Extent {
    pub fn of(shape: &[usize], axis: usize) -> Extent {
        let (outer, inner) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
        Extent { outer, n: shape[axis], inner }
    }
    fn len(&self) -> usize {
        self.outer * self.n * self.inner
    }
}

/// Declares a function of slices whose body is compiled for each instruction set.
macro_rules! rows {
    ($(#[$meta:meta])* fn $name:ident<T, I>($($arg:ident : $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        fn $name<T: Row>(level: Level, $($arg: $ty),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, clippy::extra_unused_type_parameters)]
            fn body<T: Row, I: Isa>($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,bmi2")]
                #[allow(clippy::too_many_arguments)]
                fn avx2<T: Row>($($arg: $ty),*) {
                    body::<T, crate::cpu::isa::Avx2>($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
                #[allow(clippy::too_many_arguments)]
                fn avx512<T: Row>($($arg: $ty),*) {
                    body::<T, crate::cpu::isa::Avx512>($($arg),*)
                }
                // SAFETY: the level says what the CPU has.
                unsafe {
                    match level {
                        Level::Avx512 => return avx512::<T>($($arg),*),
                        Level::Avx2 => return avx2::<T>($($arg),*),
                        Level::Baseline => {}
                    }
                }
            }
            let _ = level;
            body::<T, crate::cpu::isa::Baseline>($($arg),*)
        }
    };
}

rows! {
    /// One contiguous row.
    fn soft_row<T, I>(x: &[T], y: &mut [T], scale: T, kind: Soft) {
        let n = x.len();
        let y = &mut y[..n];
        let top = largest(x, #[inline(always)] |v| v * scale);
        let total = apply_and_sum(x, y, #[inline(always)] |v| (v * scale - top).exp::<I>());
        if kind == Soft::Plain {
            let share = T::of(1.0 / total);
            y.iter_mut().for_each(|y| *y = *y * share);
        } else {
            let log = T::of(total.ln());
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (x * scale - top) - log;
            }
        }
    }
}

rows! {
    /// `width` columns side by side: element `i` of column `c` lies at `i * step + c`. `work` holds two values a column.
    fn soft_columns<T, I>(x: &[T], y: &[Cell<T>], n: usize, step: usize, width: usize, work: &mut [T], scale: T, kind: Soft) {
        let (top, total) = work.split_at_mut(width);
        let total = &mut total[..width];
        top.fill(T::of(f64::NEG_INFINITY));
        total.fill(T::of(0.0));
        for i in 0..n {
            for (top, &x) in top.iter_mut().zip(&x[i * step..i * step + width]) {
                *top = Real::max(*top, x * scale);
            }
        }
        for i in 0..n {
            let (x, y) = (&x[i * step..i * step + width], &y[i * step..i * step + width]);
            for c in 0..width {
                let e = (x[c] * scale - top[c]).exp::<I>();
                y[c].set(e);
                total[c] = total[c] + e;
            }
        }
        if kind == Soft::Plain {
            total.iter_mut().for_each(|t| *t = T::of(1.0) / *t);
        } else {
            total.iter_mut().for_each(|t| *t = t.log::<I>());
        }
        for i in 0..n {
            let (x, y) = (&x[i * step..i * step + width], &y[i * step..i * step + width]);
            for c in 0..width {
                y[c].set(if kind == Soft::Plain { y[c].get() * total[c] } else { (x[c] * scale - top[c]) - total[c] });
            }
        }
    }
}

rows! {
    /// The gradient of a row: `y * (g - Σ g·y)`, or `g - exp(y) * Σ g`, times `scale`.
    fn soft_row_grad<T, I>(y: &[T], g: &[T], out: &mut [T], scale: T, kind: Soft) {
        let n = out.len();
        let (y, g) = (&y[..n], &g[..n]);
        if kind == Soft::Plain {
            let total = T::of(sum([y, g], #[inline(always)] |[y, g]| y * g));
            for i in 0..n {
                out[i] = scale * (y[i] * (g[i] - total));
            }
        } else {
            let total = T::of(sum([g], #[inline(always)] |[g]| g));
            for i in 0..n {
                out[i] = scale * (g[i] - y[i].exp::<I>() * total);
            }
        }
    }
}

rows! {
    fn soft_columns_grad<T, I>(y: &[T], g: &[T], out: &[Cell<T>], n: usize, step: usize, width: usize, work: &mut [T], scale: T, kind: Soft) {
        let total = &mut work[..width];
        total.fill(T::of(0.0));
        for i in 0..n {
            let (y, g) = (&y[i * step..i * step + width], &g[i * step..i * step + width]);
            for c in 0..width {
                total[c] = total[c] + if kind == Soft::Plain { y[c] * g[c] } else { g[c] };
            }
        }
        for i in 0..n {
            let (y, g) = (&y[i * step..i * step + width], &g[i * step..i * step + width]);
            let out = &out[i * step..i * step + width];
            for c in 0..width {
                let plain = kind == Soft::Plain;
                let d = if plain { y[c] * (g[c] - total[c]) } else { g[c] - y[c].exp::<I>() * total[c] };
                out[c].set(scale * d);
            }
        }
    }
}

rows! {
    /// One row of layer normalization; gives its mean and standard deviation.
    fn norm_row<T, I>(x: &[T], gamma: Option<&[T]>, beta: Option<&[T]>, eps: f64, y: &mut [T], mean: &mut T, std: &mut T) {
        let n = x.len();
        let y = &mut y[..n];
        let m = T::of(sum([x], #[inline(always)] |[x]| x) / n as f64);
        let var = sum([x], #[inline(always)] |[x]| (x - m) * (x - m)) / n as f64;
        let s = (var + eps).sqrt();
        (*mean, *std) = (m, T::of(s));
        let inv = T::of(1.0 / s);
        match (gamma, beta) {
            (Some(gamma), Some(beta)) => {
                let (gamma, beta) = (&gamma[..n], &beta[..n]);
                for i in 0..n {
                    y[i] = (x[i] - m) * inv * gamma[i] + beta[i];
                }
            }
            _ => {
                for i in 0..n {
                    y[i] = (x[i] - m) * inv;
                }
            }
        }
    }
}

rows! {
    /// The gradient of one row: `(a - mean(a) - h * mean(a * h)) / std` with `a = g * gamma` and `h = (x - mean) / std`.
    fn norm_row_grad<T, I>(x: &[T], g: &[T], gamma: Option<&[T]>, mean: T, std: T, out: &mut [T]) {
        let n = out.len();
        let (x, g) = (&x[..n], &g[..n]);
        let inv = T::of(1.0) / std;
        let count = n as f64;
        match gamma {
            Some(gamma) => {
                let gamma = &gamma[..n];
                let a = T::of(sum([g, gamma], #[inline(always)] |[g, w]| g * w) / count);
                let b = T::of(sum([g, gamma, x], #[inline(always)] |[g, w, x]| g * w * ((x - mean) * inv)) / count);
                for i in 0..n {
                    out[i] = (g[i] * gamma[i] - a - (x[i] - mean) * inv * b) * inv;
                }
            }
            None => {
                let a = T::of(sum([g], #[inline(always)] |[g]| g) / count);
                let b = T::of(sum([g, x], #[inline(always)] |[g, x]| g * ((x - mean) * inv)) / count);
                for i in 0..n {
                    out[i] = (g[i] - a - (x[i] - mean) * inv * b) * inv;
                }
            }
        }
    }
}

/// Elements that one piece of a parallel loop should have: the work on each is that of several map instructions.
const GRAIN: usize = pool::GRAIN / 4;
/// Columns that are folded side by side.
const WIDTH: usize = 256;
/// Rows up to this long are worked on as columns.
const SHORT: usize = 48;

/// Calls `f(start, row)` for each contiguous row of the output.
fn by_row<T: Send>(n: usize, out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    let rows = out.len().checked_div(n).unwrap_or(0);
    assert_eq!(out.len(), rows * n, "rows: whole rows");
    let shared = Shared(out.as_mut_ptr());
    pool::split(rows, GRAIN.div_ceil(n.max(1)), |from, to| {
        for r in from..to {
            // SAFETY: each row is inside `out` and handed out once.
            f(r * n, unsafe { std::slice::from_raw_parts_mut(shared.get().wrapping_add(r * n), n) });
        }
    });
}

/// Turns blocks of short rows into columns, where a vector holds one element of each of many rows: calls
/// `f(width, inputs, out)` on blocks whose columns lie `width` apart, and turns the result back.
fn by_turned<T: Row, const K: usize>(
    n: usize,
    ins: [&[T]; K],
    out: &mut [T],
    f: impl Fn(usize, [&[T]; K], &[Cell<T>]) + Sync,
) {
    let rows = out.len() / n;
    assert!(ins.iter().all(|x| x.len() == rows * n) && out.len() == rows * n, "rows: whole rows");
    let shared = Shared(out.as_mut_ptr());
    pool::split(rows, GRAIN.div_ceil(n).next_multiple_of(64), |from, to| {
        scratch::with(Slot::Blocks, (K + 1) * n * WIDTH, |space: *mut T| {
            for first in (from..to).step_by(WIDTH) {
                let width = WIDTH.min(to - first);
                let block = |k: usize| space.wrapping_add(k * n * WIDTH);
                // SAFETY: rows `first..first + width` are inside the slices, and a block has room for them; each row is
                // written by one thread.
                unsafe {
                    for (k, x) in ins.iter().enumerate() {
                        turn(x[first * n..].as_ptr(), n as isize, block(k), width as isize, width, n);
                    }
                    turn(ins[0][first * n..].as_ptr(), n as isize, block(K), width as isize, width, n);
                    let found = std::array::from_fn(|k| std::slice::from_raw_parts(block(k).cast_const(), width * n));
                    f(width, found, std::slice::from_raw_parts(block(K).cast(), width * n));
                    turn(block(K).cast_const(), width as isize, shared.get().add(first * n), n as isize, n, width);
                }
            }
        });
    });
}

/// Calls `f(start, width, out)` for each block of columns: it writes elements `i * inner + c` of `out`, which begins at
/// `start`, for each `c` below `width`.
fn by_columns<T: Send>(e: Extent, out: &mut [T], f: impl Fn(usize, usize, &[Cell<T>]) + Sync) {
    assert_eq!(out.len(), e.len(), "rows: the extent covers the output");
    if out.is_empty() {
        return;
    }
    let width = WIDTH.min(e.inner);
    let blocks = e.inner.div_ceil(width);
    let shared = Shared(out.as_mut_ptr());
    pool::split(e.outer * blocks, GRAIN.div_ceil(e.n * width), |from, to| {
        for piece in from..to {
            let col = piece % blocks * width;
            let start = piece / blocks * e.n * e.inner + col;
            let width = width.min(e.inner - col);
            let len = (e.n - 1) * e.inner + width;
            // SAFETY: the range is inside `out`. Ranges of several threads interleave, so they are cells, and each
            // thread touches the columns of its own block only.
            f(start, width, unsafe { std::slice::from_raw_parts(shared.get().wrapping_add(start).cast(), len) });
        }
    });
}

/// Softmax of `scale * x` along an axis, or its logarithm. `lengths`, one for each row, cut rows short: the rest is zero.
pub fn softmax<T: Row>(x: &[T], y: &mut [T], e: Extent, scale: f64, kind: Soft, lengths: Option<&[i64]>) {
    let (level, scale) = (Level::get(), T::of(scale));
    assert_eq!(x.len(), e.len(), "softmax: the extent covers the input");
    assert!(lengths.is_none_or(|l| l.len() == e.outer * e.inner), "softmax: one length for each row");
    if let Some(lengths) = lengths
        && e.inner > 1
    {
        // Rows of many lengths are computed one by one, gathered.
        let (mut row, mut out) = (vec![T::of(0.0); e.n], vec![T::of(0.0); e.n]);
        for (r, &len) in lengths.iter().enumerate() {
            let start = r / e.inner * e.n * e.inner + r % e.inner;
            let len = (len.max(0) as usize).min(e.n);
            (0..len).for_each(|i| row[i] = x[start + i * e.inner]);
            out.fill(T::of(0.0));
            soft_row(level, &row[..len], &mut out[..len], scale, kind);
            (0..e.n).for_each(|i| y[start + i * e.inner] = out[i]);
        }
        return;
    }
    if e.inner == 1 && e.n <= SHORT && lengths.is_none() && e.outer >= 16 {
        return by_turned(e.n, [x], y, |width, [x], y| {
            let mut work = [T::of(0.0); 2 * WIDTH];
            soft_columns(level, x, y, e.n, width, width, &mut work[..2 * width], scale, kind);
        });
    }
    if e.inner == 1 {
        return by_row(e.n, y, |start, y| {
            let len = lengths.map_or(e.n, |l| (l[start / e.n].max(0) as usize).min(e.n));
            let (head, tail) = y.split_at_mut(len);
            soft_row(level, &x[start..start + len], head, scale, kind);
            tail.fill(T::of(0.0));
        });
    }
    by_columns(e, y, |start, width, y| {
        let mut work = [T::of(0.0); 2 * WIDTH];
        soft_columns(level, &x[start..], y, e.n, e.inner, width, &mut work[..2 * width], scale, kind);
    });
}

/// The gradient of [`softmax`] from its result and the gradient that comes in.
pub fn softmax_grad<T: Row>(y: &[T], g: &[T], out: &mut [T], e: Extent, scale: f64, kind: Soft) {
    let (level, scale) = (Level::get(), T::of(scale));
    assert!(y.len() == e.len() && g.len() == e.len(), "softmax: the extent covers the inputs");
    if e.inner == 1 && e.n <= SHORT && e.outer >= 16 {
        return by_turned(e.n, [y, g], out, |width, [y, g], out| {
            let mut work = [T::of(0.0); WIDTH];
            soft_columns_grad(level, y, g, out, e.n, width, width, &mut work, scale, kind);
        });
    }
    if e.inner == 1 {
        return by_row(e.n, out, |start, out| soft_row_grad(level, &y[start..], &g[start..], out, scale, kind));
    }
    by_columns(e, out, |start, width, out| {
        let mut work = [T::of(0.0); WIDTH];
        soft_columns_grad(level, &y[start..], &g[start..], out, e.n, e.inner, width, &mut work, scale, kind);
    });
}

/// Normalizes rows of `n` elements to mean zero and variance one, then `* gamma + beta`.
pub fn layer_norm<T: Row>(
    x: &[T],
    affine: Option<(&[T], &[T])>,
    n: usize,
    eps: f64,
    y: &mut [T],
    mean: &mut [T],
    std: &mut [T],
) {
    let rows = mean.len();
    assert!(x.len() == rows * n && y.len() == rows * n && std.len() == rows, "layer norm: rows of one length");
    assert!(affine.is_none_or(|(g, b)| g.len() == n && b.len() == n), "layer norm: a scale and shift for each element");
    let level = Level::get();
    let shared = Shared((y.as_mut_ptr(), mean.as_mut_ptr(), std.as_mut_ptr()));
    pool::split(rows, GRAIN.div_ceil(n.max(1)), |from, to| {
        for r in from..to {
            let (y, mean, std) = *shared.get();
            // SAFETY: each row writes its own elements, inside the slices checked above.
            let (y, mean, std) = unsafe {
                (
                    std::slice::from_raw_parts_mut(y.wrapping_add(r * n), n),
                    &mut *mean.wrapping_add(r),
                    &mut *std.wrapping_add(r),
                )
            };
            norm_row(level, &x[r * n..(r + 1) * n], affine.map(|a| a.0), affine.map(|a| a.1), eps, y, mean, std);
        }
    });
}

/// The gradient of [`layer_norm`] with respect to `x`.
pub fn layer_norm_grad<T: Row>(x: &[T], g: &[T], gamma: Option<&[T]>, n: usize, mean: &[T], std: &[T], out: &mut [T]) {
    let rows = mean.len();
    let whole = x.len() == rows * n && g.len() == rows * n && std.len() == rows;
    assert!(whole && gamma.is_none_or(|g| g.len() == n), "layer norm: rows of one length");
    let level = Level::get();
    by_row(n, out, |start, out| {
        let r = start / n;
        norm_row_grad(level, &x[start..start + n], &g[start..start + n], gamma, mean[r], std[r], out);
    });
}

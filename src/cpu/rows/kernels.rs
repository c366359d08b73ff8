//! The loops over one row, or over columns side by side.

use super::{Row, Soft, WIDTH};
use crate::base::Level;
use crate::cpu::isa::Isa;
use crate::cpu::lanes::{Lane, Load, Pair};
use crate::cpu::math::Real;
use std::cell::Cell;
use std::mem::MaybeUninit;

/// Elements that are summed in the row's own precision before they are added up in f64.
const BLOCK: usize = 512;
/// Elements of one round of a loop of functions, and columns of a wide strip.
pub const ROUND: usize = 64;

struct Add;
impl Pair for Add {
    #[inline(always)]
    fn of<L: Lane>(a: L, b: L) -> L {
        a.add(b)
    }
}
struct Max;
impl Pair for Max {
    #[inline(always)]
    fn of<L: Lane>(a: L, b: L) -> L {
        a.peak(b)
    }
}
struct Min;
impl Pair for Min {
    #[inline(always)]
    fn of<L: Lane>(a: L, b: L) -> L {
        a.pit(b)
    }
}

/// Joins `f` of the vectors at each place of `K` slices. `rest` stands for the elements behind their end.
#[inline(always)]
fn joined<J: Pair, T: Row, V: Load<T, A = T>, const K: usize>(
    xs: [&[T]; K],
    rest: [T; K],
    start: T,
    f: impl Fn([V; K]) -> V,
) -> T {
    let n = xs[0].len();
    assert!(xs.iter().all(|x| x.len() == n), "rows: slices of one length");
    let xs = xs.map(<[T]>::as_ptr);
    let mut i = 0;
    // SAFETY: every load is inside the slices; the vector is that of the instruction set that the caller runs on.
    unsafe {
        let mut acc = [V::splat(start); 4];
        let load = |i: usize| f(xs.map(|x| V::load(x.add(i))));
        while i + 4 * V::LANES <= n {
            for (k, acc) in acc.iter_mut().enumerate() {
                *acc = J::of(*acc, load(i + k * V::LANES));
            }
            i += 4 * V::LANES;
        }
        for acc in &mut acc[..3] {
            if i + V::LANES <= n {
                *acc = J::of(*acc, load(i));
                i += V::LANES;
            }
        }
        if i < n {
            let part = std::array::from_fn(|k| V::load_part(xs[k].add(i), n - i, V::splat(rest[k])));
            // The lanes behind the end count too: the caller's `rest` makes `f` of them the start value.
            acc[3] = J::of(acc[3], f(part));
        }
        J::of(J::of(acc[0], acc[1]), J::of(acc[2], acc[3])).total::<J>()
    }
}

/// The sum of `f` over places of `K` slices; `f` of `rest` is zero.
#[inline(always)]
fn sum<T: Row, V: Load<T, A = T>, const K: usize>(xs: [&[T]; K], rest: [T; K], f: impl Fn([V; K]) -> V) -> f64 {
    let n = xs[0].len();
    let mut total = 0.0;
    for at in (0..n).step_by(BLOCK) {
        let part = xs.map(|x| &x[at..n.min(at + BLOCK)]);
        total += Real::to_f64(joined::<Add, T, V, K>(part, rest, T::of(0.0), &f));
    }
    total
}

/// The largest of `scale * x`; of nan nothing is said, for the powers of such rows are nan whatever they are over.
#[inline(always)]
fn largest<T: Row, V: Load<T, A = T>>(x: &[T], scale: T) -> T {
    let (low, high) = (T::of(f64::NEG_INFINITY), T::of(f64::INFINITY));
    if scale < T::of(0.0) {
        joined::<Min, T, V, 1>(
            [x],
            [high],
            high,
            #[inline(always)]
            |[v]| v,
        ) * scale
    } else {
        joined::<Max, T, V, 1>(
            [x],
            [low],
            low,
            #[inline(always)]
            |[v]| v,
        ) * scale
    }
}

/// `y = f(xs)` for a function that is slow one by one: the last elements are computed in a whole round of their own.
#[inline(always)]
fn apply<T: Row, const K: usize>(xs: [&[T]; K], y: &mut [T], f: impl Fn([T; K]) -> T) {
    let n = xs[0].len();
    assert!(y.len() == n && xs.iter().all(|x| x.len() == n), "rows: slices of one length");
    let (mut pads, mut done) = ([[MaybeUninit::<T>::uninit(); ROUND]; K], [MaybeUninit::<T>::uninit(); ROUND]);
    let short = n < ROUND;
    let (mut from, mut to) = (xs.map(<[T]>::as_ptr), y.as_mut_ptr());
    if short {
        if n == 0 {
            return;
        }
        for ((pad, x), from) in pads.iter_mut().zip(xs).zip(&mut from) {
            // Behind the end a value that may occur.
            pad.fill(MaybeUninit::new(x[0]));
            pad.iter_mut().zip(x).for_each(|(p, &x)| *p = MaybeUninit::new(x));
            *from = pad.as_ptr().cast();
        }
        to = done.as_mut_ptr().cast();
    }
    let whole = if short { ROUND } else { n / ROUND * ROUND };
    // One loop for both parts, so that it is compiled once. The last round overlaps the first part and finds the same.
    let last = if whole < n { (n - ROUND, ROUND) } else { (0, 0) };
    for (at, len) in [(0, whole), last] {
        let (from, to) = (from.map(|x| x.wrapping_add(at)), to.wrapping_add(at));
        for i in 0..len {
            // SAFETY: `at + i` is inside the places, and those read were filled.
            unsafe { *to.add(i) = f(from.map(|x| *x.add(i))) };
        }
    }
    if short {
        // SAFETY: a whole round was written.
        y.iter_mut().zip(&done).for_each(|(y, d)| *y = unsafe { d.assume_init() });
    }
}

/// Declares a function of slices whose body is compiled for each instruction set `I`, with its vectors `V`.
macro_rules! rows {
    ($(#[$meta:meta])* fn $name:ident<T, I, V>($($arg:ident : $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        pub fn $name<T: Row>(level: Level, $($arg: $ty),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, clippy::extra_unused_type_parameters)]
            fn body<T: Row, I: Isa, V: Load<T, A = T>>($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,bmi2")]
                #[allow(clippy::too_many_arguments)]
                fn avx2<T: Row>($($arg: $ty),*) {
                    body::<T, crate::cpu::isa::Avx2, T::Avx2>($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
                #[allow(clippy::too_many_arguments)]
                fn avx512<T: Row>($($arg: $ty),*) {
                    body::<T, crate::cpu::isa::Avx512, T::Avx512>($($arg),*)
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
            body::<T, crate::cpu::isa::Baseline, T::Plain>($($arg),*)
        }
    };
}

/// `e^(scale * x - top) / DOWN`, `top` being the largest of `scale * x`.
#[inline(always)]
fn raised<T: Row, I: Isa>(x: T, scale: T, top: T) -> T {
    x.mul_add::<I>(scale, -top).exp_down::<I>()
}

/// `e^y` of a logarithm of softmax, which is not above zero.
#[inline(always)]
fn share<T: Row, I: Isa>(y: T) -> T {
    y.exp_down::<I>() * T::of(T::DOWN)
}

/// Rows that are worked on together, one step for all of them before the next: the steps of one row wait for each other.
pub const GROUP: usize = 16;

rows! {
    /// At most [`GROUP`] contiguous rows of `n` elements.
    fn soft_rows<T, I, V>(x: &[T], y: &mut [T], n: usize, scale: T, kind: Soft) {
        let mut tops = [T::of(0.0); GROUP];
        for (x, top) in x.chunks_exact(n).zip(&mut tops) {
            *top = largest::<T, V>(x, scale);
        }
        let (zero, mut sums) = ([T::of(0.0)], [1.0 / T::DOWN; GROUP]);
        if kind == Soft::Plain || n <= BLOCK {
            for ((x, y), &top) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)).zip(&tops) {
                apply([x], y, #[inline(always)] |[x]| raised::<T, I>(x, scale, top));
            }
            for (y, total) in y.chunks_exact(n).zip(&mut sums) {
                *total = sum::<T, V, 1>([y], zero, #[inline(always)] |[y]| y);
            }
        } else {
            // The powers of long rows are not kept: the result is written once.
            let mut block = [T::of(0.0); BLOCK];
            for ((x, &top), total) in x.chunks_exact(n).zip(&tops).zip(&mut sums) {
                *total = 0.0;
                for x in x.chunks(BLOCK) {
                    let block = &mut block[..x.len()];
                    apply([x], block, #[inline(always)] |[x]| raised::<T, I>(x, scale, top));
                    *total += sum::<T, V, 1>([&*block], zero, #[inline(always)] |[y]| y);
                }
            }
        }
        if kind == Soft::Plain {
            for (y, &total) in y.chunks_exact_mut(n).zip(&sums) {
                let share = T::of(1.0 / total);
                y.iter_mut().for_each(|y| *y = *y * share);
            }
            return;
        }
        // In a loop of its own, as vectors: one logarithm in float64 takes as long as sixty exponentials.
        sums.iter_mut().for_each(|total| *total = Real::log::<I>(*total * T::DOWN));
        for ((x, y), (&top, &log)) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)).zip(tops.iter().zip(&sums)) {
            let log = T::of(log);
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (x * scale - top) - log;
            }
        }
    }
}

/// `C` elements from `at` on.
#[inline(always)]
fn part<T, const C: usize>(x: &[T], at: usize) -> &[T; C] {
    match x[at..at + C].first_chunk() {
        Some(part) => part,
        None => unreachable!("a part has its length"),
    }
}

/// Softmax of `C` columns: a number of them that is known is worked on without loops inside the loop over rows.
#[inline(always)]
fn soft_strip<T: Row, I: Isa, const C: usize>(x: &[T], y: &[Cell<T>], n: usize, step: usize, scale: T, kind: Soft) {
    let (mut top, mut total) = ([T::of(f64::NEG_INFINITY); C], [T::of(0.0); C]);
    for i in 0..n {
        let x = part::<T, C>(x, i * step);
        for (top, &x) in top.iter_mut().zip(x) {
            let x = x * scale;
            *top = if x > *top { x } else { *top };
        }
    }
    for i in 0..n {
        let (x, y) = (part::<T, C>(x, i * step), part::<Cell<T>, C>(y, i * step));
        for c in 0..C {
            let e = raised::<T, I>(x[c], scale, top[c]);
            y[c].set(e);
            total[c] = total[c] + e;
        }
    }
    if kind == Soft::Plain {
        let share = total.map(
            #[inline(always)]
            |t| T::of(1.0) / t,
        );
        for i in 0..n {
            let y = part::<Cell<T>, C>(y, i * step);
            y.iter().zip(&share).for_each(|(y, &share)| y.set(y.get() * share));
        }
    } else {
        for total in &mut total {
            *total = (*total * T::of(T::DOWN)).log::<I>();
        }
        for i in 0..n {
            let (x, y) = (part::<T, C>(x, i * step), part::<Cell<T>, C>(y, i * step));
            for c in 0..C {
                y[c].set((x[c] * scale - top[c]) - total[c]);
            }
        }
    }
}

/// The gradient of [`soft_strip`].
#[inline(always)]
fn soft_strip_grad<T: Row, I: Isa, const C: usize>(
    [y, g]: [&[T]; 2],
    out: &[Cell<T>],
    n: usize,
    step: usize,
    scale: T,
    kind: Soft,
) {
    let mut total = [T::of(0.0); C];
    let plain = kind == Soft::Plain;
    for i in 0..n {
        let (y, g) = (part::<T, C>(y, i * step), part::<T, C>(g, i * step));
        for c in 0..C {
            total[c] = total[c] + if plain { y[c] * g[c] } else { g[c] };
        }
    }
    for i in 0..n {
        let (y, g) = (part::<T, C>(y, i * step), part::<T, C>(g, i * step));
        let out = part::<Cell<T>, C>(out, i * step);
        if plain {
            for c in 0..C {
                out[c].set(scale * (y[c] * (g[c] - total[c])));
            }
        } else {
            for c in 0..C {
                out[c].set(scale * (g[c] - share::<T, I>(y[c]) * total[c]));
            }
        }
    }
}

/// Calls a strip on `width` columns: wide ones, then narrower ones, the last of which may meet columns that are done.
macro_rules! strips {
    ($width:ident, $strip:ident<$T:ty, $I:ty>, $out:ident, $n:ident, $step:ident, $at:ident => $from:expr, $($more:expr),*) => {
        let mut $at = 0;
        strips!(@ $width, WIDTH, $at, $strip::<$T, $I, WIDTH>($from, &$out[$at..], $n, $step, $($more),*));
        strips!(@ $width, ROUND, $at, $strip::<$T, $I, ROUND>($from, &$out[$at..], $n, $step, $($more),*));
        strips!(@ $width, 16, $at, $strip::<$T, $I, 16>($from, &$out[$at..], $n, $step, $($more),*));
        strips!(@ $width, 4, $at, $strip::<$T, $I, 4>($from, &$out[$at..], $n, $step, $($more),*));
        strips!(@ $width, 1, $at, $strip::<$T, $I, 1>($from, &$out[$at..], $n, $step, $($more),*));
    };
    (@ $width:ident, $columns:expr, $at:ident, $call:expr) => {
        while $at < $width && $width >= $columns && ($columns < ROUND || $width - $at >= $columns) {
            $at = $at.min($width - $columns);
            $call;
            $at += $columns;
        }
    };
}

rows! {
    /// `width` columns side by side: element `i` of column `c` lies at `i * step + c`.
    fn soft_columns<T, I, V>(x: &[T], y: &[Cell<T>], n: usize, step: usize, width: usize, scale: T, kind: Soft) {
        strips!(width, soft_strip<T, I>, y, n, step, at => &x[at..], scale, kind);
    }
}

rows! {
    /// The gradient of at most [`GROUP`] rows: `y * (g - Σ g·y)`, or `g - exp(y) * Σ g`, times `scale`.
    fn soft_rows_grad<T, I, V>(y: &[T], g: &[T], out: &mut [T], n: usize, scale: T, kind: Soft) {
        let (zero, mut totals) = (T::of(0.0), [T::of(0.0); GROUP]);
        for ((y, g), total) in y.chunks_exact(n).zip(g.chunks_exact(n)).zip(&mut totals) {
            *total = T::of(if kind == Soft::Plain {
                sum::<T, V, 2>([y, g], [zero; 2], #[inline(always)] |[y, g]| y.mul(g))
            } else {
                sum::<T, V, 1>([g], [zero], #[inline(always)] |[g]| g)
            });
        }
        let rows = out.chunks_exact_mut(n).zip(y.chunks_exact(n).zip(g.chunks_exact(n))).zip(&totals);
        for ((out, (y, g)), &total) in rows {
            if kind == Soft::Plain {
                for ((out, &y), &g) in out.iter_mut().zip(y).zip(g) {
                    *out = scale * (y * (g - total));
                }
            } else {
                apply([y, g], out, #[inline(always)] |[y, g]| scale * (g - share::<T, I>(y) * total));
            }
        }
    }
}

rows! {
    /// As [`soft_columns`].
    fn soft_columns_grad<T, I, V>(y: &[T], g: &[T], out: &[Cell<T>], n: usize, step: usize, width: usize, scale: T, kind: Soft) {
        strips!(width, soft_strip_grad<T, I>, out, n, step, at => [&y[at..], &g[at..]], scale, kind);
    }
}

rows! {
    /// One row of layer normalization; gives its mean and standard deviation.
    fn norm_row<T, I, V>(x: &[T], gamma: Option<&[T]>, beta: Option<&[T]>, eps: f64, y: &mut [T], mean: &mut T, std: &mut T) {
        let n = x.len();
        let y = &mut y[..n];
        let m = T::of(sum::<T, V, 1>([x], [T::of(0.0)], #[inline(always)] |[x]| x) / n as f64);
        // SAFETY: the vector is that of the instruction set that this runs on.
        let around = unsafe { V::splat(m) };
        let var = sum::<T, V, 1>([x], [m], #[inline(always)] |[x]| { let d = x.sub(around); d.mul(d) }) / n as f64;
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
    fn norm_row_grad<T, I, V>(x: &[T], g: &[T], gamma: Option<&[T]>, mean: T, std: T, out: &mut [T]) {
        let (n, zero) = (out.len(), T::of(0.0));
        let (x, g) = (&x[..n], &g[..n]);
        let inv = T::of(1.0) / std;
        let count = n as f64;
        // SAFETY: the vector is that of the instruction set that this runs on.
        let (mid, inverse) = unsafe { (V::splat(mean), V::splat(inv)) };
        match gamma {
            Some(gamma) => {
                let gamma = &gamma[..n];
                let a = sum::<T, V, 2>([g, gamma], [zero; 2], #[inline(always)] |[g, w]| g.mul(w));
                let b = sum::<T, V, 3>([g, gamma, x], [zero; 3], #[inline(always)] |[g, w, x]| g.mul(w).mul(x.sub(mid).mul(inverse)));
                let (a, b) = (T::of(a / count), T::of(b / count));
                for i in 0..n {
                    out[i] = (g[i] * gamma[i] - a - (x[i] - mean) * inv * b) * inv;
                }
            }
            None => {
                let a = sum::<T, V, 1>([g], [zero], #[inline(always)] |[g]| g);
                let b = sum::<T, V, 2>([g, x], [zero; 2], #[inline(always)] |[g, x]| g.mul(x.sub(mid).mul(inverse)));
                let (a, b) = (T::of(a / count), T::of(b / count));
                for i in 0..n {
                    out[i] = (g[i] - a - (x[i] - mean) * inv * b) * inv;
                }
            }
        }
    }
}

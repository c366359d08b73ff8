//! The loops over one row, or over columns side by side.

use super::strips::{soft_strip, soft_strip_grad, strips};
use super::{Row, Soft, WIDTH};
use crate::base::Level;
use crate::cpu::isa::Isa;
use crate::cpu::lanes::{Lane, Load, Pair, Powers};
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
            fn body<T: Row, I: Isa, V: Load<T, A = T> + Powers>($($arg: $ty),*) $body
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
pub fn raised<T: Row, I: Isa>(x: T, scale: T, top: T) -> T {
    x.mul_add::<I>(scale, -top).exp_down::<I>()
}

/// `y` of [`raised`]; gives their sum.
#[inline(always)]
fn raise<T: Row, I: Isa, V: Load<T, A = T> + Powers>(x: &[T], y: &mut [T], scale: T, top: T) -> f64 {
    if !V::QUICK {
        apply(
            [x],
            y,
            #[inline(always)]
            |[x]| raised::<T, I>(x, scale, top),
        );
        return sum::<T, V, 1>(
            [y],
            [T::of(0.0)],
            #[inline(always)]
            |[y]| y,
        );
    }
    assert!(x.len() == y.len(), "rows: slices of one length");
    let mut total = 0.0;
    for (x, y) in x.chunks(BLOCK).zip(y.chunks_mut(BLOCK)) {
        // SAFETY: the vector is that of the instruction set that this runs on; blocks are as long as each other.
        total += unsafe {
            if scale == T::of(1.0) {
                raise_block::<T, I, V, true>(x, y, scale, top)
            } else {
                raise_block::<T, I, V, false>(x, y, scale, top)
            }
        };
    }
    total
}

/// # Safety
/// The CPU has what `V` needs; `y` is as long as `x`.
#[inline(always)]
unsafe fn raise_block<T: Row, I: Isa, V: Load<T, A = T> + Powers, const UNIT: bool>(
    x: &[T],
    y: &mut [T],
    scale: T,
    top: T,
) -> f64 {
    let (n, x, y) = (x.len(), x.as_ptr(), y.as_mut_ptr());
    let mut i = 0;
    // SAFETY: as the caller says, and loads and stores stay below `n`.
    unsafe {
        let (scale, top, zero) = (V::splat(scale), V::splat(top), V::splat(T::of(0.0)));
        let mut acc = [zero; 4];
        while i + 4 * V::LANES <= n {
            for (k, acc) in acc.iter_mut().enumerate() {
                let x = V::load(x.add(i + k * V::LANES));
                let e = (if UNIT { x } else { x.mul(scale) }).sub(top).exp_down::<I>();
                e.put(y.add(i + k * V::LANES));
                *acc = acc.add(e);
            }
            i += 4 * V::LANES;
        }
        while i < n {
            let len = (n - i).min(V::LANES);
            let x = if len == V::LANES { V::load(x.add(i)) } else { V::load_part(x.add(i), len, zero) };
            let e = (if UNIT { x } else { x.mul(scale) }).sub(top).exp_down::<I>();
            if len == V::LANES {
                e.put(y.add(i));
                acc[0] = acc[0].add(e);
            } else {
                e.put_part(y.add(i), len);
                acc[3] = acc[3].add(V::load_part(y.add(i), len, zero));
            }
            i += len;
        }
        Real::to_f64(acc[0].add(acc[1]).add(acc[2].add(acc[3])).total::<Add>())
    }
}

/// `e^y` of a logarithm of softmax, which is not above zero.
#[inline(always)]
pub fn share<T: Row, I: Isa>(y: T) -> T {
    y.exp_down::<I>() * T::of(T::DOWN)
}

/// `scale * (g - e^y * total)`: the gradient of the logarithm of softmax.
#[inline(always)]
fn differ<T: Row, I: Isa, V: Load<T, A = T> + Powers>(y: &[T], g: Option<&[T]>, out: &mut [T], scale: T, total: T) {
    let mut i = 0;
    if V::QUICK {
        assert!(y.len() == out.len() && g.is_none_or(|g| g.len() == y.len()), "rows: slices of one length");
        // SAFETY: loads and stores stay inside; the vector is that of the instruction set that this runs on.
        unsafe {
            let (down, all, scale) = (V::splat(T::of(T::DOWN)), V::splat(total), V::splat(scale));
            let zero = V::splat(T::of(0.0));
            while i + V::LANES <= y.len() {
                let e = V::load(y.as_ptr().add(i)).exp_down::<I>().mul(down);
                let g = g.map_or(
                    zero,
                    #[inline(always)]
                    |g| V::load(g.as_ptr().add(i)),
                );
                g.sub(e.mul(all)).mul(scale).put(out.as_mut_ptr().add(i));
                i += V::LANES;
            }
        }
    }
    if i == y.len() {
        return;
    }
    let (y, out) = (&y[i..], &mut out[i..]);
    match g {
        Some(g) => apply(
            [y, &g[i..]],
            out,
            #[inline(always)]
            |[y, g]| scale * (g - share::<T, I>(y) * total),
        ),
        None => apply(
            [y],
            out,
            #[inline(always)]
            |[y]| scale * (T::of(0.0) - share::<T, I>(y) * total),
        ),
    }
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
        let mut sums = [1.0 / T::DOWN; GROUP];
        if kind == Soft::Plain || n <= BLOCK {
            for (((x, y), &top), total) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)).zip(&tops).zip(&mut sums) {
                *total = raise::<T, I, V>(x, y, scale, top);
            }
        } else {
            // The powers of long rows are not kept: the result is written once.
            let mut block = [T::of(0.0); BLOCK];
            for ((x, &top), total) in x.chunks_exact(n).zip(&tops).zip(&mut sums) {
                *total = 0.0;
                for x in x.chunks(BLOCK) {
                    *total += raise::<T, I, V>(x, &mut block[..x.len()], scale, top);
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

rows! {
    /// `width` columns side by side: element `i` of column `c` lies at `i * step + c`.
    fn soft_columns<T, I, V>(x: &[T], y: &[Cell<T>], n: usize, step: usize, width: usize, scale: T, kind: Soft) {
        strips!(width, soft_strip<T, I, V>, y, n, step, at => &x[at..], scale, kind);
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
                differ::<T, I, V>(y, Some(g), out, scale, total);
            }
        }
    }
}

rows! {
    /// As [`soft_rows_grad`], where what comes in is zero but for the element `at` a place of each row.
    fn soft_rows_put<T, I, V>(y: &[T], g: &[T], at: &[i64], out: &mut [T], n: usize, scale: T, kind: Soft) {
        let rows = out.chunks_exact_mut(n).zip(y.chunks_exact(n)).zip(g.iter().zip(at));
        for ((out, y), (&g, &at)) in rows {
            let at = at as usize;
            if kind == Soft::Plain {
                let total = y[at] * g;
                for (out, &y) in out.iter_mut().zip(y) {
                    *out = scale * (y * (T::of(0.0) - total));
                }
                out[at] = scale * (y[at] * (g - total));
            } else {
                differ::<T, I, V>(y, None, out, scale, g);
                out[at] = scale * (g - share::<T, I>(y[at]) * g);
            }
        }
    }
}

rows! {
    /// As [`soft_columns`].
    fn soft_columns_grad<T, I, V>(y: &[T], g: &[T], out: &[Cell<T>], n: usize, step: usize, width: usize, scale: T, kind: Soft) {
        strips!(width, soft_strip_grad<T, I, V>, out, n, step, at => [&y[at..], &g[at..]], scale, kind);
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

//! Softmax of columns side by side: strips of them whose width the compiler knows.

use super::kernels::{raised, share};
use super::{Row, Soft};
use crate::cpu::isa::Isa;
use crate::cpu::lanes::{Load, Powers};
use std::cell::Cell;

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
pub fn soft_strip<T: Row, I: Isa, V: Load<T, A = T> + Powers, const C: usize>(
    x: &[T],
    y: &[Cell<T>],
    n: usize,
    step: usize,
    scale: T,
    kind: Soft,
) {
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
        if V::QUICK && C.is_multiple_of(V::LANES) {
            for c in (0..C).step_by(V::LANES) {
                // SAFETY: a vector from `c` on is inside each of them, and is that of the instruction set this runs on.
                unsafe {
                    let x = V::load(x.as_ptr().add(c)).mul(V::splat(scale)).sub(V::get(top.as_ptr().add(c)));
                    let e = x.exp_down::<I>();
                    e.put(y.as_ptr().add(c).cast::<T>().cast_mut());
                    V::get(total.as_ptr().add(c)).add(e).put(total.as_mut_ptr().add(c));
                }
            }
            continue;
        }
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
pub fn soft_strip_grad<T: Row, I: Isa, V: Load<T, A = T> + Powers, const C: usize>(
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
        } else if V::QUICK && C.is_multiple_of(V::LANES) {
            let down = T::of(T::DOWN);
            for c in (0..C).step_by(V::LANES) {
                // SAFETY: as in `soft_strip`.
                unsafe {
                    let e = V::load(y.as_ptr().add(c)).exp_down::<I>().mul(V::splat(down));
                    let d = V::load(g.as_ptr().add(c)).sub(e.mul(V::get(total.as_ptr().add(c)))).mul(V::splat(scale));
                    d.put(out.as_ptr().add(c).cast::<T>().cast_mut());
                }
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
    ($width:ident, $strip:ident<$T:ty, $I:ty, $V:ty>, $out:ident, $n:ident, $step:ident, $at:ident => $from:expr, $($more:expr),*) => {
        let mut $at = 0;
        strips!(@ $width, WIDTH, $at, $strip::<$T, $I, $V, WIDTH>($from, &$out[$at..], $n, $step, $($more),*));
        strips!(@ $width, ROUND, $at, $strip::<$T, $I, $V, ROUND>($from, &$out[$at..], $n, $step, $($more),*));
        strips!(@ $width, 16, $at, $strip::<$T, $I, $V, 16>($from, &$out[$at..], $n, $step, $($more),*));
        strips!(@ $width, 4, $at, $strip::<$T, $I, $V, 4>($from, &$out[$at..], $n, $step, $($more),*));
        strips!(@ $width, 1, $at, $strip::<$T, $I, $V, 1>($from, &$out[$at..], $n, $step, $($more),*));
    };
    (@ $width:ident, $columns:expr, $at:ident, $call:expr) => {
        while $at < $width && $width >= $columns && ($columns < ROUND || $width - $at >= $columns) {
            $at = $at.min($width - $columns);
            $call;
            $at += $columns;
        }
    };
}

pub(super) use strips;

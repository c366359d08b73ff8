//! The loops of reductions: runs folded into one accumulator each, or side by side into one for each place.
//!
//! Sums and products of floats accumulate in float64, of integers in int64; folds that are exact in the dtype they fold
//! (the extremes) stay in it.

use crate::base::{DType, Element, Level};
use crate::cpu::lanes::{Acc, Lane, Load, Pack, Pair, Plain};
use crate::ir::{FoldColumns, FoldRows, FoldTiles};
use crate::with_dtype;
use std::marker::PhantomData;

#[cfg(test)]
mod tests;

/// A reduction, generic over the accumulator: a number or a vector of them.
pub trait Fold: 'static {
    const START: (f64, i64);
    /// Whether every partial result is one of the elements.
    const EXACT: bool;
    fn step<L: Lane>(acc: L, x: L) -> L;
    fn join<L: Lane>(a: L, b: L) -> L;
    fn finish_float(v: f64, n: usize) -> f64;
    fn finish_int(v: i64, n: usize) -> i64;
}

struct Join<F>(PhantomData<F>);
impl<F: Fold> Pair for Join<F> {
    #[inline(always)]
    fn of<L: Lane>(a: L, b: L) -> L {
        F::join(a, b)
    }
}

/// Vectors that a run is folded in: enough chains to hide the latency of an addition, few enough to join at its end.
const CHAINS: usize = 4;
/// Vectors of a run after which its lanes are joined: long sums in float64 keep their last digits.
const FLUSH: usize = 1024;

/// # Safety
/// `x` is readable for `n` elements, and the CPU has what `P` needs.
#[inline(always)]
unsafe fn fold_run<F: Fold, T: Element, P: Load<T>>(x: *const T, n: usize, start: P, acc: &mut [P; CHAINS]) {
    let mut i = 0;
    // SAFETY: the caller vouches for the elements.
    unsafe {
        // Each a variable of its own, which stays in registers.
        let [mut a, mut b, mut c, mut d] = *acc;
        while i + CHAINS * P::LANES <= n {
            let x = x.add(i);
            a = F::step(a, P::load(x));
            b = F::step(b, P::load(x.add(P::LANES)));
            c = F::step(c, P::load(x.add(2 * P::LANES)));
            d = F::step(d, P::load(x.add(3 * P::LANES)));
            i += CHAINS * P::LANES;
        }
        *acc = [a, b, c, d];
        for acc in &mut acc[..CHAINS - 1] {
            if i + P::LANES <= n {
                *acc = F::step(*acc, P::load(x.add(i)));
                i += P::LANES;
            }
        }
        if i < n {
            acc[CHAINS - 1] = F::step(acc[CHAINS - 1], P::load_part(x.add(i), n - i, start));
        }
    }
}

/// # Safety
/// As [`FoldRows`].
#[inline(always)]
unsafe fn fold_rows<F: Fold, T: Element, P: Load<T>>(
    x: *const T,
    n: usize,
    stride: usize,
    rows: usize,
    mut acc: *mut P::A,
    one: bool,
) where
    P::A: Acc,
{
    // SAFETY: the caller vouches for the elements and accumulators.
    unsafe {
        let start = P::splat(P::A::start(F::START));
        let mut lanes = [start; CHAINS];
        let mut held = 0;
        for r in 0..rows {
            let x = x.add(r * stride);
            let mut i = 0;
            loop {
                let len = (n - i).min(FLUSH * P::LANES);
                fold_run::<F, T, P>(x.add(i), len, start, &mut lanes);
                (i, held) = (i + len, held + len);
                if one && r + 1 < rows && held < FLUSH * P::LANES {
                    break;
                }
                let all = F::join(F::join(lanes[0], lanes[1]), F::join(lanes[2], lanes[3]));
                *acc = F::join(*acc, all.total::<Join<F>>());
                (lanes, held) = ([start; CHAINS], 0);
                if i >= n {
                    break;
                }
            }
            if !one {
                acc = acc.add(1);
            }
        }
    }
}

/// Folds `R` rows in one pass over the accumulators.
///
/// # Safety
/// As [`FoldColumns`], of `R` rows.
#[inline(always)]
unsafe fn pass<F: Fold, T: Element, P: Load<T>, const R: usize>(x: *const T, n: usize, stride: usize, acc: *mut P::A)
where
    P::A: Acc,
{
    let mut i = 0;
    // SAFETY: the caller vouches for the elements and accumulators.
    unsafe {
        while i + P::LANES <= n {
            let mut a = P::get(acc.add(i));
            for k in 0..R {
                a = F::step(a, P::load(x.add(k * stride + i)));
            }
            a.put(acc.add(i));
            i += P::LANES;
        }
        if i < n {
            let start = P::splat(P::A::start(F::START));
            let mut a = P::get_part(acc.add(i), n - i);
            for k in 0..R {
                a = F::step(a, P::load_part(x.add(k * stride + i), n - i, start));
            }
            a.put_part(acc.add(i), n - i);
        }
    }
}

/// # Safety
/// As [`FoldColumns`].
#[inline(always)]
unsafe fn fold_columns<F: Fold, T: Element, P: Load<T>>(
    x: *const T,
    n: usize,
    stride: usize,
    rows: usize,
    acc: *mut P::A,
) where
    P::A: Acc,
{
    let mut r = 0;
    // SAFETY: the caller vouches for the elements and accumulators.
    unsafe {
        while r + 8 <= rows {
            pass::<F, T, P, 8>(x.add(r * stride), n, stride, acc);
            r += 8;
        }
        if r + 4 <= rows {
            pass::<F, T, P, 4>(x.add(r * stride), n, stride, acc);
            r += 4;
        }
        while r < rows {
            pass::<F, T, P, 1>(x.add(r * stride), n, stride, acc);
            r += 1;
        }
    }
}

/// Joins `n` accumulators with others.
///
/// # Safety
/// Both hold `n` accumulators of type `A`.
unsafe fn join<F: Fold, A: Acc>(acc: *mut u8, other: *const u8, n: usize) {
    let (acc, other) = (acc as *mut A, other as *const A);
    for i in 0..n {
        // SAFETY: the caller vouches for the accumulators.
        unsafe { *acc.add(i) = F::join(*acc.add(i), *other.add(i)) };
    }
}

/// Finishes `count` totals of `n` elements each and stores them as elements of `dtype`.
///
/// # Safety
/// `acc` holds the totals, `out` has room for the elements.
unsafe fn store<F: Fold, A: Acc>(acc: *const u8, count: usize, n: usize, dtype: DType, out: *mut u8) {
    with_dtype!(dtype, T => {
        let (acc, out) = (acc as *const A, out as *mut T);
        for i in 0..count {
            // SAFETY: the caller vouches for both.
            unsafe {
                let v = *acc.add(i);
                // Of booleans the truth of the exact result: the mean of [true, false] is not zero.
                *out.add(i) = if A::FLOAT || dtype == DType::Bool {
                    T::from_f64(F::finish_float(v.to_f64(), n))
                } else {
                    T::from_i64(F::finish_int(v.to_i64(), n))
                };
            }
        }
    })
}

macro_rules! fold_level {
    ($rows:ident, $columns:ident $(, $feature:literal)?) => {
        /// # Safety
        /// As [`FoldRows`], and the CPU must have the instruction set.
        $(#[target_feature(enable = $feature)])?
        unsafe fn $rows<F: Fold, T: Element, P: Load<T>>(
            x: *const u8,
            n: usize,
            stride: usize,
            rows: usize,
            acc: *mut u8,
            one: bool,
        ) where
            P::A: Acc,
        {
            // SAFETY: the caller vouches for the pointers.
            unsafe { fold_rows::<F, T, P>(x.cast(), n, stride, rows, acc.cast(), one) }
        }
        /// # Safety
        /// As [`FoldColumns`], and the CPU must have the instruction set.
        $(#[target_feature(enable = $feature)])?
        unsafe fn $columns<F: Fold, T: Element, P: Load<T>>(x: *const u8, n: usize, stride: usize, rows: usize, acc: *mut u8)
        where
            P::A: Acc,
        {
            // SAFETY: the caller vouches for the pointers.
            unsafe { fold_columns::<F, T, P>(x.cast(), n, stride, rows, acc.cast()) }
        }
    };
}
fold_level!(rows_base, columns_base);
#[cfg(target_arch = "x86_64")]
fold_level!(rows_avx2, columns_avx2, "avx2,fma,bmi2,f16c");
#[cfg(target_arch = "x86_64")]
fold_level!(rows_avx512, columns_avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2,f16c");

fn tiles<F: Fold, P: Pack>(rows: FoldRows, columns: FoldColumns) -> FoldTiles
where
    P::A: Acc,
{
    let size = size_of::<P::A>();
    let mut start = [0u8; 8];
    let one = P::A::start(F::START);
    for at in (0..8).step_by(size) {
        // SAFETY: `size` bytes from `at` are inside; an accumulator is plain data.
        unsafe { start.as_mut_ptr().add(at).cast::<P::A>().write_unaligned(one) };
    }
    FoldTiles { size, start: u64::from_ne_bytes(start), rows, columns, join: join::<F, P::A>, store: store::<F, P::A> }
}

/// The fold of floats: `W2` and `W5` are the vectors of AVX2 and AVX-512, `P` that of any other CPU.
macro_rules! float {
    ($level:expr, $t:ty, $p:ty, $w2:ident, $w5:ident) => {{
        #[cfg(target_arch = "x86_64")]
        {
            use crate::cpu::lanes::x86::{$w2, $w5};
            let able = <$t as Element>::DTYPE != DType::F16 || is_x86_feature_detected!("f16c");
            match $level {
                Level::Avx512 if able => {
                    return tiles::<F, $w5>(rows_avx512::<F, $t, $w5>, columns_avx512::<F, $t, $w5>);
                }
                Level::Avx2 if able => return tiles::<F, $w2>(rows_avx2::<F, $t, $w2>, columns_avx2::<F, $t, $w2>),
                _ => {}
            }
        }
        tiles::<F, $p>(rows_base::<F, $t, $p>, columns_base::<F, $t, $p>)
    }};
}

/// The fold of integers, which the compiler makes vectors of.
fn int<F: Fold, T: Element, P: Load<T>>(level: Level) -> FoldTiles
where
    P::A: Acc,
{
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => tiles::<F, P>(rows_avx512::<F, T, P>, columns_avx512::<F, T, P>),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => tiles::<F, P>(rows_avx2::<F, T, P>, columns_avx2::<F, T, P>),
        _ => tiles::<F, P>(rows_base::<F, T, P>, columns_base::<F, T, P>),
    }
}

/// The loops of a fold for a dtype at a level.
pub fn fold_tiles<F: Fold>(dtype: DType, level: Level) -> FoldTiles {
    use crate::base::dtype::Bool;
    match (dtype, F::EXACT) {
        (DType::F32, false) => float!(level, f32, Plain<f64, 4>, D4, D8),
        (DType::F32, true) => float!(level, f32, Plain<f32, 8>, S8, S16),
        (DType::F64, _) => float!(level, f64, Plain<f64, 4>, D4, D8),
        (DType::F16, false) => float!(level, half::f16, Plain<f64, 4>, D4, D8),
        (DType::F16, true) => float!(level, half::f16, Plain<f32, 8>, S8, S16),
        (DType::I32, false) => int::<F, i32, Plain<i64, 8>>(level),
        (DType::I32, true) => int::<F, i32, Plain<i32, 16>>(level),
        (DType::I64, _) => int::<F, i64, Plain<i64, 8>>(level),
        (DType::U8, false) => int::<F, u8, Plain<i64, 8>>(level),
        (DType::U8, true) => int::<F, u8, Plain<u8, 16>>(level),
        (DType::I8, false) => int::<F, i8, Plain<i64, 8>>(level),
        (DType::I8, true) => int::<F, i8, Plain<i8, 16>>(level),
        (DType::Bool, false) => int::<F, Bool, Plain<i64, 8>>(level),
        (DType::Bool, true) => int::<F, Bool, Plain<u8, 16>>(level),
    }
}

/// A [`ReduceFn`](crate::ir::ReduceFn) from its start values, step and join:
/// `fold!("sum", 0.0, 0, exact false, |acc, x| acc.add(x), |a, b| a.add(b), …)`.
#[macro_export]
macro_rules! fold {
    ($name:literal, $start_f:expr, $start_i:expr, exact $exact:literal,
     |$a:ident, $x:ident| $e:expr, |$l:ident, $r:ident| $j:expr,
     finish |$v:ident, $n:pat_param| $finish:expr, |$w:ident, $m:pat_param| $finish_i:expr,
     wgsl $step:literal, $join_text:literal, $finish_text:literal) => {{
        use $crate::cpu::lanes::Lane;
        struct This;
        impl $crate::cpu::fold_tiles::Fold for This {
            const START: (f64, i64) = ($start_f, $start_i);
            const EXACT: bool = $exact;
            #[inline(always)]
            fn step<L: Lane>($a: L, $x: L) -> L {
                $e
            }
            #[inline(always)]
            fn join<L: Lane>($l: L, $r: L) -> L {
                $j
            }
            #[inline(always)]
            fn finish_float($v: f64, $n: usize) -> f64 {
                $finish
            }
            #[inline(always)]
            fn finish_int($w: i64, $m: usize) -> i64 {
                $finish_i
            }
        }
        $crate::ir::ReduceFn {
            name: $name,
            start: ($start_f, $start_i),
            tiles: $crate::cpu::fold_tiles::fold_tiles::<This>,
            wgsl: $crate::ir::FoldText { step: $step, join: $join_text, finish: $finish_text },
        }
    }};
}

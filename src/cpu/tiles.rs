//! One closure, every dtype and instruction set: the macros that op records use to state their CPU form.
//!
//! `float_tiles!(|x| x.exp::<I>())` and `num_tiles!(|x, y| x.add(y))` make the lookup function of a
//! [`MapFn`](crate::ir::MapFn); `fold!` makes a [`ReduceFn`](crate::ir::ReduceFn). Inside, `T` is the element type
//! and `I` the instruction set.

use crate::base::{DType, Element, Level};
use crate::cpu::num::Num;
use crate::ir::{FoldTile, In};

/// Elements of one round of an unrolled vector loop, at most.
const ROUND: usize = 64;

/// Runs `body` on whole rounds, then on what is left in a padded place: functions are slow one by one.
///
/// # Safety
/// As [`Tile`](crate::ir::Tile), with at most three operands.
#[inline(always)]
pub unsafe fn padded<T: Copy + Default>(ins: &[In], out: *mut u8, n: usize, body: impl Fn(&[In], *mut u8, usize)) {
    let rest = n % ROUND;
    // The end of a short run is not worth the copies.
    let rest = if rest < 4 { 0 } else { rest };
    let (mut pads, mut result) = ([[T::default(); ROUND]; 3], [T::default(); ROUND]);
    let mut ends = [In { ptr: std::ptr::null(), splat: true }; 3];
    for ((end, pad), x) in ends.iter_mut().zip(&mut pads).zip(ins) {
        *end = *x;
        if !x.splat && rest > 0 {
            let from = (x.ptr as *const T).wrapping_add(n - rest);
            // SAFETY: the last `rest` elements of the operand. What is behind them is a value that may occur.
            unsafe {
                pad.fill(*from);
                std::ptr::copy_nonoverlapping(from, pad.as_mut_ptr(), rest);
            }
            end.ptr = pad.as_ptr().cast();
        }
    }
    // One call for both parts, so that the body is compiled once.
    for last in [false, true] {
        let (ins, out, n) =
            if last { (&ends[..ins.len()], result.as_mut_ptr().cast(), ROUND) } else { (ins, out, n - rest) };
        if !last || rest > 0 {
            body(ins, out, n);
        }
    }
    if rest == 0 {
        return;
    }
    // SAFETY: the last `rest` places of the result.
    unsafe { std::ptr::copy_nonoverlapping(result.as_ptr(), (out as *mut T).add(n - rest), rest) };
}

/// # Safety
/// As [`Tile`](crate::ir::Tile).
#[inline(always)]
pub unsafe fn loop1<T: Copy>(ins: &[In], out: *mut u8, n: usize, f: impl Fn(T) -> T) {
    let (x, out) = (ins[0].ptr as *const T, out as *mut T);
    // SAFETY: the caller vouches for `n` elements (one if splat) and room for `n`.
    unsafe {
        if ins[0].splat {
            let v = f(*x);
            for i in 0..n {
                *out.add(i) = v;
            }
        } else {
            for i in 0..n {
                *out.add(i) = f(*x.add(i));
            }
        }
    }
}

/// # Safety
/// As [`Tile`](crate::ir::Tile).
#[inline(always)]
pub unsafe fn loop2<T: Copy>(ins: &[In], out: *mut u8, n: usize, f: impl Fn(T, T) -> T) {
    let (x, y, out) = (ins[0].ptr as *const T, ins[1].ptr as *const T, out as *mut T);
    // SAFETY: the caller vouches for `n` elements (one if splat) and room for `n`.
    unsafe {
        match (ins[0].splat, ins[1].splat) {
            (false, false) => {
                for i in 0..n {
                    *out.add(i) = f(*x.add(i), *y.add(i));
                }
            }
            (false, true) => {
                let y = *y;
                for i in 0..n {
                    *out.add(i) = f(*x.add(i), y);
                }
            }
            (true, false) => {
                let x = *x;
                for i in 0..n {
                    *out.add(i) = f(x, *y.add(i));
                }
            }
            (true, true) => {
                let v = f(*x, *y);
                for i in 0..n {
                    *out.add(i) = v;
                }
            }
        }
    }
}

/// # Safety
/// As [`Tile`](crate::ir::Tile).
#[inline(always)]
pub unsafe fn loop3<T: Copy>(ins: &[In], out: *mut u8, n: usize, f: impl Fn(T, T, T) -> T) {
    let p = [ins[0].ptr as *const T, ins[1].ptr as *const T, ins[2].ptr as *const T];
    let s = [!ins[0].splat as usize, !ins[1].splat as usize, !ins[2].splat as usize];
    let out = out as *mut T;
    // SAFETY: the caller vouches for `n` elements (one if splat) and room for `n`.
    unsafe {
        if s == [1, 1, 1] {
            for i in 0..n {
                *out.add(i) = f(*p[0].add(i), *p[1].add(i), *p[2].add(i));
            }
        } else {
            for i in 0..n {
                *out.add(i) = f(*p[0].add(i * s[0]), *p[1].add(i * s[1]), *p[2].add(i * s[2]));
            }
        }
    }
}

/// Accumulators of one run: enough independent chains to hide the latency of an addition, few enough to join at the end.
const LANES: usize = 64;

/// # Safety
/// As [`FoldTile`] of rows: `rows` runs of `n` elements, one accumulator each.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "where the runs lie, and three functions")]
pub unsafe fn fold_rows<T: Copy, A: Copy>(
    x: *const u8,
    n: usize,
    stride: usize,
    rows: usize,
    acc: *mut u8,
    start: A,
    f: impl Fn(A, T) -> A,
    join: impl Fn(A, A) -> A,
) {
    let (x, acc) = (x as *const T, acc as *mut A);
    // The compiler would unroll a loop of known length, and then not find the vectors in it.
    let width = std::hint::black_box(LANES);
    // SAFETY: the caller vouches for the elements and accumulators.
    unsafe {
        for r in 0..rows {
            let x = x.add(r * stride);
            let mut total = *acc.add(r);
            if n < 16 {
                for i in 0..n {
                    total = f(total, *x.add(i));
                }
            } else {
                let mut lanes = [start; LANES];
                let whole = n / width;
                let rest = n - whole * width;
                fold_columns::<T, A>(x.cast(), width, width, whole, lanes.as_mut_ptr().cast(), &f);
                for (i, lane) in lanes[..rest].iter_mut().enumerate() {
                    *lane = f(*lane, *x.add(whole * width + i));
                }
                let mut half = if whole > 0 { LANES } else { rest.next_power_of_two() } / 2;
                while half > 0 {
                    let (low, high) = lanes.split_at_mut(half);
                    for (a, b) in low.iter_mut().zip(high) {
                        *a = join(*a, *b);
                    }
                    half /= 2;
                }
                total = join(total, lanes[0]);
            }
            *acc.add(r) = total;
        }
    }
}

/// # Safety
/// As [`FoldTile`] of columns: `rows` runs of `n` elements, `n` accumulators.
#[inline(always)]
pub unsafe fn fold_columns<T: Copy, A: Copy>(
    x: *const u8,
    n: usize,
    stride: usize,
    rows: usize,
    acc: *mut u8,
    f: impl Fn(A, T) -> A,
) {
    let (x, acc) = (x as *const T, acc as *mut A);
    // SAFETY: the caller vouches for the elements and accumulators.
    unsafe {
        let mut r = 0;
        // Four rows to one pass over the accumulators.
        while r + 4 <= rows {
            let row = |i: usize| x.add((r + i) * stride);
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            for i in 0..n {
                *acc.add(i) = f(f(f(f(*acc.add(i), *a.add(i)), *b.add(i)), *c.add(i)), *d.add(i));
            }
            r += 4;
        }
        while r < rows {
            let x = x.add(r * stride);
            for i in 0..n {
                *acc.add(i) = f(*acc.add(i), *x.add(i));
            }
            r += 1;
        }
    }
}

/// Wraps a generic body in functions that enable each instruction set and picks by level.
#[doc(hidden)]
#[macro_export]
macro_rules! by_level {
    ($level:expr, $t:ty, $fn_ty:ty, ($($arg:ident : $arg_ty:ty),*), $body:ident) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma,bmi2")]
            unsafe fn avx2($($arg: $arg_ty),*) {
                // SAFETY: the caller of the returned function vouches for the pointers.
                unsafe { $body::<$t, $crate::cpu::isa::Avx2>($($arg),*) }
            }
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
            unsafe fn avx512($($arg: $arg_ty),*) {
                // SAFETY: as above.
                unsafe { $body::<$t, $crate::cpu::isa::Avx512>($($arg),*) }
            }
            match $level {
                $crate::base::Level::Avx512 => avx512 as $fn_ty,
                $crate::base::Level::Avx2 => avx2 as $fn_ty,
                $crate::base::Level::Baseline => $body::<$t, $crate::cpu::isa::Baseline> as $fn_ty,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = $level;
            $body::<$t, $crate::cpu::isa::Baseline> as $fn_ty
        }
    }};
}

/// Arithmetic runs as it is; real functions, which cost more, have their ends padded.
#[doc(hidden)]
#[macro_export]
macro_rules! tile_loop {
    (Real, $loop:ident, $ins:ident, $out:ident, $n:ident, $f:expr) => {
        $crate::cpu::tiles::padded::<T>(
            $ins,
            $out,
            $n,
            #[inline(always)]
            |ins, out, n| {
                $crate::cpu::tiles::$loop::<T>(
                    ins,
                    out,
                    n,
                    #[inline(always)]
                    $f,
                )
            },
        )
    };
    (Num, $loop:ident, $ins:ident, $out:ident, $n:ident, $f:expr) => {
        $crate::cpu::tiles::$loop::<T>(
            $ins,
            $out,
            $n,
            #[inline(always)]
            $f,
        )
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! tile_body {
    ($bound:ident, |$x:ident $(, [$($p:ident),*])?| $e:expr) => {
        #[inline(always)]
        #[allow(unused_variables, clippy::extra_unused_type_parameters)]
        unsafe fn body<T: $bound + Default, I: $crate::cpu::isa::Isa>(ins: &[$crate::ir::In], out: *mut u8, n: usize, imm: &[f64]) {
            $( let mut it = imm.iter(); $( let $p: T = T::of(it.next().copied().unwrap_or(0.0)); )* )?
            // SAFETY: the caller vouches for the operands.
            unsafe { $crate::tile_loop!($bound, loop1, ins, out, n, |$x: T| $e) }
        }
    };
    ($bound:ident, |$x:ident, $y:ident $(, [$($p:ident),*])?| $e:expr) => {
        #[inline(always)]
        #[allow(unused_variables, clippy::extra_unused_type_parameters)]
        unsafe fn body<T: $bound + Default, I: $crate::cpu::isa::Isa>(ins: &[$crate::ir::In], out: *mut u8, n: usize, imm: &[f64]) {
            $( let mut it = imm.iter(); $( let $p: T = T::of(it.next().copied().unwrap_or(0.0)); )* )?
            // SAFETY: the caller vouches for the operands.
            unsafe { $crate::tile_loop!($bound, loop2, ins, out, n, |$x: T, $y: T| $e) }
        }
    };
    ($bound:ident, |$x:ident, $y:ident, $z:ident| $e:expr) => {
        #[inline(always)]
        #[allow(unused_variables, clippy::extra_unused_type_parameters)]
        unsafe fn body<T: $bound + Default, I: $crate::cpu::isa::Isa>(ins: &[$crate::ir::In], out: *mut u8, n: usize, imm: &[f64]) {
            // SAFETY: the caller vouches for the operands.
            unsafe { $crate::tile_loop!($bound, loop3, ins, out, n, |$x: T, $y: T, $z: T| $e) }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! tile_for {
    ($level:expr, $t:ty) => {
        Some($crate::by_level!($level, $t, $crate::ir::Tile,
            (ins: &[$crate::ir::In], out: *mut u8, n: usize, imm: &[f64]), body))
    };
}

/// Tiles of a real function: float32 and float64.
#[macro_export]
macro_rules! float_tiles {
    (|$($arg:tt),*| $e:expr) => {{
        fn tile(dtype: $crate::base::DType, level: $crate::base::Level) -> Option<$crate::ir::Tile> {
            #[allow(unused_imports)]
            use $crate::cpu::math::Real;
            $crate::tile_body!(Real, |$($arg),*| $e);
            match dtype {
                $crate::base::DType::F32 => $crate::tile_for!(level, f32),
                $crate::base::DType::F64 => $crate::tile_for!(level, f64),
                _ => None,
            }
        }
        tile
    }};
}

/// Tiles of arithmetic: floats and integers.
#[macro_export]
macro_rules! num_tiles {
    (|$($arg:tt),*| $e:expr) => {{
        fn tile(dtype: $crate::base::DType, level: $crate::base::Level) -> Option<$crate::ir::Tile> {
            #[allow(unused_imports)]
            use $crate::cpu::num::Num;
            $crate::tile_body!(Num, |$($arg),*| $e);
            match dtype {
                $crate::base::DType::F32 => $crate::tile_for!(level, f32),
                $crate::base::DType::F64 => $crate::tile_for!(level, f64),
                $crate::base::DType::I32 => $crate::tile_for!(level, i32),
                $crate::base::DType::I64 => $crate::tile_for!(level, i64),
                $crate::base::DType::U8 => $crate::tile_for!(level, u8),
                $crate::base::DType::I8 => $crate::tile_for!(level, i8),
                _ => None,
            }
        }
        tile
    }};
}

/// The step of a reduction, generic over the accumulator: f64 for floats, i64 for integers.
pub trait Fold: 'static {
    const START: (f64, i64);
    fn step<A: Num>(acc: A, x: A) -> A;
    fn join<A: Num>(a: A, b: A) -> A;
}

/// The accumulator type of a dtype.
trait Acc: Num {
    fn start<F: Fold>() -> Self;
    fn widen<T: Element>(x: T) -> Self;
}

impl Acc for f64 {
    #[inline(always)]
    fn start<F: Fold>() -> f64 {
        F::START.0
    }
    #[inline(always)]
    fn widen<T: Element>(x: T) -> f64 {
        x.to_f64()
    }
}

impl Acc for i64 {
    #[inline(always)]
    fn start<F: Fold>() -> i64 {
        F::START.1
    }
    #[inline(always)]
    fn widen<T: Element>(x: T) -> i64 {
        x.to_i64()
    }
}

macro_rules! fold_level {
    ($rows:ident, $columns:ident $(, $feature:literal)?) => {
        /// # Safety
        /// As [`FoldTile`], and the CPU must have the instruction set.
        $(#[target_feature(enable = $feature)])?
        unsafe fn $rows<F: Fold, T: Element, A: Acc>(x: *const u8, n: usize, stride: usize, rows: usize, acc: *mut u8) {
            // SAFETY: the caller vouches for the pointers.
            unsafe {
                fold_rows::<T, A>(x, n, stride, rows, acc, A::start::<F>(),
                    #[inline(always)] |a, x| F::step(a, A::widen(x)), #[inline(always)] |a, b| F::join(a, b))
            }
        }
        /// # Safety
        /// As [`FoldTile`], and the CPU must have the instruction set.
        $(#[target_feature(enable = $feature)])?
        unsafe fn $columns<F: Fold, T: Element, A: Acc>(x: *const u8, n: usize, stride: usize, rows: usize, acc: *mut u8) {
            // SAFETY: the caller vouches for the pointers.
            unsafe { fold_columns::<T, A>(x, n, stride, rows, acc, #[inline(always)] |a, x| F::step(a, A::widen(x))) }
        }
    };
}
fold_level!(rows_base, columns_base);
#[cfg(target_arch = "x86_64")]
fold_level!(rows_avx2, columns_avx2, "avx2,fma,bmi2");
#[cfg(target_arch = "x86_64")]
fold_level!(rows_avx512, columns_avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2");

fn pick<F: Fold, T: Element, A: Acc>(level: Level, columns: bool) -> FoldTile {
    match (level, columns) {
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512, false) => rows_avx512::<F, T, A>,
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512, true) => columns_avx512::<F, T, A>,
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, false) => rows_avx2::<F, T, A>,
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, true) => columns_avx2::<F, T, A>,
        (_, false) => rows_base::<F, T, A>,
        (_, true) => columns_base::<F, T, A>,
    }
}

/// The fold function of a dtype at a level: into one accumulator, or one per element.
pub fn fold_tile<F: Fold>(dtype: DType, level: Level, columns: bool) -> FoldTile {
    use crate::base::dtype::Bool;
    match dtype {
        DType::F32 => pick::<F, f32, f64>(level, columns),
        DType::F64 => pick::<F, f64, f64>(level, columns),
        DType::F16 => pick::<F, half::f16, f64>(level, columns),
        DType::I32 => pick::<F, i32, i64>(level, columns),
        DType::I64 => pick::<F, i64, i64>(level, columns),
        DType::U8 => pick::<F, u8, i64>(level, columns),
        DType::I8 => pick::<F, i8, i64>(level, columns),
        DType::Bool => pick::<F, Bool, i64>(level, columns),
    }
}

/// A [`ReduceFn`](crate::ir::ReduceFn) from its start values, step and join:
/// `fold!("sum", 0.0, 0, |acc, x| acc.add(x), |a, b| a.add(b))`.
#[macro_export]
macro_rules! fold {
    ($name:literal, $start_f:expr, $start_i:expr, |$a:ident, $x:ident| $e:expr, |$l:ident, $r:ident| $j:expr,
     finish $finish:expr, $finish_i:expr, wgsl $step:literal, $join_text:literal, $finish_text:literal) => {{
        use $crate::cpu::num::Num;
        struct This;
        impl $crate::cpu::tiles::Fold for This {
            const START: (f64, i64) = ($start_f, $start_i);
            #[inline(always)]
            fn step<A: Num>($a: A, $x: A) -> A {
                $e
            }
            #[inline(always)]
            fn join<A: Num>($l: A, $r: A) -> A {
                $j
            }
        }
        fn tile(dtype: $crate::base::DType, level: $crate::base::Level, columns: bool) -> $crate::ir::FoldTile {
            $crate::cpu::tiles::fold_tile::<This>(dtype, level, columns)
        }
        $crate::ir::ReduceFn {
            name: $name,
            start: ($start_f, $start_i),
            tile,
            join: (<This as $crate::cpu::tiles::Fold>::join::<f64>, <This as $crate::cpu::tiles::Fold>::join::<i64>),
            finish: ($finish, $finish_i),
            wgsl: $crate::ir::FoldText { step: $step, join: $join_text, finish: $finish_text },
        }
    }};
}

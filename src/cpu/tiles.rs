//! One closure, every dtype and instruction set: the macros that op records use to state their CPU form.
//!
//! `float_tiles!(|x| x.exp::<I>())` and `num_tiles!(|x, y| x.add(y))` make the lookup function of a
//! [`MapFn`](crate::ir::MapFn). Inside, `T` is the element type and `I` the instruction set.

use crate::ir::In;

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
    // One loop for each pattern of operands: with steps that the compiler does not know it would make no vectors.
    macro_rules! patterns {
        ($(($($splat:literal),*))*) => {
            match (ins[0].splat, ins[1].splat, ins[2].splat) {
                // SAFETY: the caller's operands.
                $(($($splat),*) => unsafe { splats3::<T, $($splat),*>(ins, out, n, f) },)*
            }
        };
    }
    patterns! {
        (false, false, false) (false, false, true) (false, true, false) (false, true, true)
        (true, false, false) (true, false, true) (true, true, false) (true, true, true)
    }
}

/// # Safety
/// As [`Tile`](crate::ir::Tile); `X`, `Y` and `Z` say which operands are splats.
#[inline(always)]
unsafe fn splats3<T: Copy, const X: bool, const Y: bool, const Z: bool>(
    ins: &[In],
    out: *mut u8,
    n: usize,
    f: impl Fn(T, T, T) -> T,
) {
    let [x, y, z] = [0, 1, 2].map(|k| ins[k].ptr as *const T);
    let out = out as *mut T;
    if n == 0 {
        return;
    }
    // SAFETY: the caller vouches for `n` elements (one if splat) and room for `n`.
    unsafe {
        let (x0, y0, z0) = (*x, *y, *z);
        for i in 0..n {
            *out.add(i) =
                f(if X { x0 } else { *x.add(i) }, if Y { y0 } else { *y.add(i) }, if Z { z0 } else { *z.add(i) });
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

/// Tiles of a real function: float32 and float64. `wide name` says that [`math::wide`](crate::cpu::math) has a form of its
/// own for float32 with AVX-512.
#[macro_export]
macro_rules! float_tiles {
    (|$($arg:tt),*| $e:expr, wide $wide:ident) => {{
        fn tile(dtype: $crate::base::DType, level: $crate::base::Level) -> Option<$crate::ir::Tile> {
            #[cfg(target_arch = "x86_64")]
            if (dtype, level) == ($crate::base::DType::F32, $crate::base::Level::Avx512) {
                return Some($crate::cpu::math::wide::$wide);
            }
            ($crate::float_tiles!(|$($arg),*| $e))(dtype, level)
        }
        tile
    }};
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

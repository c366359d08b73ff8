//! Conversions between dtypes, a tile at a time.

use crate::base::{DType, Element};
use crate::ir::{In, Tile};
use crate::with_dtype;

/// # Safety
/// As [`Tile`]: one operand of dtype `T`, result of dtype `U`.
unsafe fn convert<T: Element, U: Element>(ins: &[In], out: *mut u8, n: usize, _imm: &[f64]) {
    let (x, out) = (ins[0].ptr as *const T, out as *mut U);
    let step = !ins[0].splat as usize;
    // SAFETY: the caller vouches for `n` elements (one if splat) and room for `n`.
    unsafe {
        if step == 1 {
            for i in 0..n {
                *out.add(i) = (*x.add(i)).cast::<U>();
            }
        } else {
            let v = (*x).cast::<U>();
            for i in 0..n {
                *out.add(i) = v;
            }
        }
    }
}

/// The tile that converts `from` to `to`.
pub fn cast_tile(from: DType, to: DType) -> Tile {
    with_dtype!(from, T => with_dtype!(to, U => convert::<T, U> as Tile))
}

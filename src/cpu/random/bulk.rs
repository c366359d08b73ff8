//! Whole slices from one engine: the numbers of `laws.rs`, in loops that the compiler vectorises.

use super::log::logs;
use super::mt19937::{temper, unit_f32};
use super::{Mt19937, normal_f32};
use crate::base::Level;
use std::cell::RefCell;

/// A function that is compiled for each instruction set, and runs as the best that the CPU has.
macro_rules! widest {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $t:ty),*) $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $t),*) {
            #[inline(always)]
            fn body($($arg: $t),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi2")]
            fn avx2($($arg: $t),*) {
                body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
            fn avx512($($arg: $t),*) {
                body($($arg),*)
            }
            match $crate::base::Level::get() {
                // SAFETY: the level says that the CPU has the instruction set.
                #[cfg(target_arch = "x86_64")]
                $crate::base::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::base::Level::Avx2 => unsafe { avx2($($arg),*) },
                _ => body($($arg),*),
            }
        }
    };
}
pub(super) use widest;

widest! {
/// [`uniform_f32`](super::uniform_f32) for each element.
pub fn fill_uniform_f32(e: &mut Mt19937, low: f32, high: f32, out: &mut [f32]) {
    let width = high - low;
    e.map_words(out, |word| low + width * unit_f32(word));
}
}

widest! {
/// A dropout mask: `value` where [`dropout_keep_f32`](super::dropout_keep_f32) keeps the element, else 0.
pub fn fill_dropout_f32(e: &mut Mt19937, keep: f32, value: f32, out: &mut [f32]) {
    e.map_words(out, |word| if unit_f32(word) <= keep { value } else { 0.0 });
}
}

/// [`normal_f32`] for each element.
pub fn fill_normal_f32(e: &mut Mt19937, loc: f32, scale: f32, out: &mut [f32]) {
    POINTS.with_borrow_mut(|points| normals(e, loc, scale, out, points));
}

thread_local! {
    // A stream's part of a call is often short: clearing the room for points each time would be much of it.
    static POINTS: RefCell<Points> = const { RefCell::new(Points::new()) };
}

widest! {
fn normals(e: &mut Mt19937, loc: f32, scale: f32, out: &mut [f32], points: &mut Points) {
    let mut out = out;
    while !out.is_empty() {
        let words = e.rest();
        // Somewhat more than are needed: four of five pairs give a number.
        let pairs = (words.len() / 2).min(PAIRS).min(out.len() + out.len() / 2 + 8);
        let pairs = if pairs > ROUND { pairs / ROUND * ROUND } else { pairs };
        if pairs == 0 {
            out[0] = normal_f32(e, loc, scale);
            out = &mut out[1..];
            continue;
        }
        let found = points.draw(&words[..2 * pairs]);
        // Pairs behind the last number that is wanted stay for the next call.
        let (found, used) =
            if found > out.len() { (out.len(), points.pair[out.len() - 1] as usize + 1) } else { (found, pairs) };
        e.take(2 * used);
        let (head, tail) = out.split_at_mut(found);
        points.normal(loc, scale, head);
        out = tail;
    }
}
}

/// Pairs of words that are looked at together.
const PAIRS: usize = 128;
/// What a vector holds: loops end with a whole one.
const ROUND: usize = 16;

/// Points of the square that fell into the unit disc, and the squares of their distances from its centre.
struct Points {
    unit: [f32; 2 * PAIRS],
    /// With room for a vector behind the last.
    y: [f32; PAIRS + ROUND],
    square: [f32; PAIRS + ROUND],
    /// Which pair each came from.
    pair: [u32; PAIRS + ROUND],
    log: [f32; PAIRS],
}

impl Points {
    const fn new() -> Self {
        let none = [0.0; PAIRS + ROUND];
        Points { unit: [0.0; 2 * PAIRS], y: none, square: none, pair: [0; PAIRS + ROUND], log: [0.0; PAIRS] }
    }

    /// Makes points of pairs of words and keeps those in the disc, without a branch; returns how many.
    #[inline(always)]
    fn draw(&mut self, words: &[u32]) -> usize {
        for (unit, &word) in self.unit.iter_mut().zip(words) {
            *unit = 2.0 * unit_f32(temper(word)) - 1.0;
        }
        match Level::get() {
            // SAFETY: the level says that the CPU has the instruction set.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { self.keep_avx512(words.len() / 2) },
            _ => self.keep(0, 0, words.len() / 2),
        }
    }

    /// Keeps those of the pairs `from..to` that are in the disc, as points `n..`; returns how many points there are then.
    #[inline(always)]
    fn keep(&mut self, mut n: usize, from: usize, to: usize) -> usize {
        for (&[x, y], pair) in self.unit[2 * from..2 * to].as_chunks().0.iter().zip(from as u32..) {
            let square = x * x + y * y;
            (self.y[n], self.square[n], self.pair[n]) = (y, square, pair);
            // 0 < square ≤ 1 as one comparison: bits of positive numbers are in their order.
            n += usize::from(square.to_bits().wrapping_sub(1) < 1f32.to_bits());
        }
        n
    }

    /// [`Points::keep`] of the first pairs, sixteen at a time.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
    fn keep_avx512(&mut self, pairs: usize) -> usize {
        use std::arch::x86_64::*;
        let mut n = 0;
        let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let (even, one) = (_mm512_slli_epi32::<1>(lane), _mm512_set1_epi32(1));
        let odd = _mm512_add_epi32(even, one);
        let mut pair = lane;
        for units in self.unit[..2 * pairs].as_chunks::<{ 2 * ROUND }>().0 {
            // SAFETY: the chunk has two vectors; at most `PAIRS` points come before these, and there is room for a vector
            // behind them.
            unsafe {
                let (low, high) = (_mm512_loadu_ps(units.as_ptr()), _mm512_loadu_ps(units.as_ptr().add(ROUND)));
                let (x, y) = (_mm512_permutex2var_ps(low, even, high), _mm512_permutex2var_ps(low, odd, high));
                let square = _mm512_add_ps(_mm512_mul_ps(x, x), _mm512_mul_ps(y, y));
                let kept = _mm512_cmplt_epu32_mask(
                    _mm512_sub_epi32(_mm512_castps_si512(square), one),
                    _mm512_set1_epi32(1f32.to_bits() as i32),
                );
                _mm512_storeu_ps(self.y.as_mut_ptr().add(n), _mm512_maskz_compress_ps(kept, y));
                _mm512_storeu_ps(self.square.as_mut_ptr().add(n), _mm512_maskz_compress_ps(kept, square));
                _mm512_storeu_si512(self.pair.as_mut_ptr().add(n).cast(), _mm512_maskz_compress_epi32(kept, pair));
                n += kept.count_ones() as usize;
            }
            pair = _mm512_add_epi32(pair, _mm512_set1_epi32(ROUND as i32));
        }
        self.keep(n, pairs / ROUND * ROUND, pairs)
    }

    /// Turns the first points into normal numbers.
    #[inline(always)]
    fn normal(&mut self, loc: f32, scale: f32, out: &mut [f32]) {
        let n = out.len().next_multiple_of(ROUND);
        logs(&mut self.log[..n], &self.square[..n]);
        for ((log, &y), &square) in self.log[..n].iter_mut().zip(&self.y).zip(&self.square) {
            *log = y * (-2.0 * *log / square).sqrt() * scale + loc;
        }
        out.copy_from_slice(&self.log[..out.len()]);
    }
}

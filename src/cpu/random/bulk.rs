//! Whole slices from one engine: the numbers of `laws.rs`, in loops that the compiler vectorises.

use super::log::logs;
use super::mt19937::{temper, unit_f32};
use super::{Mt19937, normal_f32};

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

widest! {
/// [`normal_f32`] for each element.
pub fn fill_normal_f32(e: &mut Mt19937, loc: f32, scale: f32, out: &mut [f32]) {
    let mut out = out;
    let mut points = Points::new();
    while !out.is_empty() {
        // A pair gives at most one number, so as many pairs as numbers wanted never draw a word too many.
        let pairs = (e.left() / 2).min(out.len()).min(PAIRS);
        if pairs < 8 {
            out[0] = normal_f32(e, loc, scale);
            out = &mut out[1..];
            continue;
        }
        let (head, tail) = out.split_at_mut(points.draw(e.take(2 * pairs)));
        points.normal(loc, scale, head);
        out = tail;
    }
}
}

/// Pairs of words that are looked at together.
const PAIRS: usize = 128;

/// Points of the square that fell into the unit disc, and the squares of their distances from its centre.
struct Points {
    unit: [f32; 2 * PAIRS],
    y: [f32; PAIRS],
    square: [f32; PAIRS],
}

impl Points {
    #[inline(always)]
    fn new() -> Self {
        Points { unit: [0.0; 2 * PAIRS], y: [0.0; PAIRS], square: [0.0; PAIRS] }
    }

    /// Makes points of pairs of words and keeps those in the disc, without a branch; returns how many.
    #[inline(always)]
    fn draw(&mut self, words: &[u32]) -> usize {
        for (unit, &word) in self.unit.iter_mut().zip(words) {
            *unit = 2.0 * unit_f32(temper(word)) - 1.0;
        }
        let mut n = 0;
        for &[x, y] in self.unit[..words.len()].as_chunks().0 {
            let square = x * x + y * y;
            self.y[n] = y;
            self.square[n] = square;
            // 0 < square ≤ 1 as one comparison: bits of positive numbers are in their order.
            n += usize::from(square.to_bits().wrapping_sub(1) < 1f32.to_bits());
        }
        n
    }

    /// Turns the first points into normal numbers.
    #[inline(always)]
    fn normal(&self, loc: f32, scale: f32, out: &mut [f32]) {
        logs(out, &self.square);
        for ((o, &y), &square) in out.iter_mut().zip(&self.y).zip(&self.square) {
            *o = y * (-2.0 * *o / square).sqrt() * scale + loc;
        }
    }
}

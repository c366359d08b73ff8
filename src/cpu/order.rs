//! Order along rows: sorting, selection. Stable, with nan last.

use crate::base::dtype::Bool;
use crate::base::{DType, Element};
use crate::cpu::index::pieces;
use crate::cpu::pool;
use half::f16;

/// An element as an integer of the same order; nan is the largest.
pub trait Key: Element {
    type Bits: Ord + Copy + Send + Sync + Default + Into<u64>;
    fn bits(self, descending: bool) -> Self::Bits;
    fn back(bits: Self::Bits, descending: bool) -> Self;
}

macro_rules! float_key {
    ($t:ty, $u:ty, $is_nan:expr, $nan:expr) => {
        impl Key for $t {
            type Bits = $u;
            #[inline(always)]
            fn bits(self, descending: bool) -> $u {
                if $is_nan(self) {
                    return <$u>::MAX;
                }
                const SIGN: $u = 1 << (<$u>::BITS - 1);
                let b = self.to_bits();
                // The two zeros are equal, and stay in the order they came.
                let b = if b == SIGN { 0 } else { b };
                let up = if b & SIGN != 0 { !b } else { b | SIGN };
                if descending { !up } else { up }
            }
            #[inline(always)]
            fn back(bits: $u, descending: bool) -> $t {
                if bits == <$u>::MAX {
                    return $nan;
                }
                const SIGN: $u = 1 << (<$u>::BITS - 1);
                let up = if descending { !bits } else { bits };
                <$t>::from_bits(if up & SIGN != 0 { up & !SIGN } else { !up })
            }
        }
    };
}
float_key!(f32, u32, f32::is_nan, f32::NAN);
float_key!(f64, u64, f64::is_nan, f64::NAN);
float_key!(f16, u16, f16::is_nan, f16::NAN);

macro_rules! int_key {
    ($t:ty, $u:ty, $flip:expr) => {
        impl Key for $t {
            type Bits = $u;
            #[inline(always)]
            fn bits(self, descending: bool) -> $u {
                let up = self as $u ^ $flip;
                if descending { !up } else { up }
            }
            #[inline(always)]
            fn back(bits: $u, descending: bool) -> $t {
                (if descending { !bits } else { bits } ^ $flip) as $t
            }
        }
    };
}
int_key!(u8, u8, 0);
int_key!(i8, u8, 1 << 7);
int_key!(i32, u32, 1 << 31);
int_key!(i64, u64, 1 << 63);

impl Key for Bool {
    type Bits = u8;
    #[inline(always)]
    fn bits(self, descending: bool) -> u8 {
        self.0.bits(descending)
    }
    #[inline(always)]
    fn back(bits: u8, descending: bool) -> Bool {
        Bool(u8::back(bits, descending))
    }
}

fn sort_keys<K: Ord + Copy + Send + Sync>(keys: &mut [K], alone: bool) {
    let n = keys.len();
    if !alone || n < pool::GRAIN || pool::threads() == 1 {
        return keys.sort_unstable();
    }
    // Runs are sorted side by side, then merged in pairs.
    let mut run = n.div_ceil(pool::threads().next_power_of_two());
    pool::each(keys.chunks_mut(run).collect(), |part: &mut [K]| part.sort_unstable());
    let mut from = keys.to_vec();
    let mut keys = keys;
    let mut to: &mut [K] = &mut from;
    let mut swapped = false;
    while run < n {
        pool::each(keys.chunks(2 * run).zip(to.chunks_mut(2 * run)).collect(), |(pair, out)| merge(pair, run, out));
        (keys, to) = (to, keys);
        (run, swapped) = (2 * run, !swapped);
    }
    if swapped {
        to.copy_from_slice(keys);
    }
}

/// Two sorted runs, the first of `run` elements, into one.
fn merge<K: Ord + Copy>(pair: &[K], run: usize, out: &mut [K]) {
    let (a, b) = pair.split_at(run.min(pair.len()));
    let (mut i, mut j) = (0, 0);
    for out in out {
        let left = j == b.len() || i < a.len() && a[i] <= b[j];
        *out = if left { a[i] } else { b[j] };
        (i, j) = (i + usize::from(left), j + usize::from(!left));
    }
}

/// Sorts each row of `n` elements.
pub fn sort_rows<T: Key>(data: &[T], n: usize, descending: bool, out: &mut [T]) {
    let alone = data.len() == n;
    let run = |first: usize, part: &mut [T]| {
        let mut keys = vec![T::Bits::default(); n];
        for (r, dst) in part.chunks_exact_mut(n).enumerate() {
            let src = &data[(first + r) * n..][..n];
            keys.iter_mut().zip(src).for_each(|(k, v)| *k = v.bits(descending));
            sort_keys(&mut keys, alone);
            dst.iter_mut().zip(&keys).for_each(|(d, &k)| *d = T::back(k, descending));
        }
    };
    // One long row is split inside the sort.
    if alone { run(0, out) } else { pieces(out, n, run) }
}

/// The positions of the `k` first elements of each row in sorted order.
pub fn select_rows<T: Key>(data: &[T], n: usize, k: usize, descending: bool, out: &mut [i64]) {
    let alone = data.len() == n;
    let run = |first: usize, part: &mut [i64]| {
        let mut wide: Vec<(u64, u32)> = Vec::new();
        let mut packed: Vec<u64> = Vec::new();
        for (r, dst) in part.chunks_exact_mut(k).enumerate() {
            let src = &data[(first + r) * n..][..n];
            let keys = src.iter().enumerate().map(|(i, v)| (v.bits(descending).into(), i as u32));
            // The position behind the key makes every key unique, so the fast unstable sort is stable.
            if size_of::<T>() <= 4 {
                packed.clear();
                packed.extend(keys.map(|(key, i)| key << 32 | i as u64));
                first_sorted(&mut packed, k, alone);
                dst.iter_mut().zip(&packed).for_each(|(d, &p)| *d = (p & u32::MAX as u64) as i64);
            } else {
                wide.clear();
                wide.extend(keys);
                first_sorted(&mut wide, k, alone);
                dst.iter_mut().zip(&wide).for_each(|(d, &(_, i))| *d = i as i64);
            }
        }
    };
    if alone { run(0, out) } else { pieces_of(out, k, n, run) }
}

/// [`pieces`] of rows of `k` results that each cost the work of `n`.
fn pieces_of(out: &mut [i64], k: usize, n: usize, run: impl Fn(usize, &mut [i64]) + Sync) {
    // Few results of long rows are still much work; the pool counts results, so hand it the rows' bounds.
    if k * 8 >= n || out.len() / k * n < 2 * pool::GRAIN {
        return pieces(out, k, run);
    }
    let rows = out.len() / k;
    let groups = rows.div_ceil((pool::GRAIN / n).max(1)).min(4 * pool::threads()).max(1);
    let each = rows.div_ceil(groups);
    pool::each(out.chunks_mut(each * k).enumerate().collect(), |(g, part)| run(g * each, part));
}

fn first_sorted<K: Ord + Copy + Send + Sync>(keys: &mut [K], k: usize, alone: bool) {
    if k < keys.len() {
        keys.select_nth_unstable(k);
    }
    sort_keys(&mut keys[..k], alone);
}

/// The largest whole number below which a dtype holds all.
pub fn exact_to(dtype: DType) -> u64 {
    match dtype {
        DType::F16 => 1 << 11,
        DType::F32 => 1 << 24,
        DType::F64 => 1 << 53,
        DType::U8 => u8::MAX as u64,
        DType::I8 => i8::MAX as u64,
        DType::I32 => i32::MAX as u64,
        DType::I64 => i64::MAX as u64,
        DType::Bool => 1,
    }
}

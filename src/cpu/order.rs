//! Order along rows: sorting, selection. Stable, with nan last.

use crate::base::dtype::Bool;
use crate::base::{DType, Element, Level};
use crate::cpu::few::{FEW, few_from, find_few};
use crate::cpu::index::pieces;
use crate::cpu::isa::at_level;
use crate::cpu::map::Shared;
use crate::cpu::network::{LANES, Word, sort_together};
use crate::cpu::pool;
use half::f16;

/// Rows of up to so many bytes of keys are sorted side by side, where there are some: a network takes more comparisons,
/// so long rows take less time one by one.
const TOGETHER: usize = 4096;
/// Elements that are worth sorting on another thread.
const SORT_GRAIN: usize = pool::GRAIN / 4;

/// An element as an integer of the same order; nan is the largest.
pub trait Key: Element {
    type Bits: Word;
    fn bits(self, descending: bool) -> Self::Bits;
    fn back(bits: Self::Bits, descending: bool) -> Self;
}

macro_rules! float_key {
    ($t:ty, $u:ty, $word:ty, $is_nan:expr, $nan:expr) => {
        impl Key for $t {
            type Bits = $word;
            #[inline(always)]
            fn bits(self, descending: bool) -> $word {
                if $is_nan(self) {
                    return <$u>::MAX.into();
                }
                const SIGN: $u = 1 << (<$u>::BITS - 1);
                let b = self.to_bits();
                // The two zeros are equal, and stay in the order they came.
                let b = if b == SIGN { 0 } else { b };
                let up = if b & SIGN != 0 { !b } else { b | SIGN };
                (if descending { !up } else { up }).into()
            }
            #[inline(always)]
            fn back(bits: $word, descending: bool) -> $t {
                let bits = bits as $u;
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
float_key!(f32, u32, u32, f32::is_nan, f32::NAN);
float_key!(f64, u64, u64, f64::is_nan, f64::NAN);
float_key!(f16, u16, u32, f16::is_nan, f16::NAN);

macro_rules! int_key {
    ($t:ty, $u:ty, $word:ty, $flip:expr) => {
        impl Key for $t {
            type Bits = $word;
            #[inline(always)]
            fn bits(self, descending: bool) -> $word {
                let up = self as $u ^ $flip;
                (if descending { !up } else { up }).into()
            }
            #[inline(always)]
            fn back(bits: $word, descending: bool) -> $t {
                let bits = bits as $u;
                (if descending { !bits } else { bits } ^ $flip) as $t
            }
        }
    };
}
int_key!(u8, u8, u32, 0);
int_key!(i8, u8, u32, 1 << 7);
int_key!(i32, u32, u32, 1 << 31);
int_key!(i64, u64, u64, 1 << 63);

impl Key for Bool {
    type Bits = u32;
    #[inline(always)]
    fn bits(self, descending: bool) -> u32 {
        self.0.bits(descending)
    }
    #[inline(always)]
    fn back(bits: u32, descending: bool) -> Bool {
        Bool(u8::back(bits, descending))
    }
}

at_level! {
    fn to_keys[T: Key][T](data: &[T], descending: bool, keys: &mut [T::Bits]) {
        for (key, v) in keys.iter_mut().zip(data) {
            *key = v.bits(descending);
        }
    }
}

at_level! {
    fn from_keys[T: Key][T](keys: &[T::Bits], descending: bool, data: &mut [T]) {
        for (v, &key) in data.iter_mut().zip(keys) {
            *v = T::back(key, descending);
        }
    }
}

at_level! {
    /// Keys with the positions of their elements behind them: no two are equal, so whatever sorts them is stable.
    fn to_numbered[T: Key, W: Word][T, W](data: &[T], descending: bool, keys: &mut [W]) {
        for (i, (key, v)) in keys.iter_mut().zip(data).enumerate() {
            *key = W::numbered(v.bits(descending).into(), i);
        }
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
    if is_together::<T::Bits>(data.len(), n) {
        return groups(out, n, n, |first, part| {
            let (mut keys, mut space) = (vec![T::Bits::default(); LANES * n], Vec::new());
            for (g, dst) in part.chunks_mut(keys.len()).enumerate() {
                to_keys(&data[first * n + g * keys.len()..][..dst.len()], descending, &mut keys);
                sort_together(&mut keys, n, &mut space);
                from_keys(&keys, descending, dst);
            }
        });
    }
    let run = |first: usize, part: &mut [T]| {
        let mut keys = vec![T::Bits::default(); n];
        for (r, dst) in part.chunks_exact_mut(n).enumerate() {
            to_keys(&data[(first + r) * n..][..n], descending, &mut keys);
            sort_keys(&mut keys, alone);
            from_keys(&keys, descending, dst);
        }
    };
    // One long row is split inside the sort.
    if alone { run(0, out) } else { pieces(out, n, run) }
}

/// Whether rows of `n` keys are sorted side by side.
fn is_together<W: Word>(len: usize, n: usize) -> bool {
    let (rows, plain) = (len / n, Level::get() == Level::Baseline);
    // Without AVX2 a comparator is several instructions, for wide keys too many.
    n * size_of::<W>() <= TOGETHER && if plain { size_of::<W>() == 4 && rows >= LANES } else { rows >= 4 }
}

/// Calls `f(first_row, rows)` for runs of rows of `k` results that each sort `n` elements: as many rows as are sorted
/// together, or a multiple of that, except at the end.
fn groups<O: Send>(out: &mut [O], k: usize, n: usize, f: impl Fn(usize, &mut [O]) + Sync) {
    let rows = out.len() / k;
    if is_even(k, n, rows) {
        pool::count_loop();
    }
    let target = Shared(out.as_mut_ptr());
    pool::share(rows.div_ceil(LANES), SORT_GRAIN.div_ceil(n * LANES), |from, to| {
        let (from, to) = (from * LANES, rows.min(to * LANES));
        // SAFETY: the pool's pieces are disjoint runs of whole rows of `out`.
        f(from, unsafe { std::slice::from_raw_parts_mut(target.get().add(from * k), (to - from) * k) });
    });
}

/// The positions of the `k` first elements of each row in sorted order.
pub fn select_rows<T: Key>(data: &[T], n: usize, k: usize, descending: bool, out: &mut [i64]) {
    let alone = data.len() == n;
    let few = k <= FEW && n >= few_from(k);
    // A network sorts everything, which pays where most is wanted or there is little.
    let most = k * 8 >= n || n <= 128;
    match size_of::<T>() {
        1 | 2 if !few && most && is_together::<u32>(data.len(), n) => {
            return select_together::<T, u32>(data, n, k, descending, out);
        }
        4 if !few && most && is_together::<u64>(data.len(), n) => {
            return select_together::<T, u64>(data, n, k, descending, out);
        }
        _ => {}
    }
    let run = |first: usize, part: &mut [i64]| {
        let mut wide: Vec<(u64, u32)> = Vec::new();
        let mut packed: Vec<u64> = Vec::new();
        for (r, dst) in part.chunks_exact_mut(k).enumerate() {
            let src = &data[(first + r) * n..][..n];
            if few && find_few(src, descending, alone, dst) {
                continue;
            }
            if size_of::<T>() <= 4 {
                packed.resize(n, 0);
                to_numbered(src, descending, &mut packed);
                first_sorted(&mut packed, k, alone);
                dst.iter_mut().zip(&packed).for_each(|(d, p)| *d = p.number());
            } else {
                wide.clear();
                wide.extend(src.iter().enumerate().map(|(i, v)| (v.bits(descending).into(), i as u32)));
                first_sorted(&mut wide, k, alone);
                dst.iter_mut().zip(&wide).for_each(|(d, &(_, i))| *d = i as i64);
            }
        }
    };
    if alone { run(0, out) } else { pieces_of(out, k, n, run) }
}

/// [`select_rows`] by sorting short rows side by side.
fn select_together<T: Key, W: Word>(data: &[T], n: usize, k: usize, descending: bool, out: &mut [i64]) {
    groups(out, k, n, |first, part| {
        let (mut keys, mut space) = (vec![W::default(); LANES * n], Vec::new());
        for (g, dst) in part.chunks_mut(LANES * k).enumerate() {
            let rows = data[(first + g * LANES) * n..].chunks_exact(n);
            for (keys, row) in keys.chunks_exact_mut(n).zip(rows).take(dst.len() / k) {
                to_numbered(row, descending, keys);
            }
            sort_together(&mut keys, n, &mut space);
            for (dst, keys) in dst.chunks_exact_mut(k).zip(keys.chunks_exact(n)) {
                dst.iter_mut().zip(keys).for_each(|(d, key)| *d = key.number());
            }
        }
    });
}

/// Whether the number of results says how much work rows are, or there is little of it.
fn is_even(k: usize, n: usize, rows: usize) -> bool {
    k * 8 >= n || rows * n < 2 * pool::GRAIN
}

/// [`pieces`] of rows of `k` results that each cost the work of `n`.
fn pieces_of(out: &mut [i64], k: usize, n: usize, run: impl Fn(usize, &mut [i64]) + Sync) {
    // Few results of long rows are still much work; the pool counts results, so hand it the rows' bounds.
    let rows = out.len() / k;
    if is_even(k, n, rows) {
        return pieces(out, k, run);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    /// Numbers in no order, every `odd`-th one something that sorting may stumble over.
    fn elements<T: Element>(len: usize, odd: usize) -> Vec<T> {
        let special = [f64::NAN, f64::INFINITY, -0.0, f64::NEG_INFINITY, 0.0, 1.0, -1.0, 127.0, -128.0];
        let mut state = 88_172_645_463_325_252u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut one = || match next() as usize % odd {
            0 => T::from_f64(special[next() as usize % special.len()]),
            _ if T::FLOAT => T::from_f64((next() % 20_001) as f64 / 100.0 - 100.0),
            _ => T::from_i64(next() as i64),
        };
        (0..len).map(|_| one()).collect()
    }

    /// The positions in order by a plain stable sort.
    fn order<T: Element>(row: &[T], descending: bool) -> Vec<i64> {
        let is_nan = |v: T| v.partial_cmp(&v).is_none();
        let mut at: Vec<i64> = (0..row.len() as i64).collect();
        at.sort_by(|&i, &j| {
            let (a, b) = (row[i as usize], row[j as usize]);
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            is_nan(a).cmp(&is_nan(b)).then(if descending { order.reverse() } else { order })
        });
        at
    }

    fn check<T: Key>(data: &[T], n: usize, counts: &[usize]) {
        for descending in [false, true] {
            let orders: Vec<Vec<i64>> = data.chunks_exact(n).map(|row| order(row, descending)).collect();
            let mut out = vec![T::default(); data.len()];
            sort_rows(data, n, descending, &mut out);
            for (r, (row, order)) in data.chunks_exact(n).zip(&orders).enumerate() {
                for (i, &at) in order.iter().enumerate() {
                    // Zeros come out as the positive one.
                    let (got, want) = (out[r * n + i].to_f64(), row[at as usize].to_f64() + 0.0);
                    assert!(
                        got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                        "{} {} rows of {n}, descending {descending}: {r}, {i}: {got}, not {want}",
                        T::DTYPE,
                        orders.len()
                    );
                }
            }
            for &k in counts.iter().filter(|&&k| 1 <= k && k <= n) {
                let mut out = vec![-1; orders.len() * k];
                select_rows(data, n, k, descending, &mut out);
                for (got, order) in out.chunks_exact(k).zip(&orders) {
                    assert_eq!(got, &order[..k], "{} row of {n}, {k}, descending {descending}", T::DTYPE);
                }
            }
        }
    }

    fn check_short<T: Key>() {
        for n in (1..=70).chain([100, 128, 129, 200, 256, 300, 512, 513, 700]) {
            for rows in [1, 3, 4, 37] {
                let counts: Vec<usize> = if n <= 8 { (1..=n).collect() } else { vec![1, 2, 5, n / 6, n / 2, n - 1, n] };
                check(&elements::<T>(rows * n, if n % 2 == 0 { 2 } else { 9 }), n, &counts);
            }
        }
        check(&[T::from_i64(1); 20 * 33], 33, &[1, 33]);
        check(&elements::<T>(2000 * 30, 5), 30, &[1, 3, 30]);
    }

    #[test]
    fn short_rows() {
        check_short::<f32>();
        check_short::<f64>();
        check_short::<f16>();
        check_short::<u8>();
        check_short::<i8>();
        check_short::<i32>();
        check_short::<i64>();
        check_short::<Bool>();
    }

    fn check_long<T: Key>() {
        for (rows, n) in [(1, 1000), (3, 1500), (5, 9000), (1, 70_000)] {
            let mut data = elements::<T>(rows * n, 40);
            check(&data, n, &[1, 2, 5, 8, 31, 32, 33]);
            // Better and better, in one direction or the other, and nothing but equal ones.
            data.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
            check(&data, n, &[1, 5, 32]);
            data.fill(T::from_i64(1));
            check(&data, n, &[1, 5]);
        }
    }

    #[test]
    fn few_of_long_rows() {
        check_long::<f32>();
        check_long::<f64>();
        check_long::<f16>();
        check_long::<u8>();
        check_long::<i64>();
    }
}

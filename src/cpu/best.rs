//! Positions of extremes.

use crate::base::{Element, Level};
use crate::cpu::map::Shared;
use crate::cpu::pool;
use crate::cpu::turn::turn;
use crate::fold;
use crate::ir::ReduceFn;
use std::mem::MaybeUninit;

/// The reductions to the largest and the smallest element.
pub const MAX: ReduceFn = fold!("max", f64::NEG_INFINITY, i64::MIN, exact true, |acc, x| acc.max(x), |a, b| a.max(b),
    finish |v, _| v, |v, _| v, wgsl "oxg_max({0}, {1})", "oxg_max({0}, {1})", "{0}");
pub const MIN: ReduceFn = fold!("min", f64::INFINITY, i64::MAX, exact true, |acc, x| acc.min(x), |a, b| a.min(b),
    finish |v, _| v, |v, _| v, wgsl "oxg_min({0}, {1})", "oxg_min({0}, {1})", "{0}");

/// Elements that are compared as values before anyone asks where they are.
const BLOCK: usize = 4096;
/// Runs whose extremes are found before anyone asks where they are.
const RUNS: usize = 32;
/// Elements that are asked at once whether one of them is the extreme.
const SEARCH: usize = 32;
/// Columns side by side.
const WIDTH: usize = 512;
/// Short runs that are turned into columns together.
const TURNED: usize = 64;

#[inline(always)]
fn is_nan<T: Element>(v: T) -> bool {
    T::FLOAT && v.partial_cmp(&v).is_none()
}

/// Whether `v` takes the place of `best`: a nan beats all but a nan, and of equal ones the first stays.
#[inline(always)]
fn beats<T: Element, const LEAST: bool>(v: T, best: T) -> bool {
    let better = if LEAST { v < best } else { v > best };
    (better | is_nan(v)) & !is_nan(best)
}

/// The first position of `best` in a run that holds it.
#[inline(always)]
fn find<T: Element>(run: &[T], is: impl Fn(T) -> bool) -> usize {
    let mut at = 0;
    for part in run.chunks(SEARCH) {
        if part.iter().fold(false, |any, &v| any | is(v)) {
            return at + part.iter().position(|&v| is(v)).unwrap_or(0);
        }
        at += SEARCH;
    }
    0
}

#[inline(always)]
fn search<T: Element>(run: &[T], best: T) -> usize {
    if is_nan(best) {
        find(
            run,
            #[inline(always)]
            |v| is_nan(v),
        )
    } else {
        find(
            run,
            #[inline(always)]
            |v| v == best,
        )
    }
}

/// The position of the extreme of a short run.
#[inline(always)]
fn in_short<T: Element, const LEAST: bool>(run: &[T]) -> usize {
    let mut at = 0;
    for (i, &v) in run.iter().enumerate() {
        at = if beats::<T, LEAST>(v, run[at]) { i } else { at };
    }
    at
}

/// The largest or smallest elements of runs, `n` elements each; nan where any is nan.
fn tops<T: Element, const LEAST: bool>(data: &[T], n: usize, out: &mut [T]) {
    assert!(data.len() >= n * out.len() && out.len() <= RUNS, "argmax: whole runs");
    let tiles = (if LEAST { &MIN } else { &MAX }.tiles)(T::DTYPE, Level::get());
    let mut acc = [tiles.start; RUNS];
    // SAFETY: the slice holds the runs; there is a word to each accumulator, and a place to each result.
    unsafe {
        (tiles.rows)(data.as_ptr().cast(), n, n, out.len(), acc.as_mut_ptr().cast(), false);
        (tiles.store)(acc.as_ptr().cast(), out.len(), n, T::DTYPE, out.as_mut_ptr().cast());
    }
}

/// The positions of the extremes of runs: the extremes first, of blocks where runs are long, then a search for each.
#[inline(always)]
fn in_runs<T: Element, const LEAST: bool>(data: &[T], n: usize, mut found: impl FnMut(usize, usize)) {
    let mut best = [data[0]; RUNS];
    let count = data.len() / n;
    for first in (0..count).step_by(RUNS) {
        let group = RUNS.min(count - first);
        let runs = data[first * n..].chunks_exact(n).take(group);
        if n < SEARCH {
            runs.enumerate().for_each(|(r, run)| found(first + r, in_short::<T, LEAST>(run)));
            continue;
        }
        if n <= BLOCK {
            tops::<T, LEAST>(&data[first * n..], n, &mut best[..group]);
            runs.zip(&best).enumerate().for_each(|(r, (run, &top))| found(first + r, search(run, top)));
            continue;
        }
        for (r, run) in runs.enumerate() {
            let (mut top, mut at, mut one) = (run[0], 0, [run[0]]);
            for (k, block) in run.chunks(BLOCK).enumerate() {
                tops::<T, LEAST>(block, block.len(), &mut one);
                if beats::<T, LEAST>(one[0], top) {
                    (top, at) = (one[0], k * BLOCK);
                }
            }
            found(first + r, at + search(&run[at..], top));
        }
    }
}

/// The positions of the extremes of columns, `step` elements from row to row; `best` holds the values met so far.
#[inline(always)]
fn in_columns<T: Element, const LEAST: bool>(data: &[T], n: usize, step: usize, best: &mut [T], out: &mut [T]) {
    let width = out.len();
    let best = &mut best[..width];
    best.copy_from_slice(&data[..width]);
    out.fill(T::from_i64(0));
    for k in 1..n {
        let (row, at) = (&data[k * step..][..width], T::from_i64(k as i64));
        for i in 0..width {
            let take = beats::<T, LEAST>(row[i], best[i]);
            best[i] = if take { row[i] } else { best[i] };
            out[i] = if take { at } else { out[i] };
        }
    }
}

/// The positions of the extremes of short runs, which are turned into columns: a vector then holds one element of each.
#[inline(always)]
fn in_turned<T: Element, const LEAST: bool>(data: &[T], n: usize, out: &mut [T]) {
    let (mut space, mut best) = ([MaybeUninit::<T>::uninit(); TURNED * SEARCH], [data[0]; TURNED]);
    for (data, out) in data.chunks(TURNED * n).zip(out.chunks_mut(TURNED)) {
        assert!(data.len() == n * out.len() && n < SEARCH, "argmax: whole short runs");
        // SAFETY: `n` times as many as the block has runs are read, and as many written, which the block has room for.
        let columns = unsafe {
            turn(data.as_ptr(), n as isize, space.as_mut_ptr().cast::<T>(), out.len() as isize, out.len(), n);
            std::slice::from_raw_parts(space.as_ptr().cast::<T>(), data.len())
        };
        in_columns::<T, LEAST>(columns, n, out.len(), &mut best, out);
    }
}

/// One piece of the work: whole runs, or columns of one block.
#[inline(always)]
fn piece<T: Element, const LEAST: bool>(data: &[T], n: usize, inner: usize, out: &mut [T]) {
    // Blocks of eight by eight are turned in registers.
    if inner == 1 && (8..SEARCH).contains(&n) && out.len() >= 8 {
        return in_turned::<T, LEAST>(data, n, out);
    }
    if inner == 1 {
        return in_runs::<T, LEAST>(
            data,
            n,
            #[inline(always)]
            |r, at| out[r] = T::from_i64(at as i64),
        );
    }
    let mut best = [data[0]; WIDTH];
    for (c, out) in out.chunks_mut(WIDTH).enumerate() {
        in_columns::<T, LEAST>(&data[c * WIDTH..], n, inner, &mut best, out);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;

    /// # Safety
    /// The CPU has AVX2.
    #[target_feature(enable = "avx2,fma,bmi2")]
    pub unsafe fn avx2<T: Element, const LEAST: bool>(data: &[T], n: usize, inner: usize, out: &mut [T]) {
        piece::<T, LEAST>(data, n, inner, out)
    }

    /// # Safety
    /// The CPU has AVX-512.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
    pub unsafe fn avx512<T: Element, const LEAST: bool>(data: &[T], n: usize, inner: usize, out: &mut [T]) {
        piece::<T, LEAST>(data, n, inner, out)
    }
}

fn by_level<T: Element, const LEAST: bool>(data: &[T], n: usize, inner: usize, out: &mut [T]) {
    match Level::get() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level says what the CPU has.
        Level::Avx512 => unsafe { x86::avx512::<T, LEAST>(data, n, inner, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::avx2::<T, LEAST>(data, n, inner, out) },
        _ => piece::<T, LEAST>(data, n, inner, out),
    }
}

/// For each place of the outer and inner axes, the position along the middle one (`n` long) of the element that beats
/// all others; the first of equal ones, and a nan beats everything.
pub fn arg_best<T: Element>(data: &[T], n: usize, inner: usize, least: bool, out: &mut [T]) {
    if out.is_empty() || n == 0 {
        return;
    }
    let run = if least { by_level::<T, true> } else { by_level::<T, false> };
    let outer = out.len() / inner;
    assert_eq!(data.len(), outer * n * inner, "argmax: whole blocks");
    if inner == 1 && outer == 1 && n >= 2 * pool::GRAIN {
        return long_run(data, least, out);
    }
    // Blocks of columns, or runs.
    let blocks = if inner == 1 {
        1
    } else {
        inner.div_ceil(WIDTH).max((2 * pool::threads()).div_ceil(outer).min(inner / 64)).max(1)
    };
    let target = Shared(out.as_mut_ptr());
    pool::split(outer * blocks, pool::GRAIN.div_ceil(n * inner.div_ceil(blocks)), |from, to| {
        if blocks == 1 {
            // SAFETY: pieces are disjoint runs of the output.
            let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(from * inner), (to - from) * inner) };
            for (o, out) in out.chunks_exact_mut(if inner == 1 { to - from } else { inner }).enumerate() {
                let many = if inner == 1 { to - from } else { 1 };
                run(&data[(from + o) * n * inner..][..many * n * inner], n, inner, out);
            }
            return;
        }
        for p in from..to {
            let (o, b) = (p / blocks, p % blocks);
            let (col, end) = (b * inner / blocks, (b + 1) * inner / blocks);
            // SAFETY: as above.
            let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(o * inner + col), end - col) };
            run(&data[o * n * inner + col..], n, inner, out);
        }
    });
}

/// One long run: an extreme of each piece, then of those.
fn long_run<T: Element>(data: &[T], least: bool, out: &mut [T]) {
    let mut found = vec![0usize; data.len().div_ceil(pool::GRAIN)];
    let target = Shared(found.as_mut_ptr());
    pool::split(found.len(), 1, |from, to| {
        for p in from..to {
            let part = &data[p * pool::GRAIN..data.len().min((p + 1) * pool::GRAIN)];
            let at = position(part, least);
            // SAFETY: each piece has a place of its own.
            unsafe { *target.get().add(p) = p * pool::GRAIN + at };
        }
    });
    let ends: Vec<T> = found.iter().map(|&i| data[i]).collect();
    out[0] = T::from_i64(found[position(&ends, least)] as i64);
}

/// The position of the extreme of one run as a number: float16 could not hold it.
fn position<T: Element>(run: &[T], least: bool) -> usize {
    #[inline(always)]
    fn body<T: Element>(run: &[T], least: bool) -> usize {
        let mut place = 0;
        if least {
            in_runs::<T, true>(
                run,
                run.len(),
                #[inline(always)]
                |_, at| place = at,
            )
        } else {
            in_runs::<T, false>(
                run,
                run.len(),
                #[inline(always)]
                |_, at| place = at,
            )
        }
        place
    }
    #[cfg(target_arch = "x86_64")]
    {
        /// # Safety
        /// The CPU has AVX-512.
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
        unsafe fn avx512<T: Element>(run: &[T], least: bool) -> usize {
            body(run, least)
        }
        /// # Safety
        /// The CPU has AVX2.
        #[target_feature(enable = "avx2,fma,bmi2")]
        unsafe fn avx2<T: Element>(run: &[T], least: bool) -> usize {
            body(run, least)
        }
        // SAFETY: the level says what the CPU has.
        unsafe {
            match Level::get() {
                Level::Avx512 => return avx512(run, least),
                Level::Avx2 => return avx2(run, least),
                Level::Baseline => {}
            }
        }
    }
    body(run, least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_search() {
        let odd = |i: usize| ((i * 7919) % 1009) as f32 - 500.0;
        for (outer, n, inner) in [
            (1, 1, 1),
            (3, 7, 1),
            (1, 2000, 1),
            (1, 70_000, 1),
            (2, 9, 700),
            (40, 300, 1),
            (2, 600, 3),
            (70, 63, 1),
            (70, 64, 1),
            (33, 129, 1),
            (3, 9001, 1),
            (2, 4097, 1),
        ] {
            for nan in [None, Some(n / 2)] {
                let mut data: Vec<f32> = (0..outer * n * inner).map(odd).collect();
                if let Some(k) = nan {
                    data[k * inner] = f32::NAN;
                }
                for least in [false, true] {
                    let mut out = vec![-1.0; outer * inner];
                    arg_best(&data, n, inner, least, &mut out);
                    for (place, &got) in out.iter().enumerate() {
                        let at = |k: usize| data[place / inner * n * inner + k * inner + place % inner];
                        let mut want = 0;
                        for k in 1..n {
                            let better = if least { at(k) < at(want) } else { at(k) > at(want) };
                            if !at(want).is_nan() && (better || at(k).is_nan()) {
                                want = k;
                            }
                        }
                        assert_eq!(got, want as f32, "{outer}x{n}x{inner} place {place} least {least} nan {nan:?}");
                    }
                }
            }
        }
    }
}

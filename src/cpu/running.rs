//! Running sums, in float64 or int64, each rounded once.

use crate::base::{DType, Element};
use crate::cpu::isa::at_level;
use crate::cpu::map::Shared;
use crate::cpu::pool;
use crate::cpu::turn::turn;
use std::mem::MaybeUninit;

/// Sums that run side by side, so that none waits for an addition to end.
const SIDE: usize = 8;
/// Columns that are summed together; so many lines are turned to columns.
const WIDTH: usize = 16;
/// Elements of a part of a long row. Parts do not depend on the number of threads, so that results do not either.
const PART: usize = 512;
/// Rows from this length are cut into parts where the order of additions may change.
const LONG: usize = 4 * PART;
/// Elements that are worth offering to another thread.
const GRAIN: usize = pool::GRAIN / 4;
/// Elements of a line that are turned at a time.
const TILE: usize = 64;

/// Columns whose rows are cache lines.
#[repr(align(64))]
struct Tile<T>([[T; WIDTH]; TILE]);

/// What elements are summed in.
trait Total: Copy + Default + Send + Sync + 'static {
    fn of<T: Element>(v: T) -> Self;
    fn plus(self, other: Self) -> Self;
    fn round<T: Element>(self) -> T;
}

impl Total for f64 {
    #[inline(always)]
    fn of<T: Element>(v: T) -> f64 {
        v.to_f64()
    }
    #[inline(always)]
    fn plus(self, other: f64) -> f64 {
        self + other
    }
    #[inline(always)]
    fn round<T: Element>(self) -> T {
        T::from_f64(self)
    }
}

impl Total for i64 {
    #[inline(always)]
    fn of<T: Element>(v: T) -> i64 {
        v.to_i64()
    }
    #[inline(always)]
    fn plus(self, other: i64) -> i64 {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn round<T: Element>(self) -> T {
        T::from_i64(self)
    }
}

/// Sums up to each element along the middle axis (`n` long).
pub fn running_sum<T: Element>(data: &[T], n: usize, inner: usize, out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    assert!(data.len() == out.len() && out.len().is_multiple_of(n * inner), "cumsum: whole blocks");
    if T::FLOAT { sums::<T, f64>(data, n, inner, out) } else { sums::<T, i64>(data, n, inner, out) }
}

fn sums<T: Element, A: Total>(data: &[T], n: usize, inner: usize, out: &mut [T]) {
    let outer = out.len() / (n * inner);
    // Integers add up the same in any order, but cutting them pays only where threads share the parts.
    let may_cut = match T::FLOAT {
        true => size_of::<T>() < size_of::<A>(),
        false => size_of::<T>() == 4 && n >= 4 * GRAIN && pool::threads() > 1,
    };
    if inner >= WIDTH {
        columns::<T, A>(data, n, inner, out);
    } else if inner == 1 && n >= LONG && may_cut {
        long_rows::<T, A>(data, n, out);
    } else if inner == 1 && (n < SIDE || !T::FLOAT) {
        rows_in_turn::<T, A>(data, n, out);
    } else {
        let start = |c: usize| (c / inner * n * inner + c % inner, A::default());
        let lines = Lines { count: outer * inner, n, step: inner };
        lines.sum(data, &Shared(out.as_mut_ptr()), start);
    }
}

/// Rows so short that the CPU is at the next ones anyway, or of integers, whose additions end at once.
fn rows_in_turn<T: Element, A: Total>(data: &[T], n: usize, out: &mut [T]) {
    let target = Shared(out.as_mut_ptr());
    pool::share(out.len() / n, GRAIN.div_ceil(n), |from, to| {
        // SAFETY: the pool's pieces are disjoint runs of whole rows of `out`.
        let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(from * n), (to - from) * n) };
        for (row, out) in data[from * n..].chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            let mut sum = A::default();
            for (v, out) in row.iter().zip(out) {
                sum = sum.plus(A::of(*v));
                *out = sum.round();
            }
        }
    });
}

/// Rows, columns, or parts of rows: `count` times `n` elements that are `step` apart.
struct Lines {
    count: usize,
    n: usize,
    step: usize,
}

impl Lines {
    /// Writes the running sums of all lines; `start` says at which element a line begins, and with which sum.
    fn sum<T: Element, A: Total>(&self, data: &[T], out: &Shared<*mut T>, start: impl Fn(usize) -> (usize, A) + Sync) {
        let apart = if self.count > 1 { start(1).0 - start(0).0 } else { 0 };
        // Rows that lie nearly whole pages apart push each other out of the cache.
        let over = apart * size_of::<T>() % 2048;
        let (rows, crowded) = (self.step == 1, over.min(2048 - over) < 64);
        let turns = rows && self.n >= SIDE && (size_of::<T>() == 4 || T::DTYPE == DType::F64 && crowded);
        // Additions of integers end at once, so that nothing waits.
        let side = if rows && !T::FLOAT {
            1
        } else if rows && crowded {
            2
        } else {
            SIDE
        };
        pool::share(self.count.div_ceil(WIDTH), GRAIN.div_ceil(self.n * WIDTH), |from, to| {
            let (mut line, end) = (from * WIDTH, self.count.min(to * WIDTH));
            while line < end {
                if turns && end - line >= WIDTH {
                    let done = self.turned(data, out, line, &start);
                    line += done;
                    if done > 0 {
                        continue;
                    }
                }
                line += match side.min(end - line) {
                    SIDE.. => self.some::<T, A, SIDE>(data, out, line, &start),
                    4.. => self.some::<T, A, 4>(data, out, line, &start),
                    2.. => self.some::<T, A, 2>(data, out, line, &start),
                    _ => self.some::<T, A, 1>(data, out, line, &start),
                };
            }
        });
    }

    /// `C` lines side by side, and how many they are.
    fn some<T: Element, A: Total, const C: usize>(
        &self,
        data: &[T],
        out: &Shared<*mut T>,
        line: usize,
        start: impl Fn(usize) -> (usize, A),
    ) -> usize {
        let mut starts = [(0, A::default()); C];
        for (c, place) in starts.iter_mut().enumerate() {
            *place = start(line + c);
            assert!(place.0 + (self.n - 1) * self.step < data.len(), "cumsum: whole lines");
        }
        let mut sums = starts.map(|(_, sum)| sum);
        for k in 0..self.n {
            for c in 0..C {
                let at = starts[c].0 + k * self.step;
                // SAFETY: the lines are inside the data, as checked above, and each is written by one piece of the loop.
                unsafe {
                    sums[c] = sums[c].plus(A::of(*data.get_unchecked(at)));
                    *out.get().add(at) = sums[c].round();
                }
            }
        }
        C
    }

    /// [`WIDTH`] lines at even distances, turned to columns and back a tile at a time; how many they are, or none.
    fn turned<T: Element, A: Total>(
        &self,
        data: &[T],
        out: &Shared<*mut T>,
        line: usize,
        start: impl Fn(usize) -> (usize, A),
    ) -> usize {
        let (first, apart) = (start(line).0, start(line + 1).0 - start(line).0);
        let mut sums = [A::default(); WIDTH];
        for (c, kept) in sums.iter_mut().enumerate() {
            let (at, sum) = start(line + c);
            if at != first + c * apart {
                return 0;
            }
            *kept = sum;
        }
        assert!(first + (WIDTH - 1) * apart + self.n <= data.len(), "cumsum: whole lines");
        let mut tile = MaybeUninit::<Tile<T>>::uninit();
        for k in (0..self.n).step_by(TILE) {
            let (count, at, side) = (TILE.min(self.n - k), first + k, WIDTH as isize);
            let (from, to) = (data[at..].as_ptr(), out.get().wrapping_add(at));
            let place = tile.as_mut_ptr().cast::<T>();
            // SAFETY: the lines are inside the data, `count` elements of each have room in the tile, and each line is
            // written by one piece of the loop.
            unsafe {
                turn(from, apart as isize, place, side, WIDTH, count);
                down(place, place, WIDTH, count, &mut sums);
                turn(place, side, to, apart as isize, count, WIDTH);
            }
        }
        WIDTH
    }
}

/// Rows in parts, each of which begins with the sum of those before it.
fn long_rows<T: Element, A: Total>(data: &[T], n: usize, out: &mut [T]) {
    let (rows, whole, rest) = (data.len() / n, n / PART, n % PART);
    let mut starts = vec![A::default(); rows * (whole + 1)];
    let target = Shared(starts.as_mut_ptr());
    pool::share(rows * whole, GRAIN.div_ceil(PART), |from, to| {
        for p in from..to {
            let (row, part) = (p / whole, p % whole);
            let Some(run) = data[row * n + part * PART..].first_chunk() else { unreachable!("whole parts") };
            let sum = total(run);
            // SAFETY: each part has a place of its own, behind that of the one before it.
            unsafe { *target.get().add(row * (whole + 1) + part + 1) = sum };
        }
    });
    for starts in starts.chunks_exact_mut(whole + 1) {
        let mut sum = A::default();
        starts.iter_mut().for_each(|start| {
            sum = sum.plus(*start);
            *start = sum;
        });
    }
    let target = Shared(out.as_mut_ptr());
    let start = |row: usize, part: usize| (row * n + part * PART, starts[row * (whole + 1) + part]);
    Lines { count: rows * whole, n: PART, step: 1 }.sum(data, &target, |p| start(p / whole, p % whole));
    if rest > 0 {
        Lines { count: rows, n: rest, step: 1 }.sum(data, &target, |row| start(row, whole));
    }
}

/// The sum of a part, in an order that is the same at every level.
fn total<T: Element, A: Total>(part: &[T; PART]) -> A {
    let (mut sums, mut spare) = ([A::default(); WIDTH], MaybeUninit::<Tile<T>>::uninit());
    const { assert!(PART.is_multiple_of(WIDTH) && PART / WIDTH <= TILE) };
    // As columns, whose running sums nobody needs: that costs less than another loop's code.
    // SAFETY: the part has as many rows, and the tile room for them.
    unsafe { down(part.as_ptr(), spare.as_mut_ptr().cast(), WIDTH, PART / WIDTH, &mut sums) };
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            sums[i] = sums[i].plus(sums[i + half]);
        }
    }
    sums[0]
}

/// Columns of blocks of `n` rows of `inner` elements, in strips.
fn columns<T: Element, A: Total>(data: &[T], n: usize, inner: usize, out: &mut [T]) {
    let (blocks, strips, rest) = (data.len() / (n * inner), inner / WIDTH, inner % WIDTH);
    let target = Shared(out.as_mut_ptr());
    pool::share(blocks * strips, GRAIN.div_ceil(n * WIDTH), |from, to| {
        for strip in from..to {
            let at = strip / strips * n * inner + strip % strips * WIDTH;
            // SAFETY: the strip is inside the block, and strips are disjoint parts of the output's rows.
            unsafe { down(data[at..].as_ptr(), target.get().add(at), inner, n, &mut [A::default(); WIDTH]) };
        }
    });
    if rest > 0 {
        let start = |c: usize| (c / rest * n * inner + inner - rest + c % rest, A::default());
        Lines { count: blocks * rest, n, step: inner }.sum(data, &target, start);
    }
}

at_level! {
    /// Running sums of columns side by side, whose sums stay in registers; rows are `step` elements apart.
    ///
    /// # Safety
    /// `n` rows are inside `data` and `out`, which may be the same.
    unsafe fn down[T: Element, A: Total][T, A](data: *const T, out: *mut T, step: usize, n: usize, sums: &mut [A; WIDTH]) {
        let mut kept = *sums;
        for k in 0..n {
            // SAFETY: as the caller says.
            let mut row = unsafe { data.add(k * step).cast::<[T; WIDTH]>().read() };
            for i in 0..WIDTH {
                kept[i] = kept[i].plus(A::of(row[i]));
                row[i] = kept[i].round();
            }
            // SAFETY: as above.
            unsafe { out.add(k * step).cast::<[T; WIDTH]>().write(row) };
        }
        *sums = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::dtype::Bool;
    use half::f16;

    fn elements<T: Element>(len: usize) -> Vec<T> {
        (0..len as u64)
            .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1 << 23) as f64 - 0.9)
            .map(|v| if T::FLOAT { T::from_f64(v) } else { T::from_i64((v * 300.0) as i64) })
            .collect()
    }

    /// One addition after the other.
    fn plain<T: Element>(data: &[T], n: usize, inner: usize) -> Vec<T> {
        let mut out = data.to_vec();
        for (data, out) in data.chunks_exact(n * inner).zip(out.chunks_exact_mut(n * inner)) {
            for i in 0..inner {
                let (mut float, mut int) = (0.0, 0i64);
                for at in (i..n * inner).step_by(inner) {
                    (float, int) = (float + data[at].to_f64(), int.wrapping_add(data[at].to_i64()));
                    out[at] = if T::FLOAT { T::from_f64(float) } else { T::from_i64(int) };
                }
            }
        }
        out
    }

    fn sum<T: Element>(data: &[T], n: usize, inner: usize) -> Vec<T> {
        let mut out = vec![T::default(); data.len()];
        running_sum(data, n, inner, &mut out);
        out
    }

    fn check<T: Element>(epsilon: f64) {
        for outer in [1, 2, 7, 16, 37] {
            for n in [1, 2, 7, 8, 9, 64, 65, 130, 1000] {
                for inner in [1, 2, 3, 8, 15, 16, 17, 40] {
                    let data = elements::<T>(outer * n * inner);
                    assert_eq!(sum(&data, n, inner), plain(&data, n, inner), "{} {outer}x{n}x{inner}", T::DTYPE);
                }
            }
        }
        for n in [LONG - 1, LONG, LONG + 1, 20 * PART, 70_001] {
            let data = elements::<T>(3 * n);
            let got = sum(&data, n, 1);
            for (i, (got, want)) in got.iter().zip(plain(&data, n, 1)).enumerate() {
                let (got, want) = (got.to_f64(), want.to_f64());
                assert!((got - want).abs() <= want.abs() * epsilon, "{} {n}: {got} at {i}, not {want}", T::DTYPE);
            }
            // What is beside a row changes nothing in it.
            for (row, got) in data.chunks_exact(n).zip(got.chunks_exact(n)) {
                assert_eq!(sum(row, n, 1), got, "{} {n}", T::DTYPE);
            }
        }
    }

    #[test]
    fn agrees_with_one_addition_after_the_other() {
        check::<f32>(f32::EPSILON as f64);
        check::<f16>(f16::EPSILON.to_f64());
        // The order of additions is the plain one, or does not matter.
        check::<f64>(0.0);
        check::<u8>(0.0);
        check::<i8>(0.0);
        check::<i32>(0.0);
        check::<i64>(0.0);
        check::<Bool>(0.0);
    }

    #[test]
    fn infinities_and_nan_stay_behind_their_place() {
        let mut data = elements::<f32>(10_000);
        (data[3000], data[7001]) = (f32::INFINITY, f32::NEG_INFINITY);
        let got = sum(&data, data.len(), 1);
        assert!(got[..3000].iter().all(|v| v.is_finite()));
        assert!(got[3000..7001].iter().all(|&v| v == f32::INFINITY));
        assert!(got[7001..].iter().all(|v| v.is_nan()));
        assert!(sum::<f32>(&[], 0, 3).is_empty());
    }
}

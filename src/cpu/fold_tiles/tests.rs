//! The loops against a plain fold, for every dtype, level and length of a run's end.

use crate::base::{DType, Element, Level};
use crate::fold;
use crate::ir::{FoldTiles, ReduceFn};
use crate::with_dtype;

static FOLDS: [ReduceFn; 4] = [
    fold!("sum", 0.0, 0, exact false, |acc, x| acc.add(x), |a, b| a.add(b), finish |v, _| v, |v, _| v, wgsl "", "", ""),
    fold!("max", f64::NEG_INFINITY, i64::MIN, exact true, |acc, x| acc.max(x), |a, b| a.max(b),
        finish |v, _| v, |v, _| v, wgsl "", "", ""),
    fold!("min", f64::INFINITY, i64::MAX, exact true, |acc, x| acc.min(x), |a, b| a.min(b),
        finish |v, _| v, |v, _| v, wgsl "", "", ""),
    fold!("nansum", 0.0, 0, exact false, |acc, x| x.if_nan(acc, acc.add_square(x)), |a, b| a.add(b),
        finish |v, _| v, |v, _| v, wgsl "", "", ""),
];

/// One fold step in the widest type: whole numbers, so that sums are exact in any order.
fn plain(name: &str, acc: f64, x: f64) -> f64 {
    match name {
        "sum" => acc + x,
        "max" if acc.is_nan() || x.is_nan() => f64::NAN,
        "max" => acc.max(x),
        "min" if acc.is_nan() || x.is_nan() => f64::NAN,
        "min" => acc.min(x),
        _ if x.is_nan() => acc,
        _ => acc + x * x,
    }
}

fn start(name: &str) -> f64 {
    match name {
        "max" => f64::NEG_INFINITY,
        "min" => f64::INFINITY,
        _ => 0.0,
    }
}

fn levels() -> impl Iterator<Item = Level> {
    [Level::Baseline, Level::Avx2, Level::Avx512].into_iter().filter(|&l| l <= Level::get())
}

/// Totals of a loop, as float64.
fn totals(tiles: &FoldTiles, count: usize, run: impl Fn(*mut u8)) -> Vec<f64> {
    let mut acc = vec![tiles.start; count + 1];
    run(acc.as_mut_ptr().cast());
    let mut out = vec![0.0; count];
    // SAFETY: there is a word to each total, and room for each result.
    unsafe { (tiles.store)(acc.as_ptr().cast(), count, 1, DType::F64, out.as_mut_ptr().cast()) };
    out
}

fn same(got: &[f64], want: &[f64], what: impl Fn() -> String) {
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(g == w || g.is_nan() && w.is_nan(), "{} place {i}: got {g}, expected {w}", what());
    }
}

fn check<T: Element>(f: &ReduceFn, level: Level, n: usize, rows: usize, odd: &[(usize, f64)]) {
    // No integer stands for the extreme of nothing.
    if n == 0 && !T::FLOAT && start(f.name) != 0.0 {
        return;
    }
    let (tiles, stride) = ((f.tiles)(T::DTYPE, level), n + 3);
    let mut data: Vec<T> = (0..rows * stride)
        .map(|i| T::from_f64(((i * 7919) % 113) as f64 - if T::FLOAT { 50.0 } else { 0.0 }))
        .collect();
    odd.iter().filter(|(at, _)| T::FLOAT && *at < n * rows).for_each(|&(at, v)| data[at] = T::from_f64(v));
    let at = |r: usize, i: usize| data[r * stride + i].to_f64();
    let x: *const u8 = data.as_ptr().cast();
    let what = |how: &str| format!("{} {} {level:?} {n}x{rows} {how}", f.name, T::DTYPE);
    let fold = |of: &mut dyn Iterator<Item = f64>| of.fold(start(f.name), |acc, x| plain(f.name, acc, x));
    // SAFETY: the vector holds the runs, and `totals` gives the accumulators.
    unsafe {
        let want: Vec<f64> = (0..rows).map(|r| fold(&mut (0..n).map(|i| at(r, i)))).collect();
        same(&totals(&tiles, rows, |acc| (tiles.rows)(x, n, stride, rows, acc, false)), &want, || what("rows"));
        let want = [fold(&mut (0..rows * n).map(|k| at(k / n.max(1), k % n.max(1))))];
        same(&totals(&tiles, 1, |acc| (tiles.rows)(x, n, stride, rows, acc, true)), &want, || what("one"));
        let want: Vec<f64> = (0..n).map(|i| fold(&mut (0..rows).map(|r| at(r, i)))).collect();
        same(&totals(&tiles, n, |acc| (tiles.columns)(x, n, stride, rows, acc)), &want, || what("columns"));
    }
}

#[test]
fn every_length_and_dtype() {
    for f in &FOLDS {
        for level in levels() {
            for dtype in DType::ALL {
                for n in (0..131).chain([1000]) {
                    for rows in [1, 2, 5, 13] {
                        with_dtype!(dtype, T => check::<T>(f, level, n, rows, &[]));
                    }
                }
            }
        }
    }
}

#[test]
fn nan_and_infinity_anywhere() {
    for f in &FOLDS {
        for level in levels() {
            for dtype in [DType::F16, DType::F32, DType::F64] {
                for at in 0..70 {
                    for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0] {
                        with_dtype!(dtype, T => check::<T>(f, level, 69, 3, &[(at, v), (at + 80, f64::NAN)]));
                    }
                }
            }
        }
    }
}

#[test]
fn extremes_of_integers_stay() {
    for level in levels() {
        let tiles = (FOLDS[1].tiles)(DType::I64, level);
        let data = [i64::MIN, i64::MAX - 1, i64::MAX, 3];
        let mut acc = [tiles.start; 2];
        let mut out = 0i64;
        // SAFETY: four elements, one accumulator, one result.
        unsafe {
            (tiles.rows)(data.as_ptr().cast(), 4, 4, 1, acc.as_mut_ptr().cast(), false);
            (tiles.store)(acc.as_ptr().cast(), 1, 4, DType::I64, (&raw mut out).cast());
        }
        assert_eq!(out, i64::MAX);
        with_dtype!(DType::U8, T => check::<T>(&FOLDS[2], level, 300, 2, &[]));
    }
}

/// A long run is joined several times on its way.
#[test]
fn long_runs() {
    for f in &FOLDS {
        for level in levels() {
            for n in [8191, 8192, 40_001] {
                check::<f32>(f, level, n, 2, &[]);
                check::<f64>(f, level, n, 3, &[(n / 2, f64::NAN)]);
                check::<i32>(f, level, n, 2, &[]);
            }
        }
    }
}

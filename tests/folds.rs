//! Reductions of large and oddly laid out arrays: each way of cutting them up, against a naive fold.

use oxgrad::base::error::catch;
use oxgrad::base::{DType, Layout};
use oxgrad::graph::Var;
use oxgrad::ops::reduce;
use oxgrad::tensor::Tensor;

/// Whole numbers: float32 sums of these are exact in any order.
fn value(i: usize) -> f32 {
    ((i.wrapping_mul(2_654_435_761) >> 7) % 31) as f32 - 15.0
}

fn check(layout: Layout, axes: &[usize], fused: bool) {
    let reach = |(&d, &s): (&usize, &isize)| (d - 1) * s.max(0) as usize;
    let len = 1 + layout.offset + layout.shape.iter().zip(&layout.strides).map(reach).sum::<usize>();
    let data: Vec<f32> = (0..len).map(value).collect();
    let shape: Vec<usize> = layout.shape.to_vec();
    let whole = Tensor::from_slice(&[data.len()], &data).unwrap();
    let x = Var::new(whole.with_layout(layout.clone()).unwrap());
    let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
    let count: usize = kept.iter().map(|&a| shape[a]).product();
    let (mut sums, mut tops) = (vec![0.0f64; count], vec![f32::NEG_INFINITY; count]);
    let mut index = vec![0; shape.len()];
    'all: loop {
        let at: isize = index.iter().zip(&layout.strides).map(|(&i, &s)| i as isize * s).sum();
        let v = data[(at + layout.offset as isize) as usize];
        let v = if fused { v * 2.0 + 1.0 } else { v };
        let place = kept.iter().fold(0, |p, &a| p * shape[a] + index[a]);
        sums[place] += v as f64;
        tops[place] = tops[place].max(v);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                break 'all;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    let x = if fused { catch(|| &x * 2.0 + 1.0).unwrap() } else { x };
    let what = || format!("{shape:?} {:?} axes {axes:?} fused {fused}", layout.strides);
    let got = catch(|| x.sum_axes(axes, false)).unwrap().to_vec::<f32>().unwrap();
    assert!(got.iter().zip(&sums).all(|(&g, &w)| g == w as f32), "sum {}", what());
    let got = catch(|| x.fold(&reduce::MAX, axes, false)).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(got, tops, "max {}", what());
}

#[test]
fn matrices() {
    let sides = [(1, 70_001), (1000, 1000), (5, 7001), (7001, 5), (60_000, 3), (3, 40_000), (2, 10_001), (4001, 24)];
    for (rows, cols) in sides.into_iter().chain([(4001, 25), (129, 64), (9000, 17), (65, 4099), (40, 9001)]) {
        for axes in [&[0][..], &[1], &[0, 1]] {
            for fused in [false, true] {
                check(Layout::contiguous(&[rows, cols]), axes, fused);
            }
            check(Layout::contiguous(&[cols, rows]).permute(&[1, 0]), axes, false);
            // Rows apart, and backwards.
            check(Layout::contiguous(&[rows, cols + 3]).slice(1, 1, 1, cols), axes, false);
            check(Layout::contiguous(&[rows, cols]).slice(0, rows as isize - 1, -1, rows), axes, false);
        }
    }
}

#[test]
fn several_axes() {
    let shapes: [&[usize]; 5] = [&[8, 6, 28, 28], &[100, 30, 40], &[16, 32, 3, 64], &[3, 700, 33], &[2, 3, 5, 7, 211]];
    for shape in shapes {
        for marks in 1..1u32 << shape.len() {
            let axes: Vec<usize> = (0..shape.len()).filter(|a| marks >> a & 1 == 1).collect();
            check(Layout::contiguous(shape), &axes, marks % 2 == 0);
            let back: Vec<usize> = (0..shape.len()).rev().collect();
            check(Layout::contiguous(shape).permute(&back), &axes, marks % 3 == 0);
            let mut swapped: Vec<usize> = (0..shape.len()).collect();
            swapped.swap(0, 1);
            check(Layout::contiguous(shape).permute(&swapped), &axes, marks % 3 == 1);
        }
    }
}

/// Sums are rounded once: with float64 partial sums, large terms that cancel leave the small ones.
#[test]
fn sums_are_rounded_once() {
    for shape in [[100_000, 1], [1, 100_000], [317, 316]] {
        let n = shape[0] * shape[1];
        let data: Vec<f32> = (0..n).map(|i| 1e6 * (i as f32 * 0.37).sin() + 0.1).collect();
        let want = data.iter().map(|&v| v as f64).sum::<f64>() as f32;
        let x = Var::new(Tensor::from_slice(&shape, &data).unwrap());
        for dtype in [DType::F32, DType::F64] {
            let got = catch(|| x.cast(dtype).sum_axes(&[0, 1], false)).unwrap().to_vec::<f64>().unwrap()[0];
            assert!((got as f32 - want).abs() <= f32::EPSILON * want.abs(), "{shape:?} {dtype}: {got} {want}");
        }
    }
}

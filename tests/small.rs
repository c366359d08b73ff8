//! Small arrays computed at once give what the general way gives, whatever the layouts.

use oxgrad::base::DType;
use oxgrad::base::error::catch;
use oxgrad::graph::Var;
use oxgrad::tensor::Tensor;
use proptest::prelude::*;

fn iota(shape: &[usize]) -> Var {
    let n: usize = shape.iter().product();
    let data: Vec<f32> = (0..n).map(|i| i as f32).collect();
    Var::new(Tensor::from_slice(shape, &data).unwrap())
}

#[test]
fn two_strided_operands_keep_their_own_elements() {
    let sum =
        catch(|| iota(&[2, 3]).transpose(&[1, 0]) + iota(&[3, 1]).transpose(&[0, 1]).broadcast_to(&[3, 2])).unwrap();
    assert_eq!(sum.to_vec::<f32>().unwrap(), [0., 3., 2., 5., 4., 7.]);
    let twice = catch(|| iota(&[2, 3]).transpose(&[1, 0]) + iota(&[2, 3]).transpose(&[1, 0])).unwrap();
    assert_eq!(twice.to_vec::<f32>().unwrap(), [0., 6., 2., 8., 4., 10.]);
}

/// A view of `shape` in one of several layouts, and its elements in C order.
fn operand(shape: [usize; 2], layout: usize) -> (Var, Vec<f32>) {
    let [rows, cols] = shape;
    let x = catch(|| match layout {
        0 => iota(&shape),
        1 => iota(&[cols, rows]).transpose(&[1, 0]),
        2 => iota(&[1, cols]).broadcast_to(&shape),
        3 => iota(&[rows, 1]).broadcast_to(&shape),
        4 => iota(&[1, cols]),
        5 => iota(&[rows, 1]),
        6 => iota(&[cols]),
        _ => Var::new(
            Tensor::full(&shape, DType::F32, oxgrad::base::Device::CPU, oxgrad::tensor::Scalar::Int(3)).unwrap(),
        ),
    })
    .unwrap();
    let at = |i: usize, j: usize| match layout {
        0 => i * cols + j,
        1 => j * rows + i,
        2 | 4 | 6 => j,
        3 | 5 => i,
        _ => 3,
    };
    let elements = (0..rows).flat_map(|i| (0..cols).map(move |j| at(i, j) as f32)).collect();
    (x, elements)
}

proptest! {
    #[test]
    fn operands_of_all_layouts(rows in 1usize..6, cols in 1usize..6, a in 0usize..8, b in 0usize..8) {
        let ((x, xs), (y, ys)) = (operand([rows, cols], a), operand([rows, cols], b));
        let got = catch(|| &(&x * 2.0) - &y).unwrap().broadcast_to(&[rows, cols]);
        let want: Vec<f32> = xs.iter().zip(&ys).map(|(x, y)| 2.0 * x - y).collect();
        // Where neither operand has the full shape the result is smaller; its broadcast is compared.
        prop_assert_eq!(got.to_vec::<f32>().unwrap(), want);
    }

    #[test]
    fn folds_over_side_by_side_axes(rows in 1usize..6, cols in 1usize..6, layout in 0usize..4, axis in 0usize..3) {
        let (x, xs) = operand([rows, cols], layout);
        let axes: &[usize] = [&[0][..], &[1], &[0, 1]][axis];
        let got = catch(|| x.sum_axes(axes, false)).unwrap().to_vec::<f32>().unwrap();
        let at = |i: usize, j: usize| xs[i * cols + j];
        let want: Vec<f32> = match axis {
            0 => (0..cols).map(|j| (0..rows).map(|i| at(i, j)).sum()).collect(),
            1 => (0..rows).map(|i| (0..cols).map(|j| at(i, j)).sum()).collect(),
            _ => vec![xs.iter().sum()],
        };
        prop_assert_eq!(got, want);
    }

    #[test]
    fn casts_of_any_layout(rows in 1usize..6, cols in 1usize..6, layout in 0usize..4) {
        let (x, xs) = operand([rows, cols], layout);
        let got = catch(|| x.cast(DType::I64)).unwrap().to_vec::<i64>().unwrap();
        prop_assert_eq!(got, xs.iter().map(|&v| v as i64).collect::<Vec<_>>());
    }
}

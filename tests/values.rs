//! Random expressions, reductions and casts: fused, one op at a time, and by a naive evaluation.

use oxgrad::base::dtype::Element;
use oxgrad::base::error::catch;
use oxgrad::base::layout::broadcast;
use oxgrad::base::{DType, Layout};
use oxgrad::graph::{Op, Var};
use oxgrad::ops::{binary, reduce, unary};
use oxgrad::tensor::Tensor;
use oxgrad::with_dtype;
use proptest::prelude::*;

/// An array with the means to look an element up without any kernel.
#[derive(Clone, Debug)]
struct Leaf {
    data: Vec<f32>,
    layout: Layout,
}

impl Leaf {
    fn var(&self) -> Var {
        let whole = Tensor::from_slice(&[self.data.len()], &self.data).unwrap();
        Var::new(whole.with_layout(self.layout.clone()).unwrap())
    }
    /// The element at `index` of a shape that this one broadcasts to.
    fn at(&self, index: &[usize]) -> f64 {
        let lead = index.len() - self.layout.shape.len();
        let place = (0..self.layout.shape.len()).map(|a| {
            let i = if self.layout.shape[a] == 1 { 0 } else { index[lead + a] };
            i as isize * self.layout.strides[a]
        });
        self.data[(self.layout.offset as isize + place.sum::<isize>()) as usize] as f64
    }
}

/// How a leaf lies in memory: which axes it repeats, which leading axes it lacks, turned, every second, backwards.
type Look = (u8, usize, bool, bool, bool, u32);

fn leaf(shape: &[usize], (ones, lead, turned, spread, backwards, seed): Look) -> Leaf {
    let shape: Vec<usize> = shape.iter().enumerate().map(|(a, &d)| if ones >> a & 1 == 1 { 1 } else { d }).collect();
    let shape = &shape[lead.min(shape.len())..];
    let n: usize = shape.iter().product();
    let step = if spread { 2 } else { 1 };
    let mut layout = match turned {
        true => {
            let back: Vec<usize> = (0..shape.len()).rev().collect();
            let stored: Vec<usize> = shape.iter().rev().copied().collect();
            Layout::contiguous(&stored).permute(&back)
        }
        false => Layout::contiguous(shape),
    };
    layout.strides.iter_mut().for_each(|s| *s *= step);
    layout.offset = seed as usize % 3;
    if backwards && n > 0 {
        for axis in 0..shape.len() {
            layout = layout.slice(axis, shape[axis] as isize - 1, -1, shape[axis]);
        }
    }
    let word = |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)) >> 8;
    let data = (0..n * step as usize + 3).map(|i| word(i) as f32 / (1 << 23) as f32 - 1.0).collect();
    Leaf { data, layout }
}

fn look() -> impl Strategy<Value = Look> {
    (0u8..8, 0usize..3, any::<bool>(), any::<bool>(), any::<bool>(), any::<u32>())
}

fn shape() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(1usize..6, 0..4),
        prop::collection::vec(1usize..24, 3),
        (2000usize..9000).prop_map(|n| vec![n]),
        (1usize..70, 40usize..200).prop_map(|(a, b)| vec![a, b]),
    ]
}

/// A step: which op on which earlier values, and whether somebody keeps the result.
type Step = (usize, prop::sample::Index, prop::sample::Index, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..OPS, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 1..40)
}

// Every op maps [-1, 1] to itself, so that no error grows without bound.
const OPS: usize = 12;

fn apply(op: usize, a: &Var, b: &Var) -> Var {
    match op {
        0 => (a + b) * 0.5,
        1 => (a - b) * 0.5,
        2 => a * b,
        3 => a.tanh(),
        4 => a.sigmoid(),
        5 => a.sin(),
        6 => a.cos(),
        7 => a.binary(&binary::MAXIMUM, b),
        8 => a.binary(&binary::MINIMUM, b),
        9 => a.abs(),
        10 => a.square(),
        _ => -a,
    }
}

fn reference(op: usize, a: f64, b: f64) -> f64 {
    match op {
        0 => (a + b) * 0.5,
        1 => (a - b) * 0.5,
        2 => a * b,
        3 => a.tanh(),
        4 => 1.0 / (1.0 + (-a).exp()),
        5 => a.sin(),
        6 => a.cos(),
        7 => a.max(b),
        8 => a.min(b),
        9 => a.abs(),
        10 => a * a,
        _ => -a,
    }
}

fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..shape.iter().product::<usize>()).map(move |mut flat| {
        let mut index = vec![0; shape.len()];
        for (slot, &dim) in index.iter_mut().zip(shape).rev() {
            *slot = flat % dim;
            flat /= dim;
        }
        index
    })
}

/// The marked axes, or all where none is.
fn axes(shape: &[usize], marks: u8) -> Vec<usize> {
    let marked: Vec<usize> = (0..shape.len()).filter(|a| marks >> a & 1 == 1).collect();
    if marked.is_empty() { (0..shape.len()).collect() } else { marked }
}

fn bits(v: &Var) -> Vec<u32> {
    v.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

proptest! {
    #[test]
    fn expressions(shape in shape(), looks in prop::collection::vec(look(), 3), steps in steps(), backwards in any::<bool>()) {
        let leaves: Vec<Leaf> = looks.iter().map(|&l| leaf(&shape, l)).collect();
        let build = |forced: bool| {
            catch(|| {
                let mut values: Vec<Var> = leaves.iter().map(Leaf::var).collect();
                for (op, i, j, _) in &steps {
                    let value = apply(*op, &values[i.index(values.len())], &values[j.index(values.len())]);
                    if forced {
                        value.tensor.force().unwrap();
                    }
                    values.push(value);
                }
                values
            })
            .unwrap()
        };
        let single = build(true);
        // Only some of the values are kept; they are read in either order.
        let mut kept: Vec<(usize, Var)> = build(false)
            .into_iter()
            .enumerate()
            .skip(leaves.len())
            .filter(|(i, _)| *i == steps.len() + 2 || steps[i - 3].3)
            .collect();
        if backwards {
            kept.reverse();
        }
        for (i, value) in &kept {
            prop_assert_eq!(value.shape(), single[*i].shape());
            prop_assert_eq!(bits(value), bits(&single[*i]), "value {}", i);
        }
        let last = kept.iter().map(|(i, v)| (i, v)).max_by_key(|(i, _)| **i).unwrap().1;
        let got = last.to_vec::<f32>().unwrap();
        for (k, index) in indices(last.shape()).enumerate().step_by(7) {
            let lead = shape.len() - index.len();
            let full: Vec<usize> = vec![0; lead].into_iter().chain(index).collect();
            let mut values: Vec<f64> = leaves.iter().map(|l| l.at(&full)).collect();
            for (op, i, j, _) in &steps {
                values.push(reference(*op, values[i.index(values.len())], values[j.index(values.len())]));
            }
            let want = values[values.len() - 1];
            prop_assert!((got[k] as f64 - want).abs() < 2e-5, "{}: {} {}", k, got[k], want);
        }
    }

    #[test]
    fn reductions(shape in shape(), look in look(), marks in 0u8..16, keepdims in any::<bool>(), fused in any::<bool>()) {
        let leaf = leaf(&shape, (0, 0, look.2, look.3, look.4, look.5));
        prop_assume!(!shape.is_empty());
        let axes = axes(&shape, marks);
        let x = leaf.var();
        let x = if fused { catch(|| x.square() - 0.25).unwrap() } else { x };
        let at = |index: &[usize]| if fused { (leaf.at(index) as f32 * leaf.at(index) as f32 - 0.25) as f64 } else { leaf.at(index) };
        type Fold = (&'static Op, f64, fn(f64, f64) -> f64);
        let folds: [Fold; 5] = [
            (&reduce::SUM, 0.0, |a, b| a + b),
            (&reduce::MEAN, 0.0, |a, b| a + b),
            (&reduce::MAX, f64::NEG_INFINITY, f64::max),
            (&reduce::MIN, f64::INFINITY, f64::min),
            (&reduce::SUMSQ_ROOT, 0.0, |a, b| a + b * b),
        ];
        let kept: Vec<usize> = shape.iter().enumerate().map(|(a, &d)| if axes.contains(&a) { 1 } else { d }).collect();
        let count: usize = axes.iter().map(|&a| shape[a]).product();
        for (op, start, fold) in folds {
            let mut want = vec![start; kept.iter().product()];
            for index in indices(&shape) {
                let place = index.iter().zip(&kept).fold(0, |p, (&i, &d)| p * d + if d == 1 { 0 } else { i });
                want[place] = fold(want[place], at(&index));
            }
            let got = catch(|| x.fold(op, &axes, keepdims)).unwrap();
            let dims: Vec<usize> = match keepdims {
                true => kept.clone(),
                false => shape.iter().enumerate().filter(|(a, _)| !axes.contains(a)).map(|(_, &d)| d).collect(),
            };
            let dims = if dims.is_empty() { vec![1] } else { dims };
            prop_assert_eq!(got.shape(), &dims[..]);
            for (g, w) in got.to_vec::<f32>().unwrap().into_iter().zip(want) {
                let w = match op.name {
                    "mean" => w / count as f64,
                    "_norm2" => w.sqrt(),
                    _ => w,
                };
                prop_assert!((g as f64 - w).abs() <= 1e-6 * w.abs().max(1e-3), "{}: {} {}", op.name, g, w);
            }
        }
    }

    #[test]
    fn whole_numbers_are_exact(shape in shape(), marks in 1u8..16, seed in any::<u32>(), flag in 3i32..7) {
        let n: usize = shape.iter().product();
        let dtype = DType::from_flag(flag).unwrap();
        let data: Vec<i64> = (0..n).map(|i| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) as i32 as i64).collect();
        let x = Var::new(Tensor::from_slice(&shape, &data).unwrap().cast(dtype).unwrap());
        prop_assume!(!shape.is_empty());
        let axes = axes(&shape, marks);
        let kept: Vec<usize> = shape.iter().enumerate().map(|(a, &d)| if axes.contains(&a) { 1 } else { d }).collect();
        let mut sums = vec![0i64; kept.iter().product()];
        with_dtype!(dtype, T => for (k, index) in indices(&shape).enumerate() {
            let place = index.iter().zip(&kept).fold(0, |p, (&i, &d)| p * d + if d == 1 { 0 } else { i });
            sums[place] = sums[place].wrapping_add(T::from_i64(data[k]).to_i64());
        });
        let want: Vec<i64> = with_dtype!(dtype, T => sums.iter().map(|&s| T::from_i64(s).to_i64()).collect());
        let got = catch(|| x.sum_axes(&axes, false)).unwrap();
        prop_assert_eq!(got.dtype(), dtype);
        prop_assert_eq!(got.to_vec::<i64>().unwrap(), want);
    }

    #[test]
    fn casts(from in 0i32..8, to in 0i32..8, values in prop::collection::vec(odd_number(), 1..40), large in any::<bool>(), turned in any::<bool>()) {
        let (from, to) = (DType::from_flag(from).unwrap(), DType::from_flag(to).unwrap());
        with_dtype!(from, A => with_dtype!(to, B => {
            let n = if large { 5000 } else { values.len() };
            let data: Vec<A> = (0..n).map(|i| A::from_f64(values[i % values.len()])).collect();
            let mut x = Tensor::from_slice(&[1, n], &data).unwrap();
            let mut want: Vec<B> = data.iter().map(|v| v.cast::<B>()).collect();
            if turned {
                x = x.with_layout(x.layout().unwrap().slice(1, n as isize - 1, -1, n)).unwrap();
                want.reverse();
            }
            let got = x.cast(to).unwrap().to_vec::<B>().unwrap();
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                let (g, w) = (g.to_f64(), w.to_f64());
                prop_assert!(g == w && g.is_sign_negative() == w.is_sign_negative() || g.is_nan() && w.is_nan(),
                    "{} to {}: {:?} gives {}, expected {}", from, to, data[if turned { n - 1 - i } else { i }], g, w);
            }
        }));
    }
}

/// Numbers where conversions differ: ends of ranges, halves, what float16 rounds and overflows.
fn odd_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        -300.0..300.0f64,
        (-300i32..300).prop_map(|v| v as f64 * 0.5),
        -1e10..1e10f64,
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            65504.0,
            65519.99,
            65520.0,
            // Between two float16 numbers, and off the middle by less than float32 can say.
            1.0 + 2f64.powi(-11) + 2f64.powi(-40),
            1.0 + 2f64.powi(-11) - 2f64.powi(-40),
            6e-8,
            2.9e-8,
            1e-45,
            2147483647.5,
            -2147483648.5,
            9.3e18,
        ]),
    ]
}

#[test]
fn shapes_of_leaves_broadcast() {
    // What the strategies rely on.
    let l = leaf(&[3, 4, 5], (0b010, 1, true, true, true, 7));
    assert_eq!(l.layout.shape.as_slice(), &[1, 5]);
    assert_eq!(broadcast(&l.layout.shape, &[3, 4, 5]).unwrap().as_slice(), &[3, 4, 5]);
    let v = l.var().to_vec::<f32>().unwrap();
    assert!((0..5).all(|i| v[i] as f64 == l.at(&[2, 3, i])));
    assert_eq!(catch(|| l.var().unary(&unary::IDENTITY)).unwrap().to_vec::<f32>().unwrap(), v);
}

//! Random ops against numbers recorded from MXNet 1.9.1.

use oxgrad::base::{DType, Kind, Result};
use oxgrad::graph::{Args, Param, Var, apply};
use oxgrad::ops::{find, random};
use oxgrad::tensor::Tensor;
use std::sync::{Mutex, MutexGuard};

/// The generators are the process's: one test at a time.
fn seeded(seed: i32) -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(|e| e.into_inner());
    random::seed(seed);
    guard
}

/// Calls an op with what is named, the rest by default.
fn all(name: &str, inputs: &[Var], named: &[(&str, Param)]) -> Result<Vec<Var>> {
    let op = find(name).unwrap();
    let value = |spec: &oxgrad::graph::ParamSpec| {
        named.iter().find(|(n, _)| *n == spec.name).map_or(spec.default.value(), |(_, v)| v.clone())
    };
    assert!(named.iter().all(|(n, _)| op.params.iter().any(|p| p.name == *n)), "{name}: {named:?}");
    let args: Args = op.params.iter().map(value).collect();
    Ok(apply(op, inputs, &args)?.into_vec())
}

fn call(name: &str, inputs: &[Var], named: &[(&str, Param)]) -> Result<Var> {
    Ok(all(name, inputs, named)?.remove(0))
}

/// A law with numbers for parameters, after seed 0.
fn drawn(name: &str, named: &[(&str, f64)], n: i64, dtype: DType) -> Vec<f64> {
    let _one = seeded(0);
    let mut params: Vec<(&str, Param)> = named.iter().map(|&(n, v)| (n, Param::Float(v))).collect();
    params.extend([("shape", Param::Int(n)), ("dtype", Param::DType(dtype))]);
    call(name, &[], &params).unwrap().to_vec().unwrap()
}

fn array(data: &[f32]) -> Var {
    Var::new(Tensor::from_slice(&[data.len()], data).unwrap())
}

#[test]
fn laws_with_numbers() {
    use DType::{F16, F32, F64};
    let near = |name, named: &[(&str, f64)], dtype, want: &[f64]| {
        let got = drawn(name, named, want.len() as i64, dtype);
        // Printed values are exact to the dtype.
        let same =
            got.iter().zip(want).all(|(g, w)| (g - w).abs() <= w.abs() * if dtype == F64 { 1e-15 } else { 6e-8 });
        assert!(same, "{name} {dtype}: {got:?} {want:?}");
    };
    near("uniform", &[], F32, &[0.548813522, 0.592844605, 0.715189338, 0.844265759]);
    near("random_uniform", &[("low", -2.0), ("high", 3.0)], F32, &[0.744067669, 0.964222908, 1.57594681, 2.22132874]);
    near("uniform", &[], F16, &[0.5927734375, 0.84423828125, 0.85791015625, 0.84716796875]);
    near("uniform", &[("low", 0.1)], F64, &[0.6335601422206134, 0.8598391511921907, 0.8721510390259455]);
    near("normal", &[], F32, &[2.21220636, 0.774003804, 1.04344034, 1.18392551]);
    near("normal", &[], F16, &[1.123046875, 0.07086181640625, -1.421875, -0.29150390625]);
    near(
        "normal",
        &[("loc", 0.1), ("scale", 0.3)],
        F64,
        &[0.43683849711155065, 0.12125777363948761, -0.32669776801834977],
    );
    near("exponential", &[], F32, &[0.795874536, 0.898560345, 1.25593066, 1.85960436]);
    near("exponential", &[("lam", 3.0)], F16, &[0.299560546875, 0.61962890625, 0.650390625, 0.62646484375]);
    near("exponential", &[("lam", 0.3)], F64, &[2.9952011769739935, 6.19868046416628, 6.50515086441655]);
    near("random_gamma", &[("alpha", 2.3), ("beta", 0.1)], F16, &[0.69873046875, 0.2464599609375, 0.413818359375]);
    near("random_gamma", &[("alpha", 2.3), ("beta", 0.1)], F64, &[0.39988562872720007, 0.2532941881493665]);
    near("random_gamma", &[("alpha", 0.3), ("beta", 0.1)], F64, &[0.1464136306501875, 9.404526039366468e-07]);
    near("poisson", &[("lam", 4.3)], F16, &[9.0, 5.0, 7.0]);
    near("poisson", &[("lam", 4.3)], F64, &[9.0, 5.0, 7.0]);
    near("negative_binomial", &[("k", 2.0), ("p", 0.4)], F64, &[14.0, 3.0, 2.0]);
    near("generalized_negative_binomial", &[("mu", 2.0), ("alpha", 0.3)], F16, &[10.0, 2.0, 1.0]);
}

#[test]
fn laws_with_arrays() {
    let sample = |name: &str, inputs: &[Var], shape: i64, dtype| {
        let _one = seeded(0);
        let out = call(name, inputs, &[("shape", Param::Int(shape)), ("dtype", Param::DType(dtype))]).unwrap();
        assert_eq!(out.shape(), &[2, shape as usize]);
        out.to_vec::<f64>().unwrap()
    };
    let f32s = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let (low, high) = (array(&[0.0, 5.0]), array(&[1.0, 3.0]));
    let got = sample("sample_uniform", &[low.clone(), high.clone()], 2, DType::F32);
    assert_eq!(f32s(&got), [0.548_813_5, 0.592_844_6, 3.569_621_3, 3.311_468_6]);
    let got = sample("sample_normal", &[low, array(&[1.0, 0.0])], 2, DType::F32);
    assert_eq!(f32s(&got), [2.212_206_4, 0.774_003_8, 5.0, 5.0]);
    let lam = Var::new(Tensor::from_slice(&[2], &[0.5f64, 20.0]).unwrap());
    assert_eq!(sample("sample_poisson", &[lam], 2, DType::F64), [0.0, 0.0, 16.0, 27.0]);
    // A block of one engine may cross from one parameter to the next.
    let got = sample("sample_exponential", &[array(&[1e-6, 1e6])], 75, DType::F32);
    assert!(got[..75].iter().all(|&x| x > 1.0) && got[75..].iter().all(|&x| x < 1.0), "{got:?}");
}

#[test]
fn large_draws_are_the_same_on_any_number_of_threads() {
    let whole = drawn("uniform", &[], 70_000, DType::F32);
    let at = [0, 68, 69, 137, 138, 35_000, 65_535, 65_536, 69_998, 69_999];
    random::seed(7);
    let _one = seeded(7);
    let seven = call("uniform", &[], &[("shape", Param::Int(70_000))]).unwrap().to_vec::<f32>().unwrap();
    let want = [
        0.428_559_45,
        0.560_054_06,
        0.663_598,
        0.969_912_2,
        0.459_610_88,
        0.480_089_4,
        0.145_876_96,
        0.113_012_35,
        0.252_502_9,
        0.304_814_94,
    ];
    assert_eq!(at.map(|i| seven[i]), want);
    assert_ne!(whole[0] as f32, seven[0]);
}

#[test]
fn integers() {
    let _one = seeded(0);
    let int = |low, high, dtype| {
        call(
            "random_randint",
            &[],
            &[
                ("low", Param::Int(low)),
                ("high", Param::Int(high)),
                ("shape", Param::Int(3)),
                ("dtype", Param::DType(dtype)),
            ],
        )
    };
    assert_eq!(int(0, 10, DType::I64).unwrap().to_vec::<i64>().unwrap(), [1, 4, 3]);
    assert!(int(5, 5, DType::I32).is_err());
    assert!(int(5, 1, DType::I32).is_err());
    assert!(int(0, 1 << 33, DType::I32).is_err());
    assert!(int(0, 10, DType::F32).is_err());
    assert!(int(i64::MIN, i64::MAX, DType::I64).is_ok());
}

#[test]
fn bad_parameters_are_errors() {
    // Some of these draw: other tests count on their numbers.
    let _one = seeded(0);
    for (name, named) in [
        ("uniform", &[("low", 2.0), ("high", 1.0)][..]),
        ("uniform", &[("low", f64::NAN)]),
        ("normal", &[("scale", 0.0)]),
        ("normal", &[("scale", -1.0)]),
        ("exponential", &[("lam", 0.0)]),
        ("random_gamma", &[("alpha", 0.0)]),
        ("random_gamma", &[("beta", -1.0)]),
        ("poisson", &[("lam", -1.0)]),
        ("negative_binomial", &[("k", -1.0)]),
        ("negative_binomial", &[("p", 0.0)]),
        ("generalized_negative_binomial", &[("mu", -1.0)]),
    ] {
        let params: Vec<_> = named.iter().map(|&(n, v)| (n, Param::Float(v))).collect();
        assert!(call(name, &[], &params).is_err(), "{name} {named:?}");
    }
    assert!(call("uniform", &[], &[("dtype", Param::DType(DType::I32))]).is_err());
    assert!(call("uniform", &[], &[("shape", Param::Ints([-2].into_iter().collect()))]).is_err());
    assert!(call("sample_uniform", &[array(&[0.0, 1.0]), array(&[2.0])], &[]).is_err());
    let absurd = call("uniform", &[], &[("shape", Param::Ints([1 << 40, 1 << 40].into_iter().collect()))]);
    assert_eq!(absurd.err().unwrap().kind, Kind::Memory);
    // Arrays of parameters are not looked at, but nothing hangs.
    call("sample_gamma", &[array(&[-4.0]), array(&[1.0])], &[]).unwrap();
    call("sample_poisson", &[array(&[-1.0, f32::NAN, f32::INFINITY])], &[]).unwrap();
}

#[test]
fn shapes() {
    let _one = seeded(0);
    assert_eq!(call("uniform", &[], &[]).unwrap().shape(), &[1]);
    let shaped = |dims: &[i64]| call("normal", &[], &[("shape", Param::Ints(dims.into()))]).unwrap();
    assert_eq!(shaped(&[]).shape(), &[] as &[usize]);
    assert_eq!(shaped(&[0, 3]).shape(), &[0, 3]);
    let like = Var::new(Tensor::from_slice(&[2, 2], &[0f64; 4]).unwrap());
    let drawn = call("_random_uniform_like", &[like], &[]).unwrap();
    assert_eq!((drawn.shape(), drawn.dtype()), (&[2, 2][..], DType::F64));
}

#[test]
fn multinomial_and_its_gradient() {
    use oxgrad::autograd::backward::Walk;
    use oxgrad::autograd::{GradReq, NDArray, backward};
    use oxgrad::graph::mode::Scope;
    let _one = seeded(0);
    let draw = |data: &Var, shape| call("sample_multinomial", std::slice::from_ref(data), &[("shape", shape)]);
    let four = array(&[0.1, 0.2, 0.3, 0.4]);
    let want = [2, 2, 3, 3, 3, 3, 2, 3, 2, 3, 3, 2, 2, 1, 3, 0, 3, 1, 2, 2];
    assert_eq!(draw(&four, Param::Int(20)).unwrap().to_vec::<i32>().unwrap(), want);
    assert_eq!(draw(&four, Param::None).unwrap().shape(), &[1]);
    for bad in [&[0.0, 0.0][..], &[5.0, 3.0], &[0.5, -0.5, 1.0], &[f32::NAN, 1.0], &[]] {
        assert!(draw(&array(bad), Param::None).is_err(), "{bad:?}");
    }

    let rows = NDArray::from_tensor(Tensor::from_slice(&[2, 3], &[0.25f32, 0.25, 0.5, 0.1, 0.2, 0.7]).unwrap());
    rows.attach_grad(GradReq::Write).unwrap();
    let outs = {
        let _recording = Scope::enter(Some(true), Some(true));
        let shape = Param::Ints([2, 2].into_iter().collect());
        all("sample_multinomial", &[rows.var().unwrap()], &[("shape", shape), ("get_prob", Param::Bool(true))]).unwrap()
    };
    assert_eq!((outs[0].shape(), outs[1].shape()), (&[2, 2, 2][..], &[2, 2, 2][..]));
    let classes = outs[0].to_vec::<i32>().unwrap();
    let data = [0.25f32, 0.25, 0.5, 0.1, 0.2, 0.7];
    let mut want = [0.0f32; 6];
    for (i, (&class, log)) in classes.iter().zip(outs[1].to_vec::<f32>().unwrap()).enumerate() {
        let at = i / 4 * 3 + class as usize;
        assert!((log - data[at].ln()).abs() < 1e-6);
        want[at] += 1.0 / data[at];
    }
    let walk = Walk { retain_graph: false, create_graph: false, train_mode: true };
    backward(&[outs[1].clone()], &[None], walk).unwrap();
    let got = rows.grad().unwrap().tensor().unwrap().to_vec::<f32>().unwrap();
    assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-5), "{got:?} {want:?}");
}

#[test]
fn shuffles() {
    let ten: Vec<f32> = (0..10).map(|i| i as f32).collect();
    let run = |shape: &[usize]| {
        let _one = seeded(0);
        let data = Var::new(Tensor::from_slice(shape, &ten).unwrap());
        call("shuffle", &[data], &[]).unwrap().to_vec::<f32>().unwrap()
    };
    assert_eq!(run(&[10]), [0., 2., 3., 5., 9., 1., 6., 8., 4., 7.]);
    assert_eq!(run(&[10, 1]), [1., 0., 6., 2., 4., 3., 7., 8., 9., 5.]);
    let pairs = run(&[5, 2]);
    assert!(pairs.chunks(2).all(|p| p[1] == p[0] + 1.0));
    let empty = Var::new(Tensor::from_slice::<f32>(&[0, 3], &[]).unwrap());
    assert_eq!(call("shuffle", &[empty], &[]).unwrap().shape(), &[0, 3]);
}

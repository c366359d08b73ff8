//! Products, layers, normalization, losses and optimizer updates through the Rust surface.

mod nn_support;

use nn_support::*;
use oxgrad::autograd::backward::Walk;
use oxgrad::autograd::{GradReq, NDArray, backward};
use oxgrad::base::DType;
use oxgrad::base::error::catch;
use oxgrad::cpu::random;
use oxgrad::graph::mode::Scope;
use oxgrad::graph::{Param, Var};
use oxgrad::ops;
use oxgrad::tensor::Tensor;

// ---- products -------------------------------------------------------------------------------------------------------

#[test]
fn products_differentiate_twice() {
    let (yes, wide) = (Param::Bool(true), (-2.0, 2.0));
    let (ta, tb) = (("transpose_a", yes.clone()), ("transpose_b", yes));
    check_gradients("dot", &[&[2, 3], &[3, 4]], wide, &[]);
    check_gradients("dot", &[&[3, 2], &[3, 4]], wide, std::slice::from_ref(&ta));
    check_gradients("dot", &[&[2, 3], &[4, 3]], wide, std::slice::from_ref(&tb));
    check_gradients("dot", &[&[3, 2], &[4, 3]], wide, &[ta.clone(), tb.clone()]);
    check_gradients("dot", &[&[3], &[3]], wide, &[]);
    check_gradients("dot", &[&[2, 3, 2], &[2, 3]], wide, &[]);
    check_gradients("dot", &[&[2, 3], &[2, 2, 3]], wide, std::slice::from_ref(&tb));
    check_gradients("dot", &[&[2, 3, 2], &[2, 2]], wide, std::slice::from_ref(&ta));
    check_gradients("batch_dot", &[&[2, 2, 3], &[2, 3, 2]], wide, &[]);
    check_gradients("batch_dot", &[&[2, 3, 2], &[2, 2, 3]], wide, &[ta, tb]);
}

#[test]
fn dot_of_a_transposed_view() {
    let (m, k, n) = (40, 50, 30);
    let (a, b) = (spread(&[k, m], 1, -1.0, 1.0), spread(&[k, n], 2, -1.0, 1.0));
    let (va, vb) = (var(&[k, m], &a), var(&[k, n], &b));
    let turned = catch(|| va.transpose(&[1, 0])).unwrap();
    let got = floats(&call("dot", &[&turned, &vb], &[])[0]);
    let want: Vec<f64> = (0..m * n).map(|i| (0..k).map(|p| a[p * m + i / n] * b[p * n + i % n]).sum()).collect();
    assert_close(&got, &want, 1e-12, "dot");
}

#[test]
fn products_of_odd_shapes_and_dtypes() {
    let empty = var::<f32>(&[2, 0], &[]);
    assert_eq!(floats(&call("dot", &[&empty, &var::<f32>(&[0, 3], &[])], &[])[0]), [0.0; 6]);
    let half = call("cast", &[&ones(&[2, 3])], &[("dtype", dtype("float16"))]).remove(0);
    let got = call("dot", &[&half, &half], &[("transpose_b", Param::Bool(true))]).remove(0);
    assert_eq!((got.dtype(), floats(&got)), (DType::F16, vec![3.0; 4]));
    assert_eq!(call("dot", &[&ones(&[3]), &ones(&[3])], &[])[0].shape(), [1]);
    assert!(error("dot", &[&ones(&[2, 3]), &ones(&[2, 3])], &[]).contains("(2, 3) and (2, 3)"));
    let whole = var::<i32>(&[2, 2], &[1; 4]);
    assert!(error("dot", &[&whole, &whole], &[]).contains("int32"));
    assert!(error("dot", &[&ones(&[3]), &ones(&[3])], &[("transpose_a", Param::Bool(true))]).contains("transposed"));
    assert!(error("batch_dot", &[&ones(&[2, 2, 3]), &ones(&[1, 3, 2])], &[]).contains("batch_dot"));
}

#[test]
fn stacks_of_matrices_run_on_all_threads() {
    let (b, m) = (64, 20);
    let x = spread(&[b, m, m], 1, -1.0, 1.0);
    let v = var(&[b, m, m], &x);
    let got = floats(&call("batch_dot", &[&v, &v], &[])[0]);
    let want: Vec<f64> = (0..b * m * m)
        .map(|i| {
            let (s, r, c) = (i / (m * m) * m * m, i / m % m, i % m);
            (0..m).map(|p| x[s + r * m + p] * x[s + p * m + c]).sum()
        })
        .collect();
    assert_close(&got, &want, 1e-12, "batch_dot");
}

// ---- layers ---------------------------------------------------------------------------------------------------------

#[test]
fn dense_layer() {
    let hidden = ("num_hidden", Param::Int(2));
    check_gradients("FullyConnected", &[&[3, 2, 2], &[2, 4], &[2]], (-1.0, 1.0), std::slice::from_ref(&hidden));
    let (x, w, b) = (ones(&[4, 3]), ones(&[2, 3]), ones(&[2]));
    assert_eq!(floats(&call("FullyConnected", &[&x, &w, &b], std::slice::from_ref(&hidden))[0]), [4.0; 8]);
    assert!(error("FullyConnected", &[&x, &w], std::slice::from_ref(&hidden)).contains("got 2, expected 3"));
    assert!(error("FullyConnected", &[&x, &ones(&[2, 4]), &b], &[hidden]).contains("weight, got shape (2, 4)"));
}

#[test]
fn activations_differentiate_twice() {
    for kind in ["sigmoid", "tanh", "softrelu", "softsign", "relu"] {
        check_gradients("Activation", &[&[2, 3]], (0.1, 2.0), &[("act_type", text(kind))]);
    }
    for kind in ["leaky", "elu", "selu", "gelu"] {
        check_gradients("LeakyReLU", &[&[2, 3]], (-2.0, -0.1), &[("act_type", text(kind))]);
        check_gradients("LeakyReLU", &[&[2, 3]], (0.1, 2.0), &[("act_type", text(kind))]);
    }
    check_gradients("LeakyReLU", &[&[2, 3, 2], &[3]], (-2.0, -0.1), &[("act_type", text("prelu"))]);
    assert!(error("Activation", &[&ones(&[2])], &[]).contains("act_type"));
    assert!(error("LeakyReLU", &[&ones(&[2, 3]), &ones(&[4])], &[("act_type", text("prelu"))]).contains("(4,)"));
    let slopes = call("LeakyReLU", &[&var(&[2], &[-1f32, 2.0])], &[("act_type", text("rrelu"))]);
    assert_close(&floats(&slopes[0]), &[-0.2295, 2.0], 1e-6, "rrelu");
}

#[test]
fn dropout_draws_the_numbers_of_mxnet() {
    let cases = [
        ("float32", vec![], "100001111010100011100111111111"),
        ("float32", vec![0i64], "100001000010000100001000010000"),
        ("float64", vec![], "001100001011111011010101001111"),
        ("float64", vec![0i64], "001100011000110001100011000110"),
    ];
    for (name, axes, want) in cases {
        random::with_streams(|s| s.seed(7));
        let x = call("cast", &[&ones(&[6, 5])], &[("dtype", dtype(name))]).remove(0);
        let _scope = Scope::enter(None, Some(true));
        let y = floats(&call("Dropout", &[&x], &[("p", Param::Float(0.4)), ("axes", ints(&axes))])[0]);
        let kept: String = y.iter().map(|&v| if v == 0.0 { '0' } else { '1' }).collect();
        assert_eq!(kept, want, "{name} {axes:?}");
        assert!(y.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.6).abs() < 1e-6));
    }
    let x = ones(&[3]);
    assert_eq!(floats(&call("Dropout", &[&x], &[])[0]), [1.0; 3]);
    assert_eq!(floats(&call("Dropout", &[&x], &[("p", Param::Float(1.0)), ("mode", text("always"))])[0]), [0.0; 3]);
    assert!(error("Dropout", &[&x], &[("p", Param::Float(1.5))]).contains("1.5"));
}

// ---- softmax --------------------------------------------------------------------------------------------------------

#[test]
fn softmax_differentiates_twice() {
    for name in ["softmax", "log_softmax", "softmin"] {
        check_gradients(name, &[&[2, 4]], (-2.0, 2.0), &[]);
        check_gradients(
            name,
            &[&[2, 3, 2]],
            (-2.0, 2.0),
            &[("axis", Param::Int(1)), ("temperature", Param::Float(2.0))],
        );
    }
    check_gradients("SoftmaxActivation", &[&[2, 3, 2]], (-2.0, 2.0), &[]);
}

/// Softmax and its logarithm in float64, of rows with a step between elements.
fn reference(x: &[f64], outer: usize, n: usize, inner: usize, log: bool) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    for (o, c) in (0..outer).flat_map(|o| (0..inner).map(move |c| (o, c))) {
        let at = |i: usize| (o * n + i) * inner + c;
        let top = (0..n).map(|i| x[at(i)]).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = (0..n).map(|i| (x[at(i)] - top).exp()).sum();
        (0..n)
            .for_each(|i| out[at(i)] = if log { x[at(i)] - top - total.ln() } else { (x[at(i)] - top).exp() / total });
    }
    out
}

#[test]
fn softmax_of_large_arrays() {
    for (shape, axis) in [([300, 1000, 1], 1), ([2, 70, 900], 1), ([500, 7, 3], 0), ([1, 1, 100_003], 2)] {
        let x: Vec<f32> = spread(&shape, 1, -9.0, 9.0).iter().map(|&v| v as f32).collect();
        let wide: Vec<f64> = x.iter().map(|&v| v as f64).collect();
        let (outer, inner) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
        for (name, log) in [("softmax", false), ("log_softmax", true)] {
            let got = floats(&call(name, &[&var(&shape, &x)], &[("axis", Param::Int(axis as i64))])[0]);
            assert_close(&got, &reference(&wide, outer, shape[axis], inner, log), 3e-7, name);
        }
    }
}

#[test]
fn softmax_corners() {
    let x = var(&[1, 2], &[1000f32, 0.0]);
    assert_eq!(floats(&call("softmax", &[&x], &[])[0]), [1.0, 0.0]);
    let none = var(&[1, 2], &[f32::NEG_INFINITY; 2]);
    assert!(floats(&call("softmax", &[&none], &[])[0]).iter().all(|v| v.is_nan()));
    let lengths = var(&[2], &[0i32, 2]);
    let cut = [("use_length", Param::Bool(true))];
    assert_eq!(floats(&call("softmax", &[&ones(&[2, 3]), &lengths], &cut)[0]), [0.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
    assert_eq!(call("softmax", &[&x], &[("dtype", dtype("float64"))])[0].dtype(), DType::F64);
    assert_eq!(call("softmax", &[&var::<f32>(&[0, 3], &[])], &[])[0].shape(), [0, 3]);
    assert_eq!(call("softmax", &[&var::<f32>(&[3, 0], &[])], &[("axis", Param::Int(0))])[0].shape(), [3, 0]);
    assert!(error("softmax", &[&ones(&[2, 3])], &[("axis", Param::Int(2))]).contains("got 2"));
    assert!(error("softmax", &[&ones(&[2, 3]), &lengths], &[]).contains("use_length"));
}

// ---- normalization --------------------------------------------------------------------------------------------------

#[test]
fn normalization_differentiates_twice() {
    let stats = ("output_mean_var", Param::Bool(true));
    let wide = (-2.0, 2.0);
    check_gradients("LayerNorm", &[&[2, 4], &[4], &[4]], wide, &[]);
    check_gradients("LayerNorm", &[&[3, 2], &[3], &[3]], wide, &[("axis", Param::Int(0)), stats.clone()]);
    check_gradients("InstanceNorm", &[&[1, 2, 3], &[2], &[2]], wide, &[]);
    check_gradients("GroupNorm", &[&[1, 4, 2], &[2], &[2]], wide, &[("num_groups", Param::Int(2)), stats]);
    for mode in ["instance", "channel", "spatial"] {
        check_gradients("L2Normalization", &[&[2, 2, 2]], (0.5, 2.0), &[("mode", text(mode))]);
    }
    check_gradients("LRN", &[&[1, 4, 2]], (0.5, 2.0), &[("nsize", Param::Int(3)), ("alpha", Param::Float(0.5))]);
}

#[test]
fn layer_norm_of_large_arrays() {
    let (rows, n) = (500, 700);
    let x: Vec<f32> = spread(&[rows, n], 1, 90.0, 110.0).iter().map(|&v| v as f32).collect();
    let outs =
        call("LayerNorm", &[&var(&[rows, n], &x), &ones(&[n]), &ones(&[n])], &[("output_mean_var", Param::Bool(true))]);
    let (y, mean, std) = (floats(&outs[0]), floats(&outs[1]), floats(&outs[2]));
    for r in [0, 1, 77, rows - 1] {
        let row: Vec<f64> = x[r * n..(r + 1) * n].iter().map(|&v| v as f64).collect();
        let m = row.iter().sum::<f64>() / n as f64;
        let s = (row.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / n as f64 + 1e-5).sqrt();
        assert_close(&[mean[r], std[r]], &[m, s], 1e-6, "statistics");
        let want: Vec<f64> = row.iter().map(|v| (v - m) / s + 1.0).collect();
        assert_close(&y[r * n..(r + 1) * n], &want, 2e-6, "layer norm");
    }
    assert!(error("LayerNorm", &[&ones(&[2, 3]), &ones(&[2]), &ones(&[3])], &[]).contains("gamma"));
}

#[test]
fn batch_norm_trains_and_infers() {
    let shapes: &[&[usize]] = &[&[2, 3, 2], &[3], &[3], &[3], &[3]];
    let ins: Vec<Var> = shapes.iter().enumerate().map(|(k, s)| var(s, &spread(s, k, 0.5, 2.0))).collect();
    let refs: Vec<&Var> = ins.iter().collect();
    let free = ("fix_gamma", Param::Bool(false));
    let still = call("BatchNorm", &refs, std::slice::from_ref(&free));
    let (x, f) = (floats(&ins[0]), |k: usize| floats(&ins[k]));
    let want: Vec<f64> = (0..12)
        .map(|i| {
            let c = i / 2 % 3;
            (x[i] - f(3)[c]) / (f(4)[c] + 1e-3).sqrt() * f(1)[c] + f(2)[c]
        })
        .collect();
    assert_close(&floats(&still[0]), &want, 1e-12, "inference");
    assert_eq!((floats(&still[1]), floats(&still[2])), (f(3), f(4)));
    let _scope = Scope::enter(None, Some(true));
    let outs = call("BatchNorm", &refs, &[free]);
    for c in 0..3 {
        let of: Vec<f64> = (0..12).filter(|i| i / 2 % 3 == c).map(|i| x[i]).collect();
        let m = of.iter().sum::<f64>() / 4.0;
        let v = of.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / 4.0;
        assert_close(
            &[floats(&outs[1])[c], floats(&outs[2])[c]],
            &[0.9 * f(3)[c] + 0.1 * m, 0.9 * f(4)[c] + 0.1 * v],
            1e-12,
            "moving statistics",
        );
    }
}

#[test]
fn batch_norm_differentiates() {
    let arrays: Vec<NDArray> = [&[2usize, 3, 2][..], &[3], &[3]]
        .iter()
        .enumerate()
        .map(|(k, s)| NDArray::from_tensor(Tensor::from_slice(s, &spread(s, k, 0.5, 2.0)).unwrap()))
        .collect();
    arrays.iter().for_each(|a| a.attach_grad(GradReq::Write).unwrap());
    let op = op("BatchNorm");
    let run = |nudge: Option<(usize, usize, f64)>| {
        let mut ins: Vec<Var> = arrays.iter().map(|a| a.var().unwrap()).collect();
        if let Some((k, i, by)) = nudge {
            let mut data = floats(&ins[k]);
            data[i] += by;
            ins[k] = var(ins[k].shape(), &data);
        }
        ins.extend([ones(&[3]).tensor, ones(&[3]).tensor].map(|t| Var::new(t.cast(DType::F64).unwrap())));
        loss(op, &ins, &args(op, &[("fix_gamma", Param::Bool(false))]))
    };
    let _scope = Scope::enter(Some(true), Some(true));
    backward(&[run(None)], &[None], Walk { retain_graph: false, create_graph: false, train_mode: true }).unwrap();
    for (k, array) in arrays.iter().enumerate() {
        let got = floats(&array.grad().unwrap().var().unwrap());
        for (i, got) in got.iter().enumerate() {
            let want = (floats(&run(Some((k, i, 1e-5))))[0] - floats(&run(Some((k, i, -1e-5))))[0]) / 2e-5;
            assert!((got - want).abs() < 1e-6 * (1.0 + want.abs()), "{k} [{i}]: {got} {want}");
        }
    }
}

// ---- losses ---------------------------------------------------------------------------------------------------------

/// The gradient of a loss layer with respect to its data, for a head gradient of seven.
fn layer_gradient(name: &str, data: &[f64], shape: &[usize], rest: &[&Var], given: &[(&str, Param)]) -> Vec<f64> {
    let x = NDArray::from_tensor(Tensor::from_slice(shape, data).unwrap());
    x.attach_grad(GradReq::Write).unwrap();
    let v = x.var().unwrap();
    let _scope = Scope::enter(Some(true), Some(true));
    let mut ins = vec![&v];
    ins.extend(rest);
    let y = call(name, &ins, given).remove(0);
    let head = var(y.shape(), &vec![7f64; y.numel()]);
    backward(&[y], &[Some(head)], Walk { retain_graph: false, create_graph: false, train_mode: true }).unwrap();
    floats(&x.grad().unwrap().var().unwrap())
}

#[test]
fn loss_layers_ignore_the_head_gradient() {
    let (x, label) = (spread(&[2, 3], 1, -1.0, 1.0), var(&[2], &[2f64, 0.0]));
    let p = reference(&x, 2, 3, 1, false);
    let t = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
    let want: Vec<f64> = p.iter().zip(t).map(|(p, t)| p - t).collect();
    assert_close(&layer_gradient("SoftmaxOutput", &x, &[2, 3], &[&label], &[]), &want, 1e-12, "SoftmaxOutput");
    let halves: Vec<f64> = want.iter().map(|v| v / 2.0).collect();
    let batch = [("normalization", text("batch"))];
    assert_close(&layer_gradient("SoftmaxOutput", &x, &[2, 3], &[&label], &batch), &halves, 1e-12, "batch");
    let times: Vec<f64> = want.iter().map(|v| v * 7.0).collect();
    let through = [("out_grad", Param::Bool(true))];
    assert_close(&layer_gradient("SoftmaxOutput", &x, &[2, 3], &[&label], &through), &times, 1e-12, "out_grad");
    let target = var(&[2, 3], &t);
    let near: Vec<f64> = x.iter().zip(t).map(|(x, t)| (x - t) / 3.0).collect();
    assert_close(&layer_gradient("LinearRegressionOutput", &x, &[2, 3], &[&target], &[]), &near, 1e-12, "linear");
    let sign: Vec<f64> = near.iter().map(|v| v.signum() / 3.0).collect();
    assert_close(&layer_gradient("MAERegressionOutput", &x, &[2, 3], &[&target], &[]), &sign, 1e-12, "absolute");
    assert_eq!(layer_gradient("MakeLoss", &x, &[2, 3], &[], &[("grad_scale", Param::Float(2.0))]), [2.0; 6]);
    assert!(error("SoftmaxOutput", &[&ones(&[2, 3]), &ones(&[5])], &[]).contains("label"));
    assert!(error("LinearRegressionOutput", &[&ones(&[2, 3]), &ones(&[4, 3])], &[]).contains("(4, 3)"));
}

#[test]
fn cross_entropy_is_the_sum_over_rows() {
    let x = spread(&[2, 3], 1, -1.0, 1.0);
    let log = reference(&x, 2, 3, 1, true);
    let got = call("softmax_cross_entropy", &[&var(&[2, 3], &x), &var(&[2], &[2f64, 0.0])], &[]).remove(0);
    assert_eq!(got.shape(), [1]);
    assert_close(&floats(&got), &[-(log[2] + log[3])], 1e-12, "cross entropy");
}

// ---- optimizers -----------------------------------------------------------------------------------------------------

#[test]
fn updates_give_the_weight_and_the_states() {
    let (w, g, m) = (var(&[2], &[1.0, -2.0]), var(&[2], &[0.5, 4.0]), var(&[2], &[0.25, 0.5]));
    let lr = ("lr", Param::Float(0.125));
    let outs =
        call("sgd_update", &[&w, &g], &[lr.clone(), ("wd", Param::Float(0.5)), ("clip_gradient", Param::Float(1.0))]);
    assert_eq!(floats(&outs[0]), [1.0 * 0.9375 - 0.0625, -2.0 * 0.9375 - 0.125]);
    let outs = call("sgd_mom_update", &[&w, &g, &m], &[lr.clone(), ("momentum", Param::Float(0.5))]);
    assert_eq!(floats(&outs[1]), [0.125 - 0.0625, 0.25 - 0.5]);
    assert_eq!(floats(&outs[0]), [1.0625, -2.25]);
    let outs = call(
        "adam_update",
        &[&w, &g, &m, &m],
        &[lr.clone(), ("beta1", Param::Float(0.5)), ("beta2", Param::Float(0.75)), ("epsilon", Param::Float(0.0))],
    );
    assert_eq!((floats(&outs[1]), floats(&outs[2])), (vec![0.375, 2.25], vec![0.25, 4.375]));
    assert_close(&floats(&outs[0]), &[1.0 - 0.125 * 0.375 / 0.5, -2.0 - 0.125 * 2.25 / 4.375f64.sqrt()], 1e-12, "adam");
    for name in ["sgd_update", "signsgd_update"] {
        assert!(error(name, &[&w, &ones(&[3])], std::slice::from_ref(&lr)).contains("shape"), "{name}");
    }
    for op in ops::optim::OPS {
        assert!(op.writes.iter().all(|&i| i >= 1 && i < op.inputs.len()), "{}", op.name);
    }
}

#[test]
fn mixed_precision_keeps_a_float32_weight() {
    let half = |v: &Var| call("cast", &[v], &[("dtype", dtype("float16"))]).remove(0);
    let (w, g, w32) = (half(&ones(&[2])), half(&ones(&[2])), ones(&[2]));
    let outs = call("mp_sgd_update", &[&w, &g, &w32], &[("lr", Param::Float(0.0001))]);
    assert_eq!((outs[0].dtype(), outs[1].dtype()), (DType::F16, DType::F32));
    assert_close(&floats(&outs[1]), &[0.9999; 2], 1e-7, "master copy");
}

// ---- convolution and pooling ----------------------------------------------------------------------------------------

/// A convolution of one sample by its definition.
fn convolved(
    x: &[f64],
    w: &[f64],
    [c, h, wd]: [usize; 3],
    [f, kh, kw]: [usize; 3],
    stride: usize,
    pad: usize,
) -> Vec<f64> {
    let (oh, ow) = ((h + 2 * pad - kh) / stride + 1, (wd + 2 * pad - kw) / stride + 1);
    let at = |ch: usize, i: usize, j: usize| {
        let inside = i >= pad && j >= pad && i < h + pad && j < wd + pad;
        if inside { x[(ch * h + i - pad) * wd + j - pad] } else { 0.0 }
    };
    let place = |n: usize| {
        let (o, i, j) = (n / (oh * ow), n / ow % oh * stride, n % ow * stride);
        let taps = (0..c * kh * kw).map(|t| (t / (kh * kw), t / kw % kh, t % kw));
        taps.enumerate().map(|(t, (ch, a, b))| at(ch, i + a, j + b) * w[o * c * kh * kw + t]).sum()
    };
    (0..f * oh * ow).map(place).collect()
}

#[test]
fn convolution_of_large_images() {
    for (n, c, side, f, k, stride, pad) in [(1, 16, 70, 24, 3, 1, 1), (5, 3, 33, 8, 5, 2, 2), (2, 32, 20, 16, 1, 1, 0)]
    {
        let (x, w) = (spread(&[n, c, side, side], 1, -1.0, 1.0), spread(&[f, c, k, k], 2, -1.0, 1.0));
        let given = [
            ("kernel", ints(&[k as i64; 2])),
            ("num_filter", Param::Int(f as i64)),
            ("stride", ints(&[stride as i64; 2])),
            ("pad", ints(&[pad as i64; 2])),
            ("no_bias", Param::Bool(true)),
        ];
        let got = floats(&call("Convolution", &[&var(&[n, c, side, side], &x), &var(&[f, c, k, k], &w)], &given)[0]);
        let part = got.len() / n;
        for i in [0, n - 1] {
            let want = convolved(&x[i * c * side * side..], &w, [c, side, side], [f, k, k], stride, pad);
            assert_close(&got[i * part..(i + 1) * part], &want, 1e-11, "convolution");
        }
    }
}

#[test]
fn convolutions_differentiate_twice() {
    let filters = |n: i64| ("num_filter", Param::Int(n));
    let wide = (-1.0, 1.0);
    check_gradients("Convolution", &[&[1, 2, 5], &[2, 2, 3], &[2]], wide, &[("kernel", ints(&[3])), filters(2)]);
    let two = [("kernel", ints(&[2, 2])), ("stride", ints(&[2, 1])), ("pad", ints(&[1, 0])), ("dilate", ints(&[1, 2]))];
    let grouped = [&two[..], &[filters(2), ("num_group", Param::Int(2))]].concat();
    check_gradients("Convolution", &[&[1, 2, 3, 4], &[2, 1, 2, 2], &[2]], wide, &grouped);
    let up = [("kernel", ints(&[3])), ("stride", ints(&[2])), ("adj", ints(&[1])), filters(2)];
    check_gradients("Deconvolution", &[&[1, 2, 3], &[2, 2, 3]], wide, &up);
}

#[test]
fn pooling_differentiates_twice() {
    for kind in ["max", "avg", "sum"] {
        let given = [("kernel", ints(&[2, 2])), ("pad", ints(&[1, 0])), ("pool_type", text(kind))];
        check_gradients("Pooling", &[&[1, 1, 3, 4]], (0.5, 2.0), &given);
    }
    let lp = [("kernel", ints(&[2])), ("pool_type", text("lp")), ("p_value", Param::Int(3))];
    check_gradients("Pooling", &[&[1, 2, 4]], (0.5, 2.0), &lp);
}

#[test]
fn convolution_and_pooling_say_what_is_wrong() {
    let (x, w, k) = (ones(&[1, 2, 4, 4]), ones(&[3, 2, 3, 3]), ("kernel", ints(&[3, 3])));
    let given = |extra: (&'static str, Param)| {
        [k.clone(), ("num_filter", Param::Int(3)), ("no_bias", Param::Bool(true)), extra]
    };
    assert!(error("Convolution", &[&x, &w], &given(("stride", ints(&[2])))).contains("stride, got 1"));
    assert!(error("Convolution", &[&x, &w], &given(("stride", ints(&[0, 1])))).contains("stride"));
    assert!(error("Convolution", &[&x, &w], &given(("num_group", Param::Int(2)))).contains("num_group"));
    assert!(error("Convolution", &[&ones(&[1, 2, 2, 2]), &w], &given(("pad", ints(&[])))).contains("kernel"));
    assert!(error("Deconvolution", &[&x, &ones(&[3, 3, 3, 3])], &given(("pad", ints(&[])))).contains("weight"));
    assert!(error("Pooling", &[&ones(&[4, 4])], std::slice::from_ref(&k)).contains("(4, 4)"));
    assert!(error("Pooling", &[&x], &[k.clone(), ("pool_type", text("median"))]).contains("median"));
    assert!(error("Pooling", &[&x], &[("kernel", ints(&[5, 5]))]).contains("kernel"));
}

//! Planes made larger, smaller, cut, or sampled at other places.

use crate::base::layout::show;
use crate::base::{Error, Result};
use crate::ensure;
use crate::graph::params::Ints;
use crate::graph::{Check, Grad, Kind, Op, Var, apply1};
use crate::ops::Ops;
use crate::ops::conv::{DECONVOLUTION, DeconvParams};
use crate::ops::expr::one;
use crate::ops::getitem::index_var;
use crate::ops::init::checked_shape;
use crate::ops::repeat::{REPEAT, RepeatParams};
use crate::ops::rounding::FLOOR;
use crate::tensor::Tensor;
use smallvec::smallvec;
use std::sync::Arc;

const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

/// Batch, channels, height and width.
fn image(name: &str, x: &Var) -> Result<[usize; 4]> {
    match *x.shape() {
        [n, c, h, w] => Ok([n, c, h, w]),
        _ => Err(Error::op(format_args!(
            "{name}: data, got shape {}, expected (batch, channels, height, width)",
            show(x.shape())
        ))),
    }
}

/// A matrix from a function of row and column, in the dtype of an array.
fn matrix(like: &Var, rows: usize, columns: usize, at: impl Fn(usize, usize) -> f64) -> Result<Var> {
    crate::base::buffer::probe(rows.saturating_mul(columns).saturating_mul(8))?;
    let all: Vec<f64> = (0..rows * columns).map(|k| at(k / columns, k % columns)).collect();
    Ok(Var::new(Tensor::from_slice(&[rows, columns], &all)?.cast(like.dtype())?.on_device(like.tensor.device())?))
}

/// Whether there is memory for planes of another size: asked before anything is made for them.
fn room(x: &Var, [height, width]: [usize; 2]) -> Result<()> {
    let shape = [x.shape()[0], x.shape()[1], height, width];
    crate::base::buffer::probe(crate::base::layout::bytes(&shape, x.dtype())?)
}

/// Rows and columns of each plane mixed by two matrices.
fn mixed(x: &Var, rows: &Var, columns: &Var) -> Var {
    let s = x.shape();
    let wide = x.reshape(&[s[0] * s[1] * s[2], s[3]]).dot(columns, false, true);
    let (h, w) = (rows.shape()[0], columns.shape()[0]);
    let turned = wide.reshape(&[s[0] * s[1], s[2], w]).transpose(&[0, 2, 1]).reshape(&[s[0] * s[1] * w, s[2]]);
    turned.dot(rows, false, true).reshape(&[s[0] * s[1], w, h]).transpose(&[0, 2, 1]).reshape(&[s[0], s[1], h, w])
}

// ---- UpSampling and Crop --------------------------------------------------------------------------------------------

crate::params! {
    pub struct UpParams {
        scale: i64, K::Int, D::Required, "How many times larger the first array becomes.";
        num_filter: i64, K::Int, D::Int(0), "Number of channels, for `bilinear`.";
        sample_type: Arc<str>, K::Choice(&["nearest", "bilinear"]), D::Required, "Copies, or a transposed convolution with `weight`.";
        multi_input_mode: Arc<str>, K::Choice(&["concat", "sum"]), D::Str("concat"), "What becomes of several arrays.";
        num_args: Option<i64>, K::Ignored, D::None, "The number of arrays; found out by itself.";
        workspace: Option<i64>, K::Ignored, D::None, "Ignored.";
    }
}

fn up(v: &[Var], p: UpParams) -> Result<Var> {
    ensure!(!v.is_empty(), "UpSampling: at least one array expected, got none");
    ensure!(p.scale > 0 && p.scale < 1 << 20, "UpSampling: scale, got {}, expected a positive number", p.scale);
    let [_, channels, height, width] = image("UpSampling", &v[0])?;
    if &*p.sample_type == "bilinear" {
        ensure!(v.len() == 2, "UpSampling: bilinear takes data and weight, got {} arrays", v.len());
        ensure!(p.num_filter == channels as i64, "UpSampling: num_filter, got {}, expected {channels}", p.num_filter);
        let (kernel, pad) = (2 * p.scale - p.scale % 2, p.scale / 2);
        let args = DeconvParams {
            kernel: smallvec![kernel; 2],
            stride: smallvec![p.scale; 2],
            dilate: smallvec![],
            pad: smallvec![pad; 2],
            adj: smallvec![],
            target_shape: smallvec![],
            num_filter: p.num_filter,
            num_group: p.num_filter,
            workspace: None,
            no_bias: true,
            cudnn_tune: None,
            cudnn_off: None,
            layout: None,
        };
        return apply1(&DECONVOLUTION, v, &args.args());
    }
    let (height, width) = (height * p.scale as usize, width * p.scale as usize);
    let larger = |x: &Var| -> Result<Var> {
        let [_, _, h, w] = image("UpSampling", x)?;
        let times = height.checked_div(h).unwrap_or(1);
        ensure!(
            h * times == height && w * times == width,
            "UpSampling: got shape {}, which does not scale to {height} x {width}",
            show(x.shape())
        );
        let repeat = |x: &Var, axis| x.with(&REPEAT, RepeatParams { repeats: times as i64, axis: Some(axis) }.args());
        Ok(repeat(&repeat(x, 2), 3))
    };
    let parts = v.iter().map(larger).collect::<Result<Vec<_>>>()?;
    Ok(match &*p.multi_input_mode {
        "sum" => parts[1..].iter().fold(parts[0].clone(), |sum, x| sum + x),
        _ if parts.len() == 1 => parts[0].clone(),
        _ => Var::concat(&parts, 1),
    })
}

pub static UP_SAMPLING: Op = Op {
    name: "UpSampling",
    aliases: &[],
    doc: "Planes made larger by a whole number; several arrays are brought to one size and joined.",
    inputs: &["*data"],
    params: UpParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| one(up(v, UpParams::read(args)))),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda *data, scale, sample_type, num_filter=0: data[0].repeat(scale, 2).repeat(scale, 3) if sample_type == 'nearest' else \
               deconv(data[0], data[1], (scale, scale))[:, :, 1:-1, 1:-1]",
        calls: &[
            (&[&[1, 2, 2, 3]], "scale=2, sample_type='nearest'"),
            (&[&[1, 1, 2, 3], &[1, 1, 4, 4]], "scale=2, sample_type='bilinear', num_filter=1"),
        ],
    },
};

crate::params! {
    pub struct CropParams {
        num_args: i64, K::Int, D::Required, "1, or 2 where the size is that of a second array.";
        offset: Ints, K::Ints, D::Ints(&[0, 0]), "Where the part begins: row and column.";
        h_w: Ints, K::Ints, D::Ints(&[0, 0]), "Height and width of the part.";
        center_crop: bool, K::Bool, D::Bool(false), "Whether the part is in the middle.";
    }
}

fn crop(v: &[Var], p: CropParams) -> Result<Var> {
    ensure!(v.len() as i64 == p.num_args && v.len() <= 2, "Crop: num_args, got {} for {} arrays", p.num_args, v.len());
    let size = image("Crop", &v[0])?;
    ensure!(p.h_w.len() == 2 && p.offset.len() == 2, "Crop: h_w and offset, expected two numbers each");
    let part = match v.get(1) {
        Some(like) => image("Crop", like)?.map(|d| d as i64),
        None => [0, 0, p.h_w[0], p.h_w[1]],
    };
    let mut out = v[0].clone();
    for axis in [2, 3] {
        let (whole, len) = (size[axis] as i64, part[axis]);
        let start = if p.center_crop { (whole - len) / 2 } else { p.offset[axis - 2] };
        ensure!(
            len > 0 && start >= 0 && len <= whole && start <= whole - len,
            "Crop: axis {axis}, got {len} from {start}, expected a part of {whole}"
        );
        out = out.slice(axis, start, 1, len as usize);
    }
    Ok(out)
}

pub static CROP: Op = Op {
    name: "Crop",
    aliases: &[],
    doc: "A part of each plane, of a given size or as large as another array.",
    inputs: &["*data"],
    params: CropParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| one(crop(v, CropParams::read(args)))),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, *like, num_args, h_w=(3, 2), offset=(0, 0): \
               data[:, :, offset[0]:offset[0] + h_w[0], offset[1]:offset[1] + h_w[1]]",
        calls: &[
            (&[&[1, 2, 4, 4]], "num_args=1, h_w=(2, 3), offset=(1, 0)"),
            (&[&[1, 1, 4, 4], &[1, 1, 3, 2]], "num_args=2"),
        ],
    },
};

// ---- other sizes ----------------------------------------------------------------------------------------------------

crate::params! {
    pub struct ResizeParams {
        height: i64, K::Int, D::Int(1), "Height of the result, for mode `size`.";
        width: i64, K::Int, D::Int(1), "Width of the result, for mode `size`.";
        scale_height: Option<f64>, K::Float, D::None, "How many times higher.";
        scale_width: Option<f64>, K::Float, D::None, "How many times wider.";
        mode: Arc<str>, K::Choice(&["size", "odd_scale", "like", "to_even_down", "to_even_up", "to_odd_down", "to_odd_up"]),
            D::Str("size"), "How the size of the result follows.";
        align_corners: bool, K::Bool, D::Bool(true), "Whether the middles of the corners stay where they are.";
    }
}

fn resized(v: &[Var], p: ResizeParams) -> Result<Var> {
    let name = "BilinearResize2D";
    let [_, _, h, w] = image(name, &v[0])?;
    ensure!(h > 0 && w > 0, "{name}: data, got shape {}, expected elements", show(v[0].shape()));
    let even = |n: usize| n.is_multiple_of(2);
    let side = |n: usize, scale: Option<f64>, given: i64, like: usize| -> Result<usize> {
        let out = match (&*p.mode, scale) {
            ("size", None) => given as f64,
            ("size", Some(s)) => (n as f64 * s).floor(),
            ("odd_scale", s) if even(n) => (n as f64 * s.unwrap_or(1.0)).floor(),
            ("odd_scale", s) => ((n as f64 - 1.0) * s.unwrap_or(1.0)).floor() + 1.0,
            ("like", _) => like as f64,
            ("to_even_down", _) if !even(n) => n as f64 - 1.0,
            ("to_even_up", _) if !even(n) => n as f64 + 1.0,
            ("to_odd_down", _) if even(n) => n as f64 - 1.0,
            ("to_odd_up", _) if even(n) => n as f64 + 1.0,
            _ => n as f64,
        };
        ensure!(out >= 1.0 && out < 1e9, "{name}: the result would be {out} long, expected 1 or more");
        Ok(out as usize)
    };
    let like = match (v.get(1), &*p.mode == "like") {
        (Some(like), true) => image(name, like)?,
        (None, false) => [0; 4],
        _ => return Err(Error::op(format_args!("{name}: a second array goes with mode 'like'"))),
    };
    let out = [side(h, p.scale_height, p.height, like[2])?, side(w, p.scale_width, p.width, like[3])?];
    room(&v[0], out)?;
    let blend = |n: usize, m: usize| {
        matrix(&v[0], m, n, |i, j| {
            let at = match p.align_corners {
                true if m > 1 => i as f64 * (n - 1) as f64 / (m - 1) as f64,
                true => 0.0,
                false => ((i as f64 + 0.5) * n as f64 / m as f64 - 0.5).clamp(0.0, (n - 1) as f64),
            };
            (1.0 - (at - j as f64).abs()).max(0.0)
        })
    };
    Ok(mixed(&v[0], &blend(h, out[0])?, &blend(w, out[1])?))
}

pub static BILINEAR_RESIZE: Op = Op {
    name: "_contrib_BilinearResize2D",
    aliases: &[],
    doc: "Planes brought to another size, elements blended linearly along both axes.",
    inputs: &["data", "like?"],
    params: ResizeParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| one(resized(v, ResizeParams::read(args)))),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "",
        calls: &[
            (&[&[1, 2, 3, 4]], "height=5, width=2"),
            (&[&[1, 1, 3, 3]], "scale_height=2, scale_width=2, mode='odd_scale'"),
        ],
    },
};

crate::params! {
    pub struct AdaptiveParams { output_size: Ints, K::Ints, D::Ints(&[]), "Height and width of the result, or one number for both; 1 where absent."; }
}

fn adaptive(x: &Var, size: &[i64]) -> Result<Var> {
    let name = "AdaptiveAvgPooling2D";
    let [_, _, h, w] = image(name, x)?;
    let (rows, columns) = match *size {
        [] => (1, 1),
        [n] => (n, n),
        [a, b] => (a, b),
        _ => return Err(Error::op(format_args!("{name}: output_size, got {size:?}, expected one or two numbers"))),
    };
    ensure!(rows > 0 && columns > 0, "{name}: output_size, got {size:?}, expected positive numbers");
    room(x, [rows as usize, columns as usize])?;
    let share = |n: usize, m: usize| {
        matrix(x, m, n, |i, j| {
            let (start, end) = (i * n / m, ((i + 1) * n).div_ceil(m));
            if j >= start && j < end { 1.0 / (end - start) as f64 } else { 0.0 }
        })
    };
    Ok(mixed(x, &share(h, rows as usize)?, &share(w, columns as usize)?))
}

pub static ADAPTIVE_POOLING: Op = Op {
    name: "_contrib_AdaptiveAvgPooling2D",
    aliases: &[],
    doc: "Planes brought to a given size, each element the mean of its part of the input.",
    inputs: &["data"],
    params: AdaptiveParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| one(adaptive(&v[0], &AdaptiveParams::read(args).output_size))),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, output_size: data.reshape(*data.shape[:2], output_size, -1, output_size, data.shape[3] // output_size)\
               .mean((3, 5))",
        calls: &[(&[&[1, 2, 4, 6]], "output_size=2")],
    },
};

// ---- samples at other places ----------------------------------------------------------------------------------------

crate::params! {
    pub struct SamplerParams { cudnn_off: Option<bool>, K::Ignored, D::None, "Ignored."; }
}

fn sampled(name: &str, x: &Var, grid: &Var) -> Result<Var> {
    let [n, c, h, w] = image(name, x)?;
    let [m, two, rows, columns] = image(name, grid)?;
    ensure!(m == n && two == 2, "{name}: grid, got shape {}, expected ({n}, 2, …)", show(grid.shape()));
    ensure!(h > 0 && w > 0, "{name}: data, got shape {}, expected elements", show(x.shape()));
    // From -1 … 1 to positions; what lies outside is zero.
    let place =
        |k: i64, len: usize| (grid.slice(1, k, 1, 1).reshape(&[n, rows, columns]) + 1.0) * ((len as f64 - 1.0) / 2.0);
    let (px, py) = (place(0, w), place(1, h));
    let table = x.transpose(&[0, 2, 3, 1]).reshape(&[n * h * w, c]);
    let mut sum: Option<Var> = None;
    for (dy, dx) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
        let (cx, cy) = (px.detached().unary(&FLOOR) + dx, py.detached().unary(&FLOOR) + dy);
        let (at_x, at_y) = (cx.tensor.to_vec::<f64>()?, cy.tensor.to_vec::<f64>()?);
        let inside = |v: f64, len: usize| v >= 0.0 && v <= len as f64 - 1.0;
        let each = at_x.iter().zip(&at_y).enumerate();
        let (index, here): (Vec<i64>, Vec<f64>) = each
            .map(|(k, (&x, &y))| {
                let ok = inside(x, w) && inside(y, h);
                let row = (k / (rows * columns).max(1) * h * w) as i64;
                if ok { (row + y as i64 * w as i64 + x as i64, 1.0) } else { (row, 0.0) }
            })
            .unzip();
        let here = Tensor::from_slice(&[n, rows, columns], &here)?.cast(x.dtype())?;
        let here = Var::new(here.on_device(x.tensor.device())?);
        let near = |p: &Var, c: &Var| 1.0 - (p - c).abs();
        let weight = near(&px, &cx) * near(&py, &cy) * here;
        let found = table.take_rows(&index_var(&[n, rows, columns], &index)?);
        let part = found * weight.reshape(&[n, rows, columns, 1]);
        sum = Some(sum.map_or(part.clone(), |sum| sum + part));
    }
    sum.map(|s| s.transpose(&[0, 3, 1, 2])).ok_or_else(|| Error::op("no corner"))
}

pub static BILINEAR_SAMPLER: Op = Op {
    name: "BilinearSampler",
    aliases: &[],
    doc: "Elements of planes at the places of a grid, `x` and `y` from -1 to 1, blended linearly; zero outside.",
    inputs: &["data", "grid"],
    params: SamplerParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| one(sampled("BilinearSampler", &v[0], &v[1]))),
    grad: Grad::Composed,
    check: Check { range: Ok((-0.9, 0.9)), like: "", calls: &[(&[&[1, 2, 3, 4], &[1, 2, 2, 2]], "")] },
};

crate::params! {
    pub struct GridParams {
        transform_type: Arc<str>, K::Choice(&["affine", "warp"]), D::Required, "A 2 x 3 matrix for each image, or a flow in elements.";
        target_shape: Ints, K::Ints, D::Ints(&[0, 0]), "Height and width of the grid, for `affine`.";
    }
}

/// Places from -1 to 1.
fn even(i: usize, n: usize) -> f64 {
    if n > 1 { 2.0 * i as f64 / (n as f64 - 1.0) - 1.0 } else { -1.0 }
}

fn grid(name: &str, x: &Var, affine: bool, target: &[i64]) -> Result<Var> {
    if !affine {
        let [_, two, h, w] = image(name, x)?;
        ensure!(two == 2, "{name}: data, got shape {}, expected two channels", show(x.shape()));
        let side = |n: usize| ((n as f64 - 1.0) / 2.0).max(f64::MIN_POSITIVE);
        let start =
            matrix(x, 2, h * w, |k, i| if k == 0 { (i % w) as f64 } else { (i / w) as f64 })?.reshape(&[2, h, w]);
        let scale = matrix(x, 2, 1, |k, _| if k == 0 { side(w) } else { side(h) })?.reshape(&[2, 1, 1]);
        return Ok((x + start) / scale - 1.0);
    }
    let n = x.shape().first().copied().unwrap_or(0);
    ensure!(x.shape() == [n, 6], "{name}: the transform, got shape {}, expected (batch, 6)", show(x.shape()));
    let [h, w] = *target else {
        return Err(Error::op(format_args!("{name}: target_shape, got {target:?}, expected two numbers")));
    };
    ensure!(h > 0 && w > 0, "{name}: target_shape, got {target:?}, expected positive numbers");
    checked_shape(name, &[n as i64, 3, h, w], x.dtype())?;
    let (h, w) = (h as usize, w as usize);
    let places = matrix(x, 3, h * w, |k, i| match k {
        0 => even(i % w, w),
        1 => even(i / w, h),
        _ => 1.0,
    })?;
    Ok(x.reshape(&[n * 2, 3]).dot(&places, false, false).reshape(&[n, 2, h, w]))
}

pub static GRID_GENERATOR: Op = Op {
    name: "GridGenerator",
    aliases: &[],
    doc: "The grid that `BilinearSampler` takes, from affine transforms or from a flow.",
    inputs: &["data"],
    params: GridParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = GridParams::read(args);
        one(grid("GridGenerator", &v[0], &*p.transform_type == "affine", &p.target_shape))
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "",
        calls: &[
            (&[&[2, 6]], "transform_type='affine', target_shape=(2, 3)"),
            (&[&[1, 2, 2, 3]], "transform_type='warp'"),
        ],
    },
};

crate::params! {
    pub struct TransformerParams {
        target_shape: Ints, K::Ints, D::Ints(&[0, 0]), "Height and width of the result; those of the data where zero.";
        transform_type: Arc<str>, K::Choice(&["affine"]), D::Required, "A 2 x 3 matrix for each image.";
        sampler_type: Arc<str>, K::Choice(&["bilinear"]), D::Required, "Linear blending.";
        cudnn_off: Option<bool>, K::Ignored, D::None, "Ignored.";
    }
}
pub static SPATIAL_TRANSFORMER: Op = Op {
    name: "SpatialTransformer",
    aliases: &[],
    doc: "Planes seen through an affine transform: `BilinearSampler` on the grid of `GridGenerator`.",
    inputs: &["data", "loc"],
    params: TransformerParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let name = "SpatialTransformer";
        one(image(name, &v[0]).and_then(|[_, _, h, w]| {
            let p = TransformerParams::read(args);
            let own: Ints = smallvec![h as i64, w as i64];
            let target = if p.target_shape.iter().all(|&d| d == 0) { own } else { p.target_shape };
            sampled(name, &v[0], &grid(name, &v[1], true, &target)?)
        }))
    }),
    grad: Grad::Composed,
    check: Check {
        range: Ok((-0.4, 0.4)),
        like: "",
        calls: &[(&[&[1, 2, 3, 4], &[1, 6]], "target_shape=(2, 2), transform_type='affine', sampler_type='bilinear'")],
    },
};

pub static OPS: Ops = &[
    &UP_SAMPLING,
    &CROP,
    &BILINEAR_RESIZE,
    &ADAPTIVE_POOLING,
    &BILINEAR_SAMPLER,
    &GRID_GENERATOR,
    &SPATIAL_TRANSFORMER,
];

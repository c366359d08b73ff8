//! Choosing between arrays: one-hot rows, where, one element of each row replaced.

use crate::base::error::OrThrow;
use crate::base::{DType, Element, Error, Result, Shape};
use crate::graph::{Check, Grad, Kind, Op, Var, apply1};
use crate::ir::MapFn;
use crate::ir::tile::Compute::Native;
use crate::ops::Ops;
use crate::{ensure, num_tiles, rule, with_dtype};
use smallvec::smallvec;

const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));
const FLAT: std::result::Result<(f64, f64), &str> = Err("constant almost everywhere");

crate::params! {
    pub struct OneHotParams {
        depth: i64, K::Int, D::Required, "Length of the new last axis.";
        on_value: f64, K::Float, D::Float(1.0), "The value at the index.";
        off_value: f64, K::Float, D::Float(0.0), "The value elsewhere.";
        dtype: DType, K::DType, D::DType(DType::F32), "Dtype of the result.";
    }
}
pub static ONE_HOT: Op = Op {
    name: "one_hot",
    aliases: &[],
    doc: "A row for each index with `on_value` at it; an index outside gives a row of `off_value`.",
    inputs: &["indices"],
    params: OneHotParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let p = OneHotParams::read(args);
            ensure!(p.depth >= 0, "one_hot: depth, got {}, expected 0 or more", p.depth);
            let mut meta = metas[0].clone();
            meta.shape.push(p.depth as usize);
            meta.dtype = p.dtype;
            Ok(smallvec![meta])
        },
        cpu: |ins, args, outs| {
            let p = OneHotParams::read(args);
            let index = ins[0].to_vec::<i64>()?;
            with_dtype!(p.dtype, T => {
                let out = outs[0].slice::<T>();
                out.fill(T::from_f64(p.off_value));
                for (k, &i) in index.iter().enumerate() {
                    if i >= 0 && i < p.depth {
                        out[k * p.depth as usize + i as usize] = T::from_f64(p.on_value);
                    }
                }
            });
            Ok(())
        },
        gpu: Some(|t, args, wanted| {
            let p = OneHotParams::read(args);
            crate::ops::device::one_hot(&t[0], p.on_value, p.off_value, &wanted[0])
        }),
    },
    grad: Grad::Zero,
    check: Check { range: FLAT, like: "", calls: &[] },
};

pub static SELECT: Op = Op {
    name: "_select",
    aliases: &[],
    doc: "`x` where `condition` is not zero, else `y`: arrays of one dtype that broadcast.",
    inputs: &["condition", "x", "y"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Map(MapFn {
        name: "_select",
        compute: Native,
        tile: num_tiles!(|c, x, y| if c.nonzero() { x } else { y }),
        wgsl: "select({1}, {2}, {0} == 0)",
        basic: None,
    }),
    grad: rule!(
        FromInputs | c,
        g | [Var::scalar(0.0), select(c.input(0), g, &Var::scalar(0.0)), select(c.input(0), &Var::scalar(0.0), g)]
    ),
    check: Check {
        range: ANY,
        like: "lambda condition, x, y: np.where(condition, x, y)",
        calls: &[(&[&[2, 3], &[2, 3], &[2, 3]], ""), (&[&[2, 1], &[2, 3], &[3]], "")],
    },
};

pub fn select(condition: &Var, x: &Var, y: &Var) -> Var {
    apply1(&SELECT, &[condition.clone(), x.clone(), y.clone()], &Default::default()).or_throw()
}

pub static WHERE: Op = Op {
    name: "where",
    aliases: &[],
    doc: "`x` where `condition` is not zero, else `y`. The condition has their shape, or one number for each row.",
    inputs: &["condition", "x", "y"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        let (c, x, y) = (&v[0], &v[1], &v[2]);
        (|| -> Result<()> {
            ensure!(
                x.shape() == y.shape() && x.dtype() == y.dtype(),
                "where: x and y must have one shape and dtype, got {} {} and {} {}",
                x.dtype(),
                crate::base::layout::show(x.shape()),
                y.dtype(),
                crate::base::layout::show(y.shape())
            );
            let rows = c.ndim() == 1 && x.ndim() > 0 && c.shape()[0] == x.shape()[0];
            ensure!(
                c.shape() == x.shape() || rows,
                "where: condition, got shape {}, expected {} or one number for each row",
                crate::base::layout::show(c.shape()),
                crate::base::layout::show(x.shape())
            );
            Ok(())
        })()
        .or_throw();
        let mut truth = c.cast(DType::Bool).cast(x.dtype());
        if c.shape() != x.shape() {
            let mut shape: Shape = smallvec![1; x.ndim()];
            shape[0] = x.shape()[0];
            truth = truth.reshape(&shape);
        }
        smallvec![select(&truth, x, y)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda condition, x, y: np.where(condition, x, y)",
        calls: &[(&[&[2, 3], &[2, 3], &[2, 3]], "")],
    },
};

pub static FILL_ELEMENT: Op = Op {
    name: "fill_element_0index",
    aliases: &[],
    doc: "The matrix `lhs` with one element of each row, at the indices `rhs`, replaced by `mhs`.",
    inputs: &["lhs", "mhs", "rhs"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        let show = crate::base::layout::show;
        let &[rows, columns] = v[0].shape() else {
            Error::op(format_args!("fill_element_0index: lhs, got shape {}, expected rows", show(v[0].shape()))).throw()
        };
        for x in &v[1..] {
            if x.shape() != [rows] {
                let got = show(x.shape());
                Error::op(format_args!("fill_element_0index: mhs and rhs, got shape {got}, expected ({rows},)"))
                    .throw();
            }
        }
        let args = OneHotParams { depth: columns as i64, on_value: 1.0, off_value: 0.0, dtype: v[0].dtype() }.args();
        let value = v[1].cast(v[0].dtype()).reshape(&[rows, 1]);
        smallvec![select(&v[2].detached().with(&ONE_HOT, args), &value, &v[0])]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda lhs, mhs, rhs: np.where(np.trunc(rhs)[:, None] == np.arange(lhs.shape[1]), mhs[:, None], lhs)",
        calls: &[(&[&[4, 3], &[4], &[4]], "")],
    },
};

pub static OPS: Ops = &[&ONE_HOT, &SELECT, &WHERE, &FILL_ELEMENT];

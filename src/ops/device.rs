//! GPU forms of kernels: what a record's `gpu` names. Each launches hand-written shaders on device memory.

use crate::base::layout::c_strides;
use crate::base::lock::lock;
use crate::base::{DType, Device, Result, Shape};
use crate::gpu::kernels::{self, COPY_RANK, Matrix, ROW_NORM, ROW_NORM_GRAD, Rows, SOFTMAX, SOFTMAX_GRAD};
use crate::gpu::map::{GpuStorage, bits, collapse};
use crate::gpu::runtime::{GpuBuffer, Runtime, runtime};
use crate::graph::{Args, Meta, Var};
use crate::ir::program::Scalar;
use crate::ops::binary::{EQUAL, MOD};
use crate::ops::bounded::{CLIP, ClipParams};
use crate::ops::reduce::SUM;
use crate::ops::select::select;
use crate::tensor::Tensor;
use crate::tensor::gpu::common_device;
use smallvec::{SmallVec, smallvec};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

type Outs = Result<Option<SmallVec<[Tensor; 1]>>>;

fn floats(tensors: &[Tensor]) -> bool {
    tensors.iter().all(|t| t.dtype() == DType::F32)
}

fn result(meta: &Meta, buffer: Arc<GpuBuffer>) -> Tensor {
    Tensor::from_device(meta.shape.clone(), meta.dtype, meta.device, buffer)
}

fn one(meta: &Meta, buffer: Arc<GpuBuffer>) -> Outs {
    Ok(Some(smallvec![result(meta, buffer)]))
}

/// Inputs as device memory in C order.
fn dense(tensors: &[Tensor]) -> Result<SmallVec<[GpuStorage; 5]>> {
    tensors.iter().map(at_start).collect()
}

/// In C order and from the first element of the buffer on, as the simpler shaders expect it.
fn at_start(t: &Tensor) -> Result<GpuStorage> {
    let data = t.device_dense()?;
    if data.offset == 0 { Ok(data) } else { t.copied()?.device_data() }
}

// ---- products ----

/// Some axes as one, with even steps: length and step. `None` where a copy is needed.
fn joined(shape: &[usize], strides: &[isize], axes: std::ops::Range<usize>) -> Option<(usize, isize)> {
    let (dims, steps) = collapse(&shape[axes.clone()], &[&strides[axes]]);
    match (&dims[..], &steps[0][..]) {
        ([n], [step]) => Some((*n, *step)),
        _ => None,
    }
}

/// An operand of a product, and where its three groups of axes are: stack, then rows and columns as they lie.
struct Operand {
    data: GpuStorage,
    next: isize,
    steps: [isize; 2],
    dims: [usize; 2],
}

/// Axes `..lead` as a stack of matrices, `lead..split` and `split..` as their axes.
fn operand(t: &Tensor, lead: usize, split: usize) -> Result<Operand> {
    let n = t.ndim();
    for data in [t.device_data()?, t.device_dense()?] {
        let groups = [0..lead, lead..split, split..n].map(|axes| joined(t.shape(), &data.strides, axes));
        if let [Some(stack), Some(a), Some(b)] = groups {
            return Ok(Operand { data, next: stack.1, steps: [a.1, b.1], dims: [a.0, b.0] });
        }
    }
    Err(crate::base::Error::op("dot: an operand has no even layout"))
}

/// Sums of products over one axis group of each operand. `ta`: the first group of `a` is summed; `tb`: the second of `b`.
fn product(meta: &Meta, batches: usize, a: Operand, b: Operand, ta: bool, tb: bool) -> Outs {
    let (ra, ka) = (usize::from(ta), usize::from(!ta));
    let (kb, cb) = (usize::from(tb), usize::from(!tb));
    let dims = (a.dims[ra], b.dims[cb], a.dims[ka], batches);
    let runtime = runtime(meta.device.id)?;
    let left = Matrix { data: &a.data, row: a.steps[ra], col: a.steps[ka], next: a.next };
    let right = Matrix { data: &b.data, row: b.steps[kb], col: b.steps[cb], next: b.next };
    let (buffer, parts) = kernels::matmul(&runtime, dims, &left, &right)?;
    if parts == 1 {
        return one(meta, buffer);
    }
    let mut shape: Shape = smallvec![parts];
    shape.extend(meta.shape.iter().copied());
    let partial = Tensor::from_device(shape, meta.dtype, meta.device, buffer);
    let axes: SmallVec<[bool; 4]> = (0..partial.ndim()).map(|a| a == 0).collect();
    let crate::graph::Kind::Reduce(sum) = &SUM.kind else { return Ok(None) };
    Ok(Some(smallvec![Tensor::reduce("dot", sum, &partial, &axes, false, meta.dtype)?]))
}

pub fn dot(t: &[Tensor], args: &Args, wanted: &[Meta]) -> Outs {
    if !floats(t) {
        return Ok(None);
    }
    let p = crate::ops::dot::DotParams::read(args);
    let (na, nb) = (t[0].ndim(), t[1].ndim());
    // The summed axis is the last of `a` or, transposed, its first; of `b` the other way round.
    let a = operand(&t[0], 0, if p.transpose_a { 1 } else { na - 1 })?;
    let b = operand(&t[1], 0, if p.transpose_b { nb - 1 } else { 1 })?;
    product(&wanted[0], 1, a, b, p.transpose_a, p.transpose_b)
}

pub fn batch_dot(t: &[Tensor], args: &Args, wanted: &[Meta]) -> Outs {
    if !floats(t) {
        return Ok(None);
    }
    let p = crate::ops::dot::DotParams::read(args);
    let n = t[0].ndim();
    let (a, b) = (operand(&t[0], n - 2, n - 1)?, operand(&t[1], n - 2, n - 1)?);
    let batches = t[0].shape()[..n - 2].iter().product();
    product(&wanted[0], batches, a, b, p.transpose_a, p.transpose_b)
}

// ---- rows ----

/// The rows of a shape along an axis.
fn rows_of(shape: &[usize], axis: usize) -> Rows {
    Rows { outer: shape[..axis].iter().product(), n: shape[axis], inner: shape[axis + 1..].iter().product() }
}

fn f32_bits(v: f64) -> u32 {
    (v as f32).to_bits()
}

/// Softmax of `scale * data` along an axis, or its logarithm.
pub fn softmax(t: &Tensor, axis: usize, scale: f64, log: bool, wanted: &Meta) -> Outs {
    if t.dtype() != DType::F32 || wanted.dtype != DType::F32 {
        return Ok(None);
    }
    let (data, extent) = (at_start(t)?, rows_of(t.shape(), axis));
    let more = [extent.inner as u32, f32_bits(scale), u32::from(log)];
    let out = kernels::rows(&runtime_of(wanted)?, &SOFTMAX, &[&data], extent, &more, &[t.numel()])?;
    all(std::slice::from_ref(wanted), out)
}

pub fn softmax_grad(t: &[Tensor], axis: usize, scale: f64, log: bool, wanted: &Meta) -> Outs {
    if !floats(t) {
        return Ok(None);
    }
    let (data, extent) = (dense(t)?, rows_of(t[0].shape(), axis));
    let more = [extent.inner as u32, f32_bits(scale), u32::from(log)];
    let ins = [&data[0], &data[1]];
    let out = kernels::rows(&runtime_of(wanted)?, &SOFTMAX_GRAD, &ins, extent, &more, &[t[0].numel()])?;
    all(std::slice::from_ref(wanted), out)
}

fn runtime_of(meta: &Meta) -> Result<Arc<Runtime>> {
    runtime(meta.device.id)
}

fn all(wanted: &[Meta], buffers: Vec<Arc<GpuBuffer>>) -> Outs {
    Ok(Some(wanted.iter().zip(buffers).map(|(m, b)| result(m, b)).collect()))
}

/// Row parameters that a call leaves out: the same number everywhere.
fn constant(t: Option<&Tensor>, n: usize, value: f64, wanted: &Meta) -> Result<GpuStorage> {
    match t {
        Some(t) => at_start(t),
        None => at_start(&Tensor::full(&[n], DType::F32, wanted.device, Scalar::Float(value))?),
    }
}

pub fn row_norm(t: &[Tensor], eps: f64, wanted: &[Meta]) -> Outs {
    if !floats(t) {
        return Ok(None);
    }
    let extent = rows_of(t[0].shape(), t[0].ndim() - 1);
    let gamma = constant(t.get(1), extent.n, 1.0, &wanted[0])?;
    let beta = constant(t.get(2), extent.n, 0.0, &wanted[0])?;
    let ins = [&at_start(&t[0])?, &gamma, &beta];
    let sizes = [t[0].numel(), extent.outer, extent.outer];
    all(wanted, kernels::rows(&runtime_of(&wanted[0])?, &ROW_NORM, &ins, extent, &[f32_bits(eps)], &sizes)?)
}

pub fn row_norm_grad(t: &[Tensor], _: &Args, wanted: &[Meta]) -> Outs {
    if !floats(t) {
        return Ok(None);
    }
    let extent = rows_of(t[0].shape(), t[0].ndim() - 1);
    let data = dense(&t[..4])?;
    let gamma = constant(t.get(4), extent.n, 1.0, &wanted[0])?;
    let ins = [&data[0], &data[1], &data[2], &data[3], &gamma];
    all(wanted, kernels::rows(&runtime_of(&wanted[0])?, &ROW_NORM_GRAD, &ins, extent, &[], &[t[0].numel()])?)
}

// ---- rows by number ----

/// Row numbers, known to be in range, as the shaders read them.
fn row_numbers(index: &Tensor, wanted: &Meta) -> Result<GpuStorage> {
    match index.dtype() {
        DType::I32 if index.on_gpu() => at_start(index),
        // Numbers of rows fit 32 bits: a buffer holds no more elements.
        _ => at_start(&index.on_host()?.cast(DType::I32)?.on_device(wanted.device)?),
    }
}

fn in_range(name: &str, index: &Tensor, rows: usize) -> Result<()> {
    // Numbers on the device were limited to the range there.
    if !index.on_gpu() {
        crate::ops::getitem::RowNumbers::of(name, index, 0, rows)?;
    }
    Ok(())
}

pub fn take_rows(t: &[Tensor], _: &Args, wanted: &[Meta]) -> Outs {
    if !t[0].on_gpu() {
        return Ok(None);
    }
    in_range("take", &t[1], t[0].shape()[0])?;
    let (data, index) = (at_start(&t[0])?, row_numbers(&t[1], &wanted[0])?);
    let row = t[0].shape()[1..].iter().product();
    one(&wanted[0], kernels::take_rows(&runtime_of(&wanted[0])?, &data, &index, t[1].numel(), row)?)
}

/// `_add_rows` and, with `put`, `_put_rows`.
pub fn add_rows(name: &str, t: &[Tensor], wanted: &[Meta], put: bool) -> Outs {
    if !floats(&t[..1]) {
        return Ok(None);
    }
    let shape = &wanted[0].shape;
    in_range(name, &t[1], shape[0])?;
    let (data, index) = (at_start(&t[0])?, row_numbers(&t[1], &wanted[0])?);
    let size = (shape[0], shape[1..].iter().product());
    one(&wanted[0], kernels::add_rows(&runtime_of(&wanted[0])?, &data, &index, t[1].numel(), size, put)?)
}

pub fn one_hot(t: &Tensor, on: f64, off: f64, wanted: &Meta) -> Outs {
    if !t.on_gpu() || !crate::gpu::native(wanted.dtype) {
        return Ok(None);
    }
    let depth = wanted.shape.last().copied().unwrap_or(1);
    let number = |v: f64| bits(Scalar::Float(v), wanted.dtype);
    let whole = t.dtype() == DType::I32;
    let size = (t.numel(), depth);
    one(wanted, kernels::one_hot(&runtime_of(wanted)?, &at_start(t)?, whole, size, number(on), number(off))?)
}

/// Numbers on a GPU as rows of `0..n`, computed there; `None` where the host must look at them.
fn limited(index: &Var, n: usize, mode: &str) -> Option<Var> {
    if !index.tensor.on_gpu() || mode == "raise" || n == 0 {
        return None;
    }
    let index = index.detached().cast(DType::I32);
    Some(match mode {
        "wrap" => index.binary(&MOD, &Var::scalar(n as f64)),
        _ => index.with(&CLIP, ClipParams { a_min: 0.0, a_max: n as f64 - 1.0 }.args()),
    })
}

/// [`limited`] for picking rows of `data` on the same device.
pub fn row_numbers_of(index: &Var, data: &Var, n: usize, mode: &str) -> Result<Option<Var>> {
    common_device("take", &[index.tensor.clone(), data.tensor.clone()])?;
    Ok(if data.tensor.on_gpu() { limited(index, n, mode) } else { None })
}

/// Where an index, one for each place of the other axes, is the number along `axis`: one there and zero elsewhere.
fn hot(index: &Tensor, shape: &[usize], axis: usize, mode: &str, dtype: DType) -> Result<Option<Var>> {
    let (n, mut along, mut counted): (_, Shape, Shape) = (shape[axis], shape.into(), smallvec![1; shape.len()]);
    (along[axis], counted[axis]) = (1, n);
    // Numbers, limits and comparison are part of the launch that reads them: all have the shape of the data.
    let index = Var::new(index.clone()).reshape(&along).broadcast_to(shape);
    let Some(index) = limited(&index, n, mode) else { return Ok(None) };
    let numbers = iota(n, index.tensor.device())?.reshape(&counted);
    Ok(Some(index.binary(&EQUAL, &numbers).cast(dtype)))
}

/// `pick`: what a comparison with 0, 1, 2 … selects, summed. One term of each sum is not zero, so it is exact.
pub fn pick(data: &Tensor, index: &Tensor, axis: usize, keepdims: bool, mode: &str) -> Outs {
    common_device("pick", &[index, data])?;
    let Some(hot) = hot(index, data.shape(), axis, mode, data.dtype())? else { return Ok(None) };
    let picked = select(&hot, &Var::new(data.clone()), &Var::scalar(0.0));
    Ok(Some(smallvec![picked.sum_axes(&[axis], keepdims).tensor]))
}

/// The transpose of [`pick`].
pub fn put(data: &Tensor, index: &Tensor, shape: &[usize], axis: usize, mode: &str) -> Outs {
    let Some(hot) = hot(index, shape, axis, mode, data.dtype())? else { return Ok(None) };
    let mut along: Shape = shape.into();
    along[axis] = 1;
    let data = Var::new(data.clone()).reshape(&along);
    Ok(Some(smallvec![select(&hot, &data, &Var::scalar(0.0)).tensor]))
}

/// `0..n` on a device. The last few are kept: picking classes asks for the same one in every step.
fn iota(n: usize, device: Device) -> Result<Var> {
    static KEPT: Mutex<VecDeque<Tensor>> = Mutex::new(VecDeque::new());
    let runtime = runtime(device.id)?;
    let mut kept = lock(&KEPT);
    let mine =
        |t: &&Tensor| t.shape() == [n] && t.device_data().is_ok_and(|d| Arc::ptr_eq(&d.buffer.runtime, &runtime));
    if let Some(found) = kept.iter().find(mine) {
        return Ok(Var::new(found.clone()));
    }
    let numbers: Vec<i32> = (0..n as i32).collect();
    let made = Tensor::from_slice(&[n], &numbers)?.on_device(device)?;
    kept.truncate(15);
    kept.push_front(made.clone());
    Ok(Var::new(made))
}

// ---- moves ----

/// Copies `t` to the places of `out` that `steps` and `at` describe.
fn place(runtime: &Runtime, t: &Tensor, out: &Arc<GpuBuffer>, at: usize, steps: &[isize]) -> Result<bool> {
    let mut data = t.device_data()?;
    let (mut dims, mut both) = collapse(t.shape(), &[&data.strides, steps]);
    if dims.len() > COPY_RANK {
        data = at_start(t)?;
        (dims, both) = collapse(t.shape(), &[&data.strides, steps]);
    }
    if dims.len() <= COPY_RANK {
        kernels::copy(runtime, &data, &both[0], &dims, out, at, &both[1])?;
    }
    Ok(dims.len() <= COPY_RANK)
}

/// Arrays one after the other along an axis.
pub fn concat(t: &[Tensor], axis: usize, wanted: &Meta) -> Outs {
    if !t.iter().all(|t| t.on_gpu() && t.dtype() == wanted.dtype) {
        return Ok(None);
    }
    let runtime = runtime_of(wanted)?;
    let out = runtime.alloc(4 * wanted.shape.iter().product::<usize>() as u64)?;
    let steps = c_strides(&wanted.shape);
    let mut at = 0;
    for t in t {
        if !place(&runtime, t, &out, at * steps[axis] as usize, &steps)? {
            return Ok(None);
        }
        at += t.shape()[axis];
    }
    one(wanted, out)
}

/// Zeros with `t` at the places that a layout of the result picks.
pub fn put_into_zeros(t: &Tensor, layout: &crate::base::Layout, wanted: &Meta) -> Outs {
    if !t.on_gpu() {
        return Ok(None);
    }
    let runtime = runtime_of(wanted)?;
    let n: usize = wanted.shape.iter().product();
    let out = runtime.alloc(4 * n as u64)?;
    kernels::fill(&runtime, &out, n, 0)?;
    if !place(&runtime, t, &out, layout.offset, &layout.strides)? {
        return Ok(None);
    }
    one(wanted, out)
}

//! What a user holds: a cell with the current value, perhaps a view on another cell, perhaps a gradient slot.
//!
//! Values never change; a write gives the cell another value. Where nobody else holds the old buffer it is reused.

use crate::base::buffer::placed;
use crate::base::error::catch;
use crate::base::layout::copied;
use crate::base::lock::lock;
use crate::base::{Buffer, DType, Device, Layout, Result, Shape};
use crate::graph::node::{Body, Edge, Node, Sink};
use crate::graph::{Var, mode};
use crate::tensor::{Scalar, Tensor};
use crate::{cpu, ensure};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// What backward does with a variable's gradient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GradReq {
    Write,
    Add,
    Null,
}

/// A handle on an array. Clones are the same array.
#[derive(Clone)]
pub struct NDArray(Arc<Cell>);

struct Cell {
    state: Mutex<State>,
    view: Option<View>,
}

struct State {
    var: Var,
    /// Made by a comparison or a logical op: as an index it is a mask.
    mask: bool,
    /// Rises with each write; a view compares it with the one it read.
    version: u64,
    slot: Option<Arc<GradSlot>>,
    shared: Option<Box<Shared>>,
}

/// Of an array on another library's memory: writes go there, so that both sides see them. Its views have to let go of
/// the memory first.
#[derive(Default)]
struct Shared {
    views: Vec<Weak<Cell>>,
}

/// A contiguous run of another array's elements under a shape of its own.
struct View {
    base: NDArray,
    offset: usize,
    shape: Shape,
}

impl View {
    /// Reads the base again if it was written.
    fn update(&self, state: &mut State) -> Result<()> {
        let base = self.base.state();
        if base.version == state.version {
            return Ok(());
        }
        let (tensor, version) = (base.var.tensor.clone(), base.version);
        drop(base);
        let base = tensor.contiguous()?;
        let offset = base.layout()?.offset + self.offset;
        let layout = Layout { offset, ..Layout::contiguous(&self.shape) };
        // A marked view stays marked; any other history described the old elements.
        let edge = state.var.edge.take().filter(|e| e.node.is_leaf());
        state.var = Var { tensor: base.with_layout(layout)?, edge };
        state.version = version;
        Ok(())
    }
}

/// A variable's gradient.
struct GradSlot {
    req: GradReq,
    grad: NDArray,
    gone: AtomicBool,
    /// Held from reading the sum to writing it: threads add one after the other.
    adding: Mutex<()>,
}

impl Sink for GradSlot {
    fn wanted(&self) -> bool {
        self.req != GradReq::Null
    }
    fn deliver(&self, grad: Var) -> Result<()> {
        let grad = Var::new(grad.tensor.on_device(self.grad.device())?);
        match self.req {
            GradReq::Null => Ok(()),
            GradReq::Write => self.grad.replace(grad),
            GradReq::Add => {
                let _turn = lock(&self.adding);
                let sum = catch(|| self.grad.var().map(|old| old + grad))??;
                self.grad.replace(sum)
            }
        }
    }
    fn passed(&self) {
        if self.req == GradReq::Null {
            self.gone.store(true, Relaxed);
        }
    }
}

const IN_GRAPH: &str = "an array that is already in a computational graph cannot be written while recording: \
    write under autograd.pause(), or make a new array (x = x + y)";
const INPLACE: &str = "a recorded value cannot be written into part of an array while recording: \
    Inplace operations (+=, x[i]=) would lose its gradient; use concat, stack or where to build the array";

impl NDArray {
    #[inline]
    pub fn new(var: Var) -> NDArray {
        NDArray::cell(var, 0, None, None)
    }
    #[inline(always)]
    fn cell(var: Var, version: u64, view: Option<View>, shared: Option<Box<Shared>>) -> NDArray {
        NDArray(placed(|| Cell { state: Mutex::new(State { var, mask: false, version, slot: None, shared }), view }))
    }
    /// An array on another library's memory, which writes go into.
    pub fn on_shared_memory(tensor: Tensor) -> NDArray {
        NDArray::cell(Var::new(tensor), 0, None, Some(Box::default()))
    }
    pub fn from_tensor(tensor: Tensor) -> NDArray {
        NDArray::new(Var::new(tensor))
    }
    /// A handle whose elements are `shape` elements of this array from `offset` on: writes through either are seen by
    /// both. `var` is its value now.
    pub fn view(&self, offset: usize, shape: Shape, var: Var) -> NDArray {
        let (base, offset) = match &self.0.view {
            Some(view) => (view.base.clone(), view.offset + offset),
            None => (self.clone(), offset),
        };
        let version = base.state().version;
        let out = NDArray::cell(var, version, Some(View { base: base.clone(), offset, shape }), None);
        if let Some(shared) = &mut base.state().shared {
            shared.views.retain(|view| view.strong_count() > 0);
            shared.views.push(Arc::downgrade(&out.0));
        }
        out
    }
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
    /// Whether the elements are truth values, so that as an index the array is a mask.
    pub fn is_mask(&self) -> bool {
        self.state().mask
    }
    pub fn set_mask(&self) {
        self.state().mask = true;
    }
    pub fn same(&self, other: &NDArray) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// The current value and its place on the tape.
    #[inline]
    pub fn var(&self) -> Result<Var> {
        Ok(self.current()?.var.clone())
    }
    /// The state with the value of now: a view reads its base again if that was written.
    #[inline]
    fn current(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if let Some(view) = &self.0.view {
            view.update(&mut state)?;
        }
        Ok(state)
    }
    /// The value, where it is not in memory yet.
    pub fn pending(&self) -> Result<Option<Tensor>> {
        let state = self.current()?;
        Ok(state.var.tensor.is_deferred().then(|| state.var.tensor.clone()))
    }
    pub fn tensor(&self) -> Result<Tensor> {
        Ok(self.var()?.tensor)
    }
    pub fn shape(&self) -> Shape {
        copied(self.state().var.shape())
    }
    pub fn dtype(&self) -> DType {
        self.state().var.dtype()
    }
    pub fn device(&self) -> Device {
        self.state().var.tensor.device()
    }
    /// The value under another device number of the same memory.
    pub fn set_device(&self, device: Device) -> Result<()> {
        let mut state = self.state();
        state.var.tensor = state.var.tensor.on_device(device)?;
        Ok(())
    }

    /// Goes on with other memory that holds the same value.
    pub fn hold(&self, tensor: Tensor) {
        self.state().var.tensor = tensor;
    }

    // ---- writing ----

    /// Whether a write of `value` would break what is recorded; checked before anything changes.
    fn check_write(&self, op: &str, value: Option<&Var>, whole: bool) -> Result<()> {
        if mode::is_recording() {
            ensure!(
                self.var()?.edge.is_none(),
                "{op}: {IN_GRAPH} (Assigning to NDArrays that are already in a computational graph)"
            );
            let recorded = value.is_some_and(|v| v.edge.is_some());
            ensure!(!recorded || (whole && self.0.view.is_none()), "{op}: {INPLACE}");
        }
        Ok(())
    }

    /// [`NDArray::check_write`] for a write into some of the elements.
    pub fn check_part(&self, op: &str, value: &Var) -> Result<()> {
        self.check_write(op, Some(value), false)
    }

    /// `x op= y` with the result computed: shape and dtype must be this array's.
    pub fn assign_result(&self, op: &str, value: Var) -> Result<()> {
        let (shape, dtype) = (self.shape(), self.dtype());
        ensure!(
            value.shape() == shape.as_slice(),
            "{op}: Shape inconsistent: the result has shape {}, the array {}",
            crate::base::layout::show(value.shape()),
            crate::base::layout::show(&shape)
        );
        ensure!(value.dtype() == dtype, "{op}: the result is {}, the array {dtype}: use astype", value.dtype());
        self.check_write(op, Some(&value), false)?;
        self.write_value(value)
    }

    /// `x[:] = value` or `out=x`: every element is replaced; the value is cast, and broadcast to the shape.
    pub fn assign(&self, op: &str, value: Var) -> Result<()> {
        let (shape, dtype, device) = (self.shape(), self.dtype(), self.device());
        self.check_write(op, Some(&value), true)?;
        // Nothing else may hold the value when it is written: it may be a view of this array.
        let fitted = catch(|| -> Result<Var> {
            let fitted = match value.tensor {
                Tensor::Scalar(s) => Var::new(Tensor::full(&shape, dtype, device, s)?),
                Tensor::Array(_) => value.cast(dtype).broadcast_to(&shape),
            };
            Ok(Var { tensor: fitted.tensor.on_device(device)?, edge: fitted.edge })
        })??;
        drop(value);
        self.write_value(fitted)
    }

    /// Gives the cell a value of its shape and dtype.
    fn write_value(&self, value: Var) -> Result<()> {
        let mut state = self.state();
        if self.0.view.is_none() && state.shared.is_none() {
            let edge = match state.var.edge.take() {
                Some(edge) if edge.node.is_leaf() => Some(edge),
                _ => value.edge,
            };
            state.var = Var { tensor: value.tensor, edge };
            state.version += 1;
            return Ok(());
        }
        drop(state);
        let shape = self.shape();
        self.write_part("assign", &Layout::contiguous(&shape), value)
    }

    /// Writes `value` (cast and broadcast) into the elements that `part` picks from this array in C order.
    pub fn write_part(&self, op: &str, part: &Layout, value: Var) -> Result<()> {
        self.check_write(op, Some(&value), false)?;
        let dtype = self.dtype();
        // Read before the buffer is taken: the value may be a view of this very array, and must not hold its memory.
        let value = match value.tensor.unshared()? {
            Tensor::Scalar(s) => Tensor::full(&part.shape, dtype, Device::CPU, s)?,
            array => {
                let cast = array.cast(dtype)?;
                cast.with_layout(cast.layout()?.broadcast_to(&part.shape))?
            }
        };
        let value = value.dense()?;
        let part = part.clone();
        self.modify(move |buffer, offset| {
            let layout = Layout { offset: part.offset + offset, ..part };
            crate::with_dtype!(dtype, T => cpu::moves::scatter_strided(value.slice::<T>(), buffer, &layout));
            Ok(())
        })
    }

    /// Lets `f` write this array's elements: it gets a buffer that nobody else holds (a copy where somebody does), and
    /// the index of this array's first element in it. If `f` fails the array is as it was.
    pub fn modify(&self, f: impl FnOnce(&mut Buffer, usize) -> Result<()>) -> Result<()> {
        if let Some(view) = &self.0.view {
            // Our own cached value would keep the buffer shared.
            self.let_go(&view.shape)?;
            return view.base.modify_own(|buffer, offset| f(buffer, offset + view.offset));
        }
        self.modify_own(f)
    }

    /// Drops the value that a view has read; it reads the base again when it is asked for.
    fn let_go(&self, shape: &Shape) -> Result<()> {
        let mut state = self.state();
        let (dtype, device) = (state.var.dtype(), state.var.tensor.device());
        state.var.tensor = Tensor::full(shape, dtype, device, Scalar::Int(0))?;
        state.version = u64::MAX;
        Ok(())
    }

    /// [`NDArray::modify`] of an array that is no view.
    fn modify_own(&self, f: impl FnOnce(&mut Buffer, usize) -> Result<()>) -> Result<()> {
        let views: Vec<NDArray> = match &mut self.state().shared {
            Some(shared) => shared.views.iter().filter_map(Weak::upgrade).map(NDArray).collect(),
            None => Vec::new(),
        };
        for view in views {
            view.0.view.as_ref().map_or(Ok(()), |v| view.let_go(&v.shape))?;
        }
        let mut state = self.state();
        let tensor = state.var.tensor.contiguous()?;
        let (shape, dtype, device) = (Shape::from(tensor.shape()), tensor.dtype(), tensor.device());
        // What is in device memory is written here, on the host.
        tensor.storage()?;
        let shared = state.shared.is_some();
        let edge = state.var.edge.take().filter(|e| e.node.is_leaf());
        // With our handle gone, a buffer that only this array used has one owner.
        let placeholder = Tensor::Scalar(Scalar::Int(0));
        drop(std::mem::replace(&mut state.var, Var { tensor: placeholder, edge: edge.clone() }));
        let storage = match tensor {
            Tensor::Array(value) => match Arc::try_unwrap(value) {
                Ok(value) => value.ready.into_inner(),
                Err(value) => value.ready.host().cloned(),
            },
            Tensor::Scalar(_) => None,
        };
        let Some(storage) = storage else {
            return Err(crate::base::Error::op("write: the array has no storage"));
        };
        let (mut buffer, offset) = (storage.buffer, storage.offset);
        // Another library's memory is written only through the array that was made on it.
        if !shared && (buffer.is_foreign() || Arc::get_mut(&mut buffer).is_none()) {
            let tensor = Tensor::ready(
                shape.clone(),
                dtype,
                device,
                crate::tensor::Storage { buffer: buffer.clone(), strides: storage.strides.clone(), offset },
            );
            state.var = Var { tensor: tensor.clone(), edge: edge.clone() };
            let copy = tensor.on_host()?.copied()?;
            drop(tensor);
            let mut owned = Buffer::new(copy.numel() * dtype.size())?;
            let dense = copy.dense()?;
            crate::with_dtype!(dtype, T => owned.slice_mut::<T>(0, copy.numel()).copy_from_slice(dense.slice::<T>()));
            f(&mut owned, 0)?;
            state.var = Var { tensor: Tensor::from_buffer(shape, dtype, device, owned), edge };
            state.version += 1;
            return Ok(());
        }
        let done = match Arc::get_mut(&mut buffer) {
            Some(owned) => f(owned, offset),
            None => {
                Err(crate::base::Error::op("write: memory shared with another library is held by a recorded value"))
            }
        };
        let storage = crate::tensor::Storage { buffer, strides: storage.strides, offset };
        state.var = Var { tensor: Tensor::ready(shape, dtype, device, storage), edge };
        state.version += 1;
        done
    }

    /// Gives the cell a value without any check: what backward does with gradients.
    fn replace(&self, value: Var) -> Result<()> {
        self.write_value(value)
    }

    // ---- gradients ----

    /// Marks the array as a variable with a zero gradient of its own.
    pub fn attach_grad(&self, req: GradReq) -> Result<()> {
        let tensor = self.tensor()?;
        let zero = Tensor::full(tensor.shape(), tensor.dtype(), tensor.device(), Scalar::Int(0))?;
        self.mark(NDArray::from_tensor(zero), req)
    }
    /// Marks the array as a variable with a given gradient array.
    pub fn mark(&self, grad: NDArray, req: GradReq) -> Result<()> {
        let tensor = self.tensor()?;
        ensure!(
            grad.shape().as_slice() == tensor.shape() && grad.dtype() == tensor.dtype(),
            "mark_variables: the gradient is {} {}, the variable {} {}",
            grad.dtype(),
            crate::base::layout::show(&grad.shape()),
            tensor.dtype(),
            crate::base::layout::show(tensor.shape())
        );
        let slot = Arc::new(GradSlot { req, grad, gone: AtomicBool::new(false), adding: Mutex::new(()) });
        let node = Node::new(std::slice::from_ref(&tensor), Body::Leaf(slot.clone()));
        let mut state = self.state();
        state.slot = Some(slot);
        state.var.edge = Some(Edge { node, index: 0 });
        Ok(())
    }
    /// The gradient array of a marked variable.
    pub fn grad(&self) -> Option<NDArray> {
        let mut state = self.state();
        let slot = state.slot.as_ref()?;
        if slot.gone.load(Relaxed) {
            state.slot = None;
            state.var.edge = None;
            return None;
        }
        Some(slot.grad.clone())
    }
}

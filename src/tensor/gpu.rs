//! Values on the GPU: data as a device buffer, deferred work as launches, host copies both ways when asked for.
//!
//! A value made by a launch lives on the device and gets a host copy when somebody reads it. A value made of host memory
//! (a fill, the result of a CPU kernel) lives on the host and is uploaded when a launch needs it. Which of the two is
//! fixed when the value is made, so its layout never changes.

use crate::base::layout::{c_strides, is_contiguous};
use crate::base::lock::lock;
use crate::base::{Buffer, DType, Device, Error, Layout, Result, Shape};
use crate::gpu::map::{GpuStorage, Operand, fits, run_fold, run_map};
use crate::gpu::runtime::{GpuBuffer, Runtime, runtime};
use crate::gpu::{native, wgsl};
use crate::ir::program::Scalar;
use crate::ir::{MapFn, ReduceFn};
use crate::tensor::expr::Expr;
use crate::tensor::region::{Data, Region, Root, fold_order};
use crate::tensor::{Ready, Storage, Tensor, Value};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

/// Device data of a value.
#[derive(Clone)]
pub struct Resident {
    pub data: GpuStorage,
    /// For a copy of host memory: which of its elements the buffer begins with; `None` where the layouts differ.
    pub copy_of: Option<Option<usize>>,
}

impl Data for Operand {
    fn of(tensor: &Tensor) -> Result<Operand> {
        match tensor.number() {
            Some(number) => Ok(Operand::Number(number)),
            None => Ok(Operand::Data(tensor.device_data()?)),
        }
    }
    fn strides(&self, ndim: usize) -> crate::base::Strides {
        match self {
            Operand::Data(s) => s.strides.clone(),
            Operand::Number(_) => smallvec::smallvec![0; ndim],
        }
    }
    fn sole(&self) -> bool {
        match self {
            Operand::Data(s) => Arc::strong_count(&s.buffer) <= 2 && !s.buffer.runtime.is_exported(&s.buffer),
            Operand::Number(_) => false,
        }
    }
}

impl Tensor {
    /// Whether the elements may be in device memory: launches compute them.
    #[inline]
    pub fn on_gpu(&self) -> bool {
        match self {
            Tensor::Array(v) => v.device.is_gpu() && native(v.dtype) && !v.shape.contains(&0),
            Tensor::Scalar(_) => false,
        }
    }
    /// The one number that all elements are, where that is known without looking into device memory.
    pub fn number(&self) -> Option<Scalar> {
        let Tensor::Array(value) = self else { return None };
        let storage = value.ready.host()?;
        let one = value.shape.iter().zip(&storage.strides).all(|(&d, &s)| d == 1 || s == 0);
        if !one || value.shape.contains(&0) {
            return None;
        }
        Some(crate::with_dtype!(value.dtype, T => {
            use crate::base::Element;
            let v = storage.buffer.slice::<T>(storage.offset, 1)[0];
            if T::FLOAT { Scalar::Float(v.to_f64()) } else { Scalar::Int(v.to_i64()) }
        }))
    }
    /// The elements in device memory: computed or uploaded if need be.
    pub fn device_data(&self) -> Result<GpuStorage> {
        match self {
            Tensor::Array(value) => value.device_data(),
            Tensor::Scalar(_) => Err(Error::op("a number has no storage: expected an array")),
        }
    }
    /// The same in C order without gaps.
    pub fn device_dense(&self) -> Result<GpuStorage> {
        let tensor = if self.number().is_some() { self.copied()? } else { self.contiguous()? };
        tensor.device_data()
    }
    /// An array of new device memory in C order.
    pub fn from_device(shape: Shape, dtype: DType, device: Device, buffer: Arc<GpuBuffer>) -> Tensor {
        let data = GpuStorage { buffer, strides: c_strides(&shape), offset: 0 };
        Tensor::resident(shape, dtype, device, OnceLock::new(), Resident { data, copy_of: None })
    }
    fn resident(shape: Shape, dtype: DType, device: Device, ready: OnceLock<Storage>, resident: Resident) -> Tensor {
        let expr = std::sync::Mutex::new(Some(Box::new(Expr::Gpu(resident))));
        Tensor::Array(Arc::new(Value {
            shape,
            dtype,
            device,
            ready: Ready::Copy(ready),
            expr,
            weight: 0.into(),
            redone: 0.into(),
        }))
    }

    /// [`Tensor::layout`] of an array that may be in device memory.
    pub(crate) fn gpu_layout(&self) -> Result<Layout> {
        let Tensor::Array(value) = self else { return Err(Error::op("layout: expected an array")) };
        match value.home()? {
            Home::Host(storage, _) => {
                Ok(Layout { shape: value.shape.clone(), strides: storage.strides, offset: storage.offset })
            }
            Home::Device(data) => Ok(Layout { shape: value.shape.clone(), strides: data.strides, offset: data.offset }),
        }
    }
    /// [`Tensor::with_layout`] of an array that may be in device memory.
    pub(crate) fn gpu_with_layout(&self, layout: Layout) -> Result<Tensor> {
        let Tensor::Array(value) = self else { return Err(Error::op("layout: expected an array")) };
        let Layout { shape, strides, offset } = layout;
        let (dtype, device) = (value.dtype, value.device);
        Ok(match value.home()? {
            Home::Device(data) => {
                let data = GpuStorage { buffer: data.buffer, strides, offset };
                Tensor::resident(shape, dtype, device, OnceLock::new(), Resident { data, copy_of: None })
            }
            Home::Host(storage, copy) => {
                let ready = Storage { buffer: storage.buffer, strides: strides.clone(), offset };
                match copy.as_ref().map(|r| (r, r.copy_of.flatten())) {
                    Some((r, Some(first))) => {
                        let data = GpuStorage { buffer: r.data.buffer.clone(), strides, offset: offset - first };
                        let resident = Resident { data, copy_of: Some(Some(first)) };
                        Tensor::resident(shape, dtype, device, ready.into(), resident)
                    }
                    _ => Tensor::ready(shape, dtype, device, ready),
                }
            }
        })
    }
    /// [`Tensor::on_device`] where one of the two is a GPU.
    pub(crate) fn gpu_on_device(&self, device: Device) -> Result<Tensor> {
        let storage = self.storage()?;
        let (shape, dtype) = (Shape::from(self.shape()), self.dtype());
        // Somebody else may write foreign memory, so it is read now.
        if device.is_gpu() && storage.buffer.is_foreign() {
            let host = Tensor::ready(shape, dtype, Device::CPU, storage.clone());
            return host.copied()?.on_device(device);
        }
        let host = Tensor::ready(shape.clone(), dtype, device, storage.clone());
        if !host.on_gpu() || host.number().is_some() {
            return Ok(host);
        }
        let data = upload(&runtime(device.id)?, &shape, dtype, storage)?.data;
        Ok(Tensor::resident(shape, dtype, device, OnceLock::new(), Resident { data, copy_of: None }))
    }
    /// The same host data under another device, without a copy anywhere.
    pub(crate) fn retagged(&self, device: Device) -> Result<Tensor> {
        Ok(Tensor::ready(self.shape().into(), self.dtype(), device, self.storage()?.clone()))
    }
    /// The host's data as an array of the CPU.
    pub fn on_host(&self) -> Result<Tensor> {
        match self {
            Tensor::Array(v) if v.device.is_gpu() => self.retagged(Device::CPU),
            _ => Ok(self.clone()),
        }
    }
}

enum Home {
    Host(Storage, Option<Resident>),
    Device(GpuStorage),
}

impl Value {
    /// Where the value was made, and its data there.
    fn home(self: &Arc<Value>) -> Result<Home> {
        let slot = lock(&self.expr);
        let host = |copy| match self.ready.host() {
            Some(storage) => Ok(Home::Host(storage.clone(), copy)),
            None => Err(lost()),
        };
        match slot.as_deref() {
            None => host(None),
            Some(Expr::Gpu(r)) if r.copy_of.is_some() => host(Some(r.clone())),
            Some(Expr::Gpu(r)) => Ok(Home::Device(r.data.clone())),
            Some(_) => {
                drop(slot);
                Ok(Home::Device(self.device_data()?))
            }
        }
    }

    fn device_data(self: &Arc<Value>) -> Result<GpuStorage> {
        let mut slot = lock(&self.expr);
        if let Some(Expr::Gpu(r)) = slot.as_deref() {
            return Ok(r.data.clone());
        }
        let runtime = runtime(self.device.id)?;
        let resident = match slot.take() {
            None => upload(&runtime, &self.shape, self.dtype, self.ready.host().ok_or_else(lost)?)?,
            Some(expr) => match self.launch(&runtime, &expr) {
                Ok(data) => Resident { data, copy_of: None },
                Err(error) => {
                    *slot = Some(expr);
                    return Err(error);
                }
            },
        };
        self.weight.store(0, Relaxed);
        let data = resident.data.clone();
        *slot = Some(Box::new(Expr::Gpu(resident)));
        Ok(data)
    }

    /// The host's copy of a value of a GPU.
    pub(crate) fn fetch(self: &Arc<Value>) -> Result<&Storage> {
        if let Some(storage) = self.ready.host() {
            return Ok(storage);
        }
        if self.shape.contains(&0) {
            let strides = c_strides(&self.shape);
            self.ready.set(Storage { buffer: Arc::new(Buffer::new(0)?), strides, offset: 0 });
            return self.ready.host().ok_or_else(lost);
        }
        let this = Tensor::Array(self.clone());
        let mut data = self.device_data()?;
        if !is_contiguous(&self.shape, &data.strides) {
            data = this.copied()?.device_data()?;
        }
        let n: usize = self.shape.iter().product();
        let mut buffer = Buffer::new(n * self.dtype.size())?;
        let out = buffer.slice_mut::<u8>(0, n * self.dtype.size());
        data.buffer.runtime.read(&data.buffer, 4 * data.offset as u64, out)?;
        let storage = Storage { buffer: Arc::new(buffer), strides: c_strides(&self.shape), offset: 0 };
        self.ready.set(storage);
        self.ready.host().ok_or_else(lost)
    }

    /// Records the launches that compute `expr`.
    fn launch(self: &Arc<Value>, runtime: &Arc<Runtime>, expr: &Expr) -> Result<GpuStorage> {
        match expr {
            Expr::Reduce { f, input, axes } => self.launch_fold(runtime, f, input, axes),
            _ => self.launch_map(runtime, expr),
        }
    }

    fn launch_map(self: &Arc<Value>, runtime: &Arc<Runtime>, expr: &Expr) -> Result<GpuStorage> {
        let mut region = Region::<Operand>::gather(Root::Map(self, expr), &self.shape)?;
        let mut operands = region.operands();
        if !fits(&region.program, &operands, &self.shape) {
            drop((region, operands));
            for input in expr.inputs() {
                input.force()?;
            }
            region = Region::<Operand>::gather(Root::Map(self, expr), &self.shape)?;
            operands = region.operands();
        }
        let reuse = region.donors(&self.shape);
        let buffers = run_map(runtime, &region.program, &operands, &self.shape, &reuse)?;
        let mut own = None;
        for (output, buffer) in region.outputs.iter().zip(buffers) {
            let data = GpuStorage { buffer, strides: c_strides(&output.shape), offset: 0 };
            if Arc::ptr_eq(output, self) {
                own = Some(data);
                continue;
            }
            let mut slot = lock(&output.expr);
            // Another thread may have computed it meanwhile.
            if !matches!(slot.as_deref(), Some(Expr::Gpu(_))) {
                output.weight.store(0, Relaxed);
                *slot = Some(Box::new(Expr::Gpu(Resident { data, copy_of: None })));
            }
        }
        own.ok_or_else(lost)
    }

    fn launch_fold(
        self: &Arc<Value>,
        runtime: &Arc<Runtime>,
        f: &'static ReduceFn,
        input: &Tensor,
        axes: &[bool],
    ) -> Result<GpuStorage> {
        let shape = input.shape();
        let mut region = Region::<Operand>::gather(Root::Fold(input), shape)?;
        let mut operands = region.operands();
        if !fits(&region.program, &operands, shape) {
            drop((region, operands));
            input.force()?;
            region = Region::<Operand>::gather(Root::Fold(input), shape)?;
            operands = region.operands();
        }
        let order = fold_order(shape, axes, None);
        let permuted: Vec<usize> = order.axes.iter().map(|&a| shape[a]).collect();
        for operand in &mut operands {
            if let Operand::Data(s) = operand {
                s.strides = order.axes.iter().map(|&a| s.strides[a]).collect();
            }
        }
        let buffer = run_fold(runtime, &region.program, &operands, &permuted, f, order.extent)?;
        Ok(GpuStorage { buffer, strides: c_strides(&self.shape), offset: 0 })
    }
}

impl Region<Operand> {
    /// For each output a dying leaf whose buffer it may take: a thread reads its elements before it writes them.
    fn donors(&self, shape: &[usize]) -> Vec<Option<usize>> {
        let mut taken = vec![false; self.leaves.len()];
        let mut donor = |dtype: DType| {
            let free = self.leaves.iter().zip(&taken).position(|(leaf, taken)| {
                let Operand::Data(s) = &leaf.storage else { return false };
                let own = s.offset == 0 && is_contiguous(shape, &leaf.strides) && leaf.value.shape.as_slice() == shape;
                leaf.exclusive && !taken && own && leaf.value.dtype == dtype
            });
            free.inspect(|&l| taken[l] = true)
        };
        self.outputs.iter().map(|o| donor(o.dtype)).collect()
    }
    /// The leaves as launches take them, broadcast to the loop's shape.
    fn operands(&self) -> Vec<Operand> {
        let operand = |leaf: &crate::tensor::region::LeafRef<Operand>| match &leaf.storage {
            Operand::Data(s) => Operand::Data(GpuStorage { strides: leaf.strides.clone(), ..s.clone() }),
            Operand::Number(n) => Operand::Number(*n),
        };
        self.leaves.iter().map(operand).collect()
    }
}

fn lost() -> Error {
    Error::op("the value was lost when memory ran out")
}

/// Copies host memory to the device: what the view spans as it lies, where that is not more than its elements.
fn upload(runtime: &Arc<Runtime>, shape: &[usize], dtype: DType, host: &Storage) -> Result<Resident> {
    let n: usize = shape.iter().product();
    let ends = |low: bool| -> isize {
        let steps = shape.iter().zip(&host.strides).map(|(&d, &s)| (d as isize - 1) * s);
        steps.filter(|&s| (s < 0) == low).sum()
    };
    let first = (host.offset as isize + ends(true)) as usize;
    let span = (ends(false) - ends(true)) as usize + 1;
    let size = dtype.size();
    if span <= n {
        let buffer = runtime.upload(host.buffer.slice::<u8>(first * size, span * size).to_vec())?;
        let data = GpuStorage { buffer, strides: host.strides.clone(), offset: host.offset - first };
        return Ok(Resident { data, copy_of: Some(Some(first)) });
    }
    let dense = Tensor::ready(shape.into(), dtype, Device::CPU, host.clone()).dense()?;
    let bytes = crate::with_dtype!(dtype, T => {
        let slice = dense.slice::<T>();
        let mut bytes = Vec::with_capacity(slice.len() * size);
        slice.iter().for_each(|v| bytes.extend_from_slice(&word(*v)));
        bytes
    });
    let data = GpuStorage { buffer: runtime.upload(bytes)?, strides: c_strides(shape), offset: 0 };
    Ok(Resident { data, copy_of: Some(None) })
}

/// The bytes of an element that the GPU has.
fn word<T: crate::base::Element>(v: T) -> [u8; 4] {
    if T::FLOAT { (v.to_f64() as f32).to_le_bytes() } else { (v.to_i64() as i32).to_le_bytes() }
}

// ---- building expressions ----

/// Called where an op has no GPU form and its arrays are on one: `(op, dtype)`.
type Note = fn(&str, DType) -> Result<()>;
static NOTE: OnceLock<Note> = OnceLock::new();

/// Who hears of work that is done on the host.
pub fn note_fallback(note: Note) {
    let _ = NOTE.set(note);
}

/// Says that an op runs on the host; an error where that is forbidden.
pub fn fallback(op: &str, dtype: DType) -> Result<()> {
    NOTE.get().map_or(Ok(()), |note| note(op, dtype))
}

/// [`Tensor::map`] where an operand is on a GPU; dtypes are equal and shapes fit.
#[cold]
pub(crate) fn map(
    name: &str,
    f: &'static MapFn,
    dtype: DType,
    shape: Shape,
    ins: &[&Tensor],
    imm: &[f64],
) -> Result<Tensor> {
    let device = common_device(name, ins)?;
    let empty = shape.contains(&0);
    let known = ins.iter().all(|t| matches!(t, Tensor::Scalar(_)) || t.number().is_some());
    if known && !empty {
        // Numbers all over: one of them is computed here, and stands for all.
        let ones = ins.iter().map(|t| match t.number() {
            Some(number) => Tensor::full(&[1], dtype, Device::CPU, number),
            None => Ok((*t).clone()),
        });
        let one = Tensor::map(name, f, &ones.collect::<Result<Vec<_>>>()?, imm)?;
        let storage = one.storage()?.clone();
        let strides = shape.iter().map(|_| 0).collect();
        return Ok(Tensor::ready(shape, one.dtype(), device, Storage { strides, ..storage }));
    }
    if !empty && wgsl::has_map(f, dtype) {
        let first = ins.iter().find(|t| matches!(t, Tensor::Array(_))).unwrap_or(&ins[0]);
        let ins = ins.iter().map(|t| t.scalar_as(dtype)).collect();
        return Tensor::deferred(shape, first, dtype, Expr::Map { f, ins, imm: imm.into() });
    }
    if !empty {
        fallback(name, dtype)?;
    }
    let host = ins.iter().map(|t| t.on_host()).collect::<Result<Vec<_>>>()?;
    Tensor::map(name, f, &host, imm)?.retagged(device)
}

/// The device of operands, which must agree.
pub fn common_device<T: AsRef<Tensor>>(name: &str, ins: &[T]) -> Result<Device> {
    let mut arrays = ins.iter().map(AsRef::as_ref).filter(|t| matches!(t, Tensor::Array(_))).map(Tensor::device);
    let first = arrays.next().unwrap_or(Device::CPU);
    match arrays.find(|d| *d != first && (d.is_gpu() || first.is_gpu())) {
        Some(other) => {
            Err(Error::op(format_args!("{name}: arrays on one context, got {first} and {other}: use as_in_context")))
        }
        None => Ok(first),
    }
}

/// [`Tensor::cast`] of an array on a GPU.
#[cold]
pub(crate) fn cast(input: &Tensor, dtype: DType) -> Result<Tensor> {
    if input.on_gpu() && native(dtype) {
        return Tensor::deferred(input.shape().into(), input, dtype, Expr::Cast { input: input.clone() });
    }
    if input.numel() > 0 {
        fallback("cast", if native(dtype) { input.dtype() } else { dtype })?;
    }
    input.on_host()?.cast_copy(dtype)?.retagged(input.device())
}

/// [`Tensor::reduce`] of an array on a GPU, `shape` being the result's.
#[cold]
pub(crate) fn reduce(
    name: &str,
    f: &'static ReduceFn,
    input: &Tensor,
    axes: &[bool],
    keepdims: bool,
    out_dtype: DType,
    shape: Shape,
) -> Result<Tensor> {
    if input.on_gpu() && out_dtype == input.dtype() && wgsl::has_fold(f, out_dtype) {
        let expr = Expr::Reduce { f, input: input.clone(), axes: axes.into() };
        return Tensor::deferred(shape, input, out_dtype, expr);
    }
    if input.numel() > 0 {
        fallback(name, input.dtype())?;
    }
    Tensor::reduce(name, f, &input.on_host()?, axes, keepdims, out_dtype)?.retagged(input.device())
}

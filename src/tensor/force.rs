//! Runs deferred work: the region behind a value, in one loop over memory.

use crate::base::layout::copied;
use crate::base::lock::lock;
use crate::base::{Buffer, Error, Result, Strides};
use crate::cpu::fold::run_fold;
use crate::cpu::map::{LeafSpec, Operand, Target, run_map};
use crate::cpu::pool::count_loop;
use crate::tensor::alone::alone;
use crate::tensor::expr::{Expr, KernelLoop, SMALL};
use crate::tensor::kernel::Output;
use crate::tensor::region::{LeafRef, Region, Root, fold_order};
use crate::tensor::{Storage, Tensor, Value};
use smallvec::SmallVec;
use std::sync::Arc;

impl Tensor {
    /// Makes the data ready.
    pub fn force(&self) -> Result<()> {
        match self {
            Tensor::Array(_) if self.on_gpu() => self.gpu_layout().map(|_| ()),
            Tensor::Array(_) => self.storage().map(|_| ()),
            Tensor::Scalar(_) => Ok(()),
        }
    }

    /// The data, forced if need be. A number has none.
    #[inline]
    pub fn storage(&self) -> Result<&Storage> {
        match self {
            Tensor::Array(value) => match value.ready.get() {
                Some(storage) => Ok(storage),
                None => crate::base::error::catch(|| value.compute())?,
            },
            Tensor::Scalar(_) => Err(Error::op("a number has no storage: expected an array")),
        }
    }
}

const LOST: &str = "the value was not computed";

impl Value {
    fn compute(self: &Arc<Value>) -> Result<&Storage> {
        if self.device.is_gpu() {
            return self.fetch();
        }
        // Held while the work runs: a second thread that wants this value waits for it.
        let mut slot = lock(&self.expr);
        if let Some(storage) = self.ready.get() {
            return Ok(storage);
        }
        let expr = slot.take().ok_or_else(|| Error::op("the value was lost when memory ran out"))?;
        match &*expr {
            Expr::Reduce { .. } | Expr::Kernel { .. } | Expr::Put { .. } => {
                let done = match &*expr {
                    Expr::Reduce { f, input, axes } => self.compute_fold(f, input, axes),
                    Expr::Kernel { ins, run } | Expr::Put { ins, run } => self.compute_kernel(ins, run),
                    _ => unreachable!("one of the two above"),
                };
                match done {
                    Ok(storage) => self.ready.set(storage),
                    Err(error) => {
                        *slot = Some(expr);
                        return Err(error);
                    }
                }
            }
            _ => {
                match alone(self, &expr) {
                    Ok(Some(buffer)) => {
                        let strides = crate::base::layout::c_strides(&self.shape);
                        self.ready.set(Storage { buffer: Arc::new(buffer), strides, offset: 0 });
                        return self.ready.get().ok_or_else(|| Error::op(LOST));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        *slot = Some(expr);
                        return Err(error);
                    }
                }
                let region = match Region::<Storage>::gather(Root::Map(self, &expr), &self.shape) {
                    Ok(region) => region,
                    Err(error) => {
                        *slot = Some(expr);
                        return Err(error);
                    }
                };
                if let Err((error, expr)) = self.compute_map(region, expr) {
                    *slot = expr;
                    return Err(error);
                }
            }
        }
        self.ready.get().ok_or_else(|| Error::op(LOST))
    }

    fn compute_kernel(&self, ins: &[Tensor], run: &KernelLoop) -> Result<Storage> {
        let mut out = [Output::new(copied(&self.shape), self.dtype, self.device)?];
        count_loop();
        run(ins, &mut out)?;
        let [out] = out;
        Ok(out.storage())
    }

    fn compute_fold(&self, f: &'static crate::ir::ReduceFn, input: &Tensor, axes: &[bool]) -> Result<Storage> {
        let mut buffer = Buffer::new(self.shape.iter().product::<usize>() * self.dtype.size())?;
        let shape = input.shape();
        let region = Region::<Storage>::gather(Root::Fold(input), shape)?;
        // Large arrays are read in the order of the first input that has an element for each place. Small ones give the
        // same bits however they lie.
        let whole = |s: &Strides| s.iter().zip(shape).all(|(&stride, &dim)| stride != 0 || dim == 1);
        let large = input.numel() > SMALL;
        let lead = region.leaves.iter().map(|l| &l.strides).find(|s| large && whole(s));
        let order = fold_order(shape, axes, lead.map(|s| &s[..]));
        let permuted: Vec<usize> = order.axes.iter().map(|&a| shape[a]).collect();
        let strides: Vec<Strides> =
            region.leaves.iter().map(|l| order.axes.iter().map(|&a| l.strides[a]).collect()).collect();
        let specs = region.leaves.iter().zip(&strides).map(|(leaf, strides)| LeafSpec {
            data: Operand::Shared(&leaf.storage.buffer),
            dtype: leaf.value.dtype,
            offset: leaf.storage.offset,
            strides,
        });
        run_fold(
            &region.program,
            &mut specs.collect::<SmallVec<[_; 4]>>(),
            &permuted,
            f,
            order.extent,
            self.dtype,
            &mut buffer,
        );
        let strides = crate::base::layout::c_strides(&self.shape);
        Ok(Storage { buffer: Arc::new(buffer), strides, offset: 0 })
    }

    /// Runs a map region and sets every value it writes. On failure gives the expression back.
    fn compute_map(
        self: &Arc<Value>,
        region: Region<Storage>,
        expr: Box<Expr>,
    ) -> std::result::Result<(), (Error, Option<Box<Expr>>)> {
        let Region { program, mut leaves, outputs } = region;
        let n: usize = self.shape.iter().product();
        // The buffer of a dying leaf becomes an output, if nothing reads the leaf after that output is written.
        let mut donor: SmallVec<[Option<usize>; 2]> = SmallVec::from_elem(None, outputs.len());
        for (k, &reg) in program.outputs.iter().enumerate() {
            let step = reg as usize - program.leaves.len() + 1;
            donor[k] = leaves.iter().enumerate().position(|(l, leaf)| {
                leaf.exclusive
                    && leaf.last_use <= step
                    && leaf.value.dtype.size() == outputs[k].dtype.size()
                    && leaf.storage.offset == 0
                    && leaf.storage.buffer.bytes() >= n * outputs[k].dtype.size()
                    && !leaf.storage.buffer.is_foreign()
                    && crate::base::layout::is_contiguous(&self.shape, &leaf.strides)
                    && !donor[..k].contains(&Some(l))
            });
        }
        let mut fresh: Vec<Option<Buffer>> = Vec::with_capacity(outputs.len());
        for (k, output) in outputs.iter().enumerate() {
            match donor[k] {
                Some(_) => fresh.push(None),
                None => match Buffer::new(n * output.dtype.size()) {
                    Ok(buffer) => fresh.push(Some(buffer)),
                    Err(error) => return Err((error, Some(expr))),
                },
            }
        }
        // From here the leaves are ours alone where `exclusive` said so: the expression and its nodes go first.
        let keep_expr = if donor.iter().any(Option::is_some) {
            drop(expr);
            None
        } else {
            Some(expr)
        };
        let mut taken: SmallVec<[Option<Arc<Buffer>>; 4]> = SmallVec::new();
        leaves.iter().for_each(|_| taken.push(None));
        for l in donor.iter_mut() {
            let Some(leaf) = *l else { continue };
            taken[leaf] = take_buffer(&mut leaves[leaf]);
            if taken[leaf].is_none() {
                *l = None;
            }
        }
        for (k, output) in outputs.iter().enumerate() {
            if donor[k].is_none() && fresh[k].is_none() {
                match Buffer::new(n * output.dtype.size()) {
                    Ok(buffer) => fresh[k] = Some(buffer),
                    Err(error) => return Err((error, keep_expr)),
                }
            }
        }
        {
            // The storage handle in the list would keep a donated buffer shared.
            let mut storages: SmallVec<[Option<Arc<Buffer>>; 4]> = SmallVec::new();
            let mut layouts: SmallVec<[_; 4]> = SmallVec::new();
            for (leaf, taken) in leaves.drain(..).zip(&taken) {
                layouts.push((leaf.value.dtype, leaf.storage.offset, leaf.strides));
                storages.push(taken.is_none().then_some(leaf.storage.buffer));
            }
            let mut specs: SmallVec<[LeafSpec; 4]> = SmallVec::new();
            for ((taken, shared), (dtype, offset, strides)) in taken.iter_mut().zip(&storages).zip(&layouts) {
                let data = match (taken, shared) {
                    (Some(buffer), _) => match Arc::get_mut(buffer) {
                        Some(buffer) => Operand::Own(buffer),
                        None => unreachable!("a donated buffer has one owner"),
                    },
                    (None, Some(buffer)) => Operand::Shared(buffer),
                    (None, None) => unreachable!("a leaf is owned or shared"),
                };
                specs.push(LeafSpec { data, dtype: *dtype, offset: *offset, strides });
            }
            let mut targets: Vec<Target> = fresh
                .iter_mut()
                .zip(&donor)
                .map(|(buffer, donor)| match (buffer, donor) {
                    (Some(buffer), _) => Target::Fresh(buffer),
                    (None, Some(leaf)) => Target::Reuse(*leaf),
                    (None, None) => unreachable!("every output has a target"),
                })
                .collect();
            run_map(&program, &mut specs, &self.shape, &mut targets);
        }
        for ((output, buffer), donor) in outputs.iter().zip(fresh).zip(&donor) {
            let buffer = match (buffer, donor) {
                (Some(buffer), _) => Arc::new(buffer),
                (None, Some(leaf)) => match taken[*leaf].take() {
                    Some(buffer) => buffer,
                    None => continue,
                },
                (None, None) => continue,
            };
            let strides = crate::base::layout::c_strides(&output.shape);
            output.ready.set(Storage { buffer, strides, offset: 0 });
            if !Arc::ptr_eq(output, self) {
                let expr = lock(&output.expr).take();
                drop(expr);
            }
        }
        drop(keep_expr);
        Ok(())
    }
}

/// The buffer of a leaf that nobody else holds; the leaf keeps an empty place.
fn take_buffer(leaf: &mut LeafRef<Storage>) -> Option<Arc<Buffer>> {
    let value = Arc::get_mut(&mut leaf.value)?;
    if Arc::strong_count(&leaf.storage.buffer) != 2 {
        return None;
    }
    value.ready.take();
    Arc::get_mut(&mut leaf.storage.buffer)?;
    Some(std::mem::replace(&mut leaf.storage.buffer, Arc::new(Buffer::new(0).ok()?)))
}

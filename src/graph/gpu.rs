//! Kernels whose results belong to a GPU: launches where the record has a GPU form, else the CPU's kernel on host copies.

use crate::base::Result;
use crate::gpu::wgsl::has_map;
use crate::graph::op::{GpuForm, Kind, Meta, Op};
use crate::graph::params::Args;
use crate::tensor::Tensor;
use crate::tensor::gpu::{common_device, fallback};
use crate::tensor::kernel::Output;
use smallvec::SmallVec;

type Cpu = fn(&[Tensor], &Args, &mut [Output]) -> Result<()>;

#[cold]
pub fn kernel(
    op: &'static Op,
    gpu: Option<GpuForm>,
    cpu: Cpu,
    ins: &[Tensor],
    args: &Args,
    wanted: &[Meta],
) -> Result<SmallVec<[Tensor; 1]>> {
    // Index arrays that rules and composed ops make stay on the host.
    let data: Vec<Tensor> = ins.iter().filter(|t| t.dtype().is_float()).cloned().collect();
    common_device(op.name, &data)?;
    let elements = |shape: &[usize]| !shape.contains(&0);
    let some = ins.iter().all(|t| elements(t.shape())) && wanted.iter().all(|m| elements(&m.shape));
    if let Some(form) = gpu
        && some
        && let Some(outs) = form(ins, args, wanted)?
    {
        return Ok(outs);
    }
    // What an op makes of nothing (ranges, random numbers) is made on the host and uploaded when needed.
    if some && let Some(first) = ins.first() {
        fallback(op.name, first.dtype())?;
    }
    let host = ins.iter().map(Tensor::on_host).collect::<Result<SmallVec<[Tensor; 3]>>>()?;
    let outs = wanted.iter().map(|m| Output::new(m.shape.clone(), m.dtype, m.device));
    let mut outs = outs.collect::<Result<SmallVec<[Output; 1]>>>()?;
    crate::cpu::pool::count_loop();
    cpu(&host, args, &mut outs)?;
    Ok(outs.into_iter().map(Output::done).collect())
}

impl Op {
    /// What the record says about GPUs: `generated` shaders, `own` ones, `view`, `composed`, or `host`.
    pub fn gpu_form(&self) -> &'static str {
        use crate::base::DType::F32;
        match &self.kind {
            Kind::Map(f) if has_map(f, F32) => "generated",
            Kind::Reduce(f) if crate::gpu::wgsl::has_fold(f, F32) => "generated",
            Kind::Kernel { gpu: Some(_), .. } | Kind::LateKernel { gpu: Some(_), .. } => "own",
            Kind::View(_) | Kind::Views(_) => "view",
            Kind::Compose(_) => "composed",
            Kind::Map(_) | Kind::Reduce(_) => "host",
            Kind::Kernel { .. } | Kind::LateKernel { .. } if self.inputs.is_empty() => "host, uploaded",
            Kind::Kernel { .. } | Kind::LateKernel { .. } => "host",
        }
    }
}

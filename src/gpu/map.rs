//! Launches of programs: elementwise regions, and reductions with their elementwise producer.

use crate::base::{DType, Result, Strides};
use crate::gpu::driver::{BINDINGS, Bindings, WINDOW};
use crate::gpu::runtime::{GpuBuffer, Runtime};
use crate::gpu::tape::{Key, Launch};
use crate::gpu::wgsl::{self, FEW, FOLD_WORDS, GROUP, Leaf, Shape, Walk};
use crate::ir::Extent;
use crate::ir::program::{Instr, Scalar, Source, Step};
use crate::ir::{Program, ReduceFn};
use smallvec::SmallVec;
use std::sync::Arc;

/// Data on the device: a strided view of a buffer, in elements.
#[derive(Clone)]
pub struct GpuStorage {
    pub buffer: Arc<GpuBuffer>,
    pub strides: Strides,
    pub offset: usize,
}

/// What a leaf of a program reads.
#[derive(Clone)]
pub enum Operand {
    Data(GpuStorage),
    /// One number for all elements: it goes with the parameters, without a buffer.
    Number(Scalar),
}

/// The bits of a number as an element.
pub fn bits(scalar: Scalar, dtype: DType) -> u32 {
    match (dtype, scalar.cast(dtype)) {
        (DType::F32, v) => (v.to_f64() as f32).to_bits(),
        (_, Scalar::Int(v)) => v as i32 as u32,
        (_, Scalar::Float(v)) => v as i32 as u32,
    }
}

/// Axes of a loop with those that all leaves walk evenly joined, and the strides of each leaf on them.
pub fn collapse(shape: &[usize], strides: &[&[isize]]) -> (Vec<usize>, Vec<Vec<isize>>) {
    let mut dims: Vec<usize> = Vec::new();
    let mut out: Vec<Vec<isize>> = vec![Vec::new(); strides.len()];
    for (axis, &dim) in shape.iter().enumerate() {
        if dim == 1 {
            continue;
        }
        let joins = dims.last().is_some()
            && out.iter().zip(strides).all(|(o, s)| o.last().is_some_and(|&last| last == s[axis] * dim as isize));
        if joins {
            *dims.last_mut().unwrap_or(&mut 0) *= dim;
            out.iter_mut().zip(strides).for_each(|(o, s)| *o.last_mut().unwrap_or(&mut 0) = s[axis]);
        } else {
            dims.push(dim);
            out.iter_mut().zip(strides).for_each(|(o, s)| o.push(s[axis]));
        }
    }
    if dims.is_empty() {
        dims.push(1);
        out.iter_mut().for_each(|o| o.push(0));
    }
    (dims, out)
}

/// A program with its operands laid out: bindings, parameters, and how each leaf is walked.
struct Plan {
    leaves: Vec<Leaf>,
    buffers: Bindings,
    dtypes: Vec<DType>,
    params: Vec<u32>,
    rank: usize,
    dims: usize,
    numbers: usize,
    wide: bool,
}

impl Plan {
    /// `head` words of parameters are left for the caller. `None` where they or the bindings do not suffice.
    fn new(program: &Program, operands: &[Operand], shape: &[usize], head: usize, wide_ok: bool) -> Option<Plan> {
        Plan::in_place(program, operands, shape, head, wide_ok, &[])
    }
    /// The same where output `k` takes the place of leaf `reuse[k]`.
    fn in_place(
        program: &Program,
        operands: &[Operand],
        shape: &[usize],
        head: usize,
        wide_ok: bool,
        reuse: &[Option<usize>],
    ) -> Option<Plan> {
        let strides: Vec<&[isize]> = operands
            .iter()
            .filter_map(|o| match o {
                Operand::Data(s) => Some(&s.strides[..]),
                Operand::Number(_) => None,
            })
            .collect();
        let (dims, strides) = collapse(shape, &strides);
        let rank = dims.len();
        let flat = |s: &[isize]| rank == 1 && (s[0] == 1 || dims[0] == 1);
        let n: usize = shape.iter().product();
        let mut offsets = operands.iter().filter_map(|o| match o {
            Operand::Data(s) => Some(s.offset),
            Operand::Number(_) => None,
        });
        let wide = wide_ok && n.is_multiple_of(4) && strides.iter().all(|s| flat(s)) && offsets.all(|o| o % 4 == 0);
        let mut plan = Plan {
            leaves: Vec::new(),
            buffers: Bindings::new(),
            dtypes: Vec::new(),
            params: vec![0; head],
            rank,
            dims: head,
            numbers: 0,
            wide,
        };
        let any_strided = strides.iter().any(|s| !flat(s));
        if any_strided {
            plan.params.extend(dims.iter().map(|&d| d as u32));
        }
        let mut strides = strides.iter();
        for (l, (operand, &dtype)) in operands.iter().zip(&program.leaves).enumerate() {
            let word = plan.params.len();
            if let Some(k) = reuse.iter().position(|r| *r == Some(l)) {
                strides.next()?;
                plan.leaves.push(Leaf { walk: Walk::Own(k), word });
                continue;
            }
            let walk = match operand {
                Operand::Number(scalar) => {
                    plan.params.push(bits(*scalar, dtype));
                    Walk::Number
                }
                Operand::Data(s) => {
                    let binding = plan.bind(s.buffer.id, dtype);
                    let steps = strides.next()?;
                    plan.params.push((if wide { s.offset / 4 } else { s.offset }) as u32);
                    if flat(steps) {
                        Walk::Flat(binding)
                    } else {
                        plan.params.extend(steps.iter().map(|&s| s as i32 as u32));
                        Walk::Strided(binding)
                    }
                }
            };
            plan.leaves.push(Leaf { walk, word });
        }
        plan.numbers = plan.params.len();
        for instr in &program.instrs {
            let from = match instr.step {
                Step::Map(_) => instr.dtype,
                Step::Cast(from) => from,
            };
            for source in &instr.ins {
                if let Source::Scalar(scalar) = *source {
                    plan.params.push(bits(scalar, from));
                }
            }
            plan.params.extend(instr.imm.iter().map(|&v| bits(Scalar::Float(v), instr.dtype)));
        }
        let fits = plan.params.len() * 4 <= WINDOW && plan.buffers.len() + program.outputs.len() <= BINDINGS;
        fits.then_some(plan)
    }
    fn bind(&mut self, id: u32, dtype: DType) -> usize {
        match self.buffers.iter().position(|&b| b == id) {
            Some(i) => i,
            None => {
                self.buffers.push(id);
                self.dtypes.push(dtype);
                self.buffers.len() - 1
            }
        }
    }
    fn shape<'a>(&'a self, program: &'a Program) -> Shape<'a> {
        Shape {
            program,
            leaves: &self.leaves,
            bindings: &self.dtypes,
            rank: self.rank,
            dims: self.dims,
            numbers: self.numbers,
            wide: self.wide,
        }
    }
    /// Everything that the printed text depends on.
    fn key(&self, kind: u64, program: &Program) -> Key {
        let shape = (self.rank as u64) << 1 | u64::from(self.wide);
        let mut key = vec![kind, shape, self.leaves.len() as u64, self.numbers as u64];
        for (leaf, dtype) in self.leaves.iter().zip(&program.leaves) {
            let walk = match leaf.walk {
                Walk::Flat(b) => (b as u64) << 2,
                Walk::Strided(b) => (b as u64) << 2 | 1,
                Walk::Number => 2,
                Walk::Own(k) => (k as u64) << 2 | 3,
            };
            key.push(walk << 8 | *dtype as u64);
        }
        for instr in &program.instrs {
            key.push(match instr.step {
                Step::Map(f) => std::ptr::from_ref(f) as u64,
                Step::Cast(from) => from as u64,
            });
            let mut word = instr.dtype as u64 | (instr.imm.len() as u64) << 8;
            for source in &instr.ins {
                let code = match source {
                    Source::Reg(reg) => u64::from(*reg) + 1,
                    Source::Scalar(_) => 0,
                };
                word = word << 16 | code;
            }
            key.push(word);
        }
        key.push(u64::MAX);
        key.extend(program.outputs.iter().map(|&r| u64::from(r)));
        key
    }
}

/// Whether a region fits one launch.
pub fn fits(program: &Program, operands: &[Operand], shape: &[usize]) -> bool {
    Plan::new(program, operands, shape, 1, false).is_some()
}

fn bytes(n: usize) -> u64 {
    4 * n as u64
}

/// Runs an elementwise region that [`fits`] over a shape with elements: one buffer for each output. Output `k` goes into
/// the buffer of leaf `reuse[k]`, which nobody else may hold: its own elements in C order, from the first on.
pub fn run_map(
    runtime: &Arc<Runtime>,
    program: &Program,
    operands: &[Operand],
    shape: &[usize],
    reuse: &[Option<usize>],
) -> Result<SmallVec<[Arc<GpuBuffer>; 1]>> {
    let n: usize = shape.iter().product();
    let Some(mut plan) = Plan::in_place(program, operands, shape, 1, true, reuse) else {
        return Err(crate::base::Error::op("gpu: a region too large for one launch"));
    };
    let threads = if plan.wide { n / 4 } else { n };
    plan.params[0] = threads as u32;
    let kept = |k: usize| match operands.get((*reuse.get(k)?)?) {
        Some(Operand::Data(s)) => Some(s.buffer.clone()),
        _ => None,
    };
    let outputs = (0..program.outputs.len()).map(|k| kept(k).map_or_else(|| runtime.alloc(bytes(n)), Ok));
    let outputs = outputs.collect::<Result<SmallVec<[_; 1]>>>()?;
    let launch = Launch {
        key: plan.key(0, program),
        label: "map",
        inputs: plan.buffers.clone(),
        outputs: outputs.iter().map(|o| o.id).collect(),
        updates: reuse.iter().any(Option::is_some),
        groups: threads.div_ceil(GROUP) as u64,
        params: plan.params.clone(),
    };
    runtime.launch(launch, || wgsl::map(&plan.shape(program)))?;
    Ok(outputs)
}

/// Threads that share one chunk, and loop steps that one thread may take: drivers cut longer loops short.
const TEAM: usize = 256;
const STEPS: usize = 16_384;
/// Threads that keep a large card busy.
const THREADS: usize = 1 << 17;

/// How the folded elements are cut: whether a team of threads shares a chunk, and the length of a chunk. A team reads
/// along the folded axis; where neighbours lie along the inner one, neighbouring threads take one each.
fn chunks(extent: &Extent) -> (bool, usize) {
    let outputs = extent.outer * extent.inner;
    let team = extent.reduce > 64 && extent.inner < 32;
    let len = match team {
        true if outputs < 1024 => 4096.max(extent.reduce.div_ceil(4096)),
        true => STEPS * TEAM,
        false => (extent.reduce * outputs).div_ceil(THREADS).max(64),
    };
    (team, len.min(if team { STEPS * TEAM } else { STEPS }))
}

/// Folds `program`'s output over the middle axis of `(outer, reduce, inner)`; `shape` is the loop's, in that order.
pub fn run_fold(
    runtime: &Arc<Runtime>,
    program: &Program,
    operands: &[Operand],
    shape: &[usize],
    f: &'static ReduceFn,
    extent: Extent,
) -> Result<Arc<GpuBuffer>> {
    let dtype = program.dtype(program.outputs[0]);
    let total = extent.reduce;
    let (mut extent, mut pass) = (extent, 0u64);
    let mut operands: Vec<Operand> = operands.to_vec();
    let mut shape: Vec<usize> = shape.to_vec();
    let identity = Program { leaves: vec![dtype], instrs: Vec::<Instr>::new(), outputs: vec![0] };
    loop {
        let program = if pass == 0 { program } else { &identity };
        let Some(mut plan) = Plan::new(program, &operands, &shape, FOLD_WORDS, false) else {
            return Err(crate::base::Error::op("gpu: a reduction too large for one launch"));
        };
        let outputs = extent.outer * extent.inner;
        let (team, len) = chunks(&extent);
        let count = extent.reduce.div_ceil(len).max(1);
        let last = count == 1;
        let items = outputs * count;
        let head = [items, outputs, len, extent.reduce, extent.inner];
        head.iter().zip(&mut plan.params).for_each(|(&v, p)| *p = v as u32);
        plan.params[5] = bits(Scalar::Int(total as i64), dtype);
        let mut key = plan.key(1 | u64::from(team) << 1 | u64::from(last) << 2 | (pass.min(1)) << 3, program);
        key.push(std::ptr::from_ref(f) as u64);
        let out = runtime.alloc(bytes(items))?;
        let launch = Launch {
            key,
            label: f.name,
            inputs: plan.buffers.clone(),
            outputs: [out.id].into_iter().collect(),
            updates: false,
            groups: if team { items } else { items.div_ceil(FEW) } as u64,
            params: plan.params.clone(),
        };
        runtime.launch(launch, || wgsl::fold(&plan.shape(program), f, pass > 0, last, team))?;
        if last {
            return Ok(out);
        }
        // A partial result of every output, then the next of every one.
        operands = vec![Operand::Data(GpuStorage { buffer: out, strides: Strides::from_slice(&[1]), offset: 0 })];
        shape = vec![items];
        extent = Extent { outer: 1, reduce: count, inner: outputs };
        pass += 1;
    }
}

//! A fused region as data: leaves are read, instructions fill registers, outputs are written. Straight-line and in
//! static single assignment form: register `i` is leaf `i`, then the result of instruction `i - leaves`.

use crate::base::DType;
use crate::base::layout::few;
use crate::ir::tile::{Basic, MapFn};
use smallvec::SmallVec;

pub type Reg = u32;

/// A number operand, in the widest form that holds it exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    Float(f64),
    Int(i64),
}

impl Scalar {
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Float(v) => v,
            Scalar::Int(v) => v as f64,
        }
    }
    /// The value as an element.
    pub fn to<T: crate::base::Element>(self) -> T {
        match self {
            Scalar::Float(v) => T::from_f64(v),
            Scalar::Int(v) => T::from_i64(v),
        }
    }
    /// The value as an array of `dtype` would hold it: an operand is first cast to the array's dtype, as in MXNet.
    pub fn cast(self, dtype: DType) -> Scalar {
        use crate::base::Element;
        crate::with_dtype!(dtype, T => {
            // Integers travel as doubles in MXNet, so one past the range becomes the smallest, not its low bits.
            let v: T = match self {
                Scalar::Int(v) if T::FLOAT || v.unsigned_abs() > (1 << 53) => T::from_i64(v),
                other => T::from_f64(other.to_f64()),
            };
            if T::FLOAT { Scalar::Float(v.to_f64()) } else { Scalar::Int(v.to_i64()) }
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    Reg(Reg),
    Scalar(Scalar),
}

#[derive(Clone, Copy)]
pub enum Step {
    /// An element function in a compute dtype.
    Map(&'static MapFn),
    /// A conversion from another dtype.
    Cast(DType),
}

pub struct Instr {
    pub step: Step,
    /// The dtype of the result, and of the operands of a `Map`.
    pub dtype: DType,
    pub ins: SmallVec<[Source; 3]>,
    pub imm: SmallVec<[f64; 2]>,
}

impl Instr {
    /// What an element costs, in additions.
    pub fn cost(&self) -> u32 {
        match (&self.step, self.ins.get(1)) {
            (Step::Map(MapFn { basic: Some(Basic::Power), .. }), Some(Source::Scalar(power)))
                if matches!(power.to_f64(), 1.0 | 2.0) =>
            {
                1
            }
            (Step::Map(f), _) => f.cost(),
            (Step::Cast(_), _) => 1,
        }
    }
}

/// A fused region.
#[derive(Default)]
pub struct Program {
    pub leaves: Vec<DType>,
    pub instrs: Vec<Instr>,
    pub outputs: Vec<Reg>,
}

impl Program {
    pub fn dtype(&self, reg: Reg) -> DType {
        match (reg as usize).checked_sub(self.leaves.len()) {
            Some(i) => self.instrs[i].dtype,
            None => self.leaves[reg as usize],
        }
    }
    /// Appends an instruction; all leaves must be there already.
    pub fn push(&mut self, instr: Instr) -> Reg {
        self.instrs.push(instr);
        (self.leaves.len() + self.instrs.len() - 1) as Reg
    }
    /// Appends a conversion unless the register has that dtype already.
    pub fn cast(&mut self, source: Source, to: DType) -> Source {
        match source {
            Source::Reg(reg) if self.dtype(reg) != to => {
                let from = self.dtype(reg);
                let instr = Instr {
                    step: Step::Cast(from),
                    dtype: to,
                    ins: [source].into_iter().collect(),
                    imm: SmallVec::new(),
                };
                Source::Reg(self.push(instr))
            }
            _ => source,
        }
    }
    /// Appends an element function on arrays of `dtype`, with the conversions its compute dtype needs.
    pub fn map(&mut self, f: &'static MapFn, dtype: DType, ins: &[Source], imm: &[f64]) -> Reg {
        let compute = f.compute_dtype(dtype);
        let ins = few(ins.iter().map(|&s| self.cast(s, compute)));
        let reg = self.push(Instr { step: Step::Map(f), dtype: compute, ins, imm: imm.into() });
        match self.cast(Source::Reg(reg), dtype) {
            Source::Reg(reg) => reg,
            Source::Scalar(_) => reg,
        }
    }

    /// What every program must be: sources come before their use, dtypes match, outputs exist.
    pub fn check(&self) -> Result<(), String> {
        for (i, instr) in self.instrs.iter().enumerate() {
            for source in &instr.ins {
                let Source::Reg(reg) = *source else { continue };
                if reg as usize >= self.leaves.len() + i {
                    return Err(format!("instruction {i} reads register {reg} before it is written"));
                }
                let want = match instr.step {
                    Step::Map(_) => instr.dtype,
                    Step::Cast(from) => from,
                };
                if self.dtype(reg) != want {
                    return Err(format!("instruction {i} reads {} where {want} is expected", self.dtype(reg)));
                }
            }
        }
        match self.outputs.iter().find(|&&o| o as usize >= self.leaves.len() + self.instrs.len()) {
            Some(o) => Err(format!("output register {o} does not exist")),
            None => Ok(()),
        }
    }
}

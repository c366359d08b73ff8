//! The op record: one static struct that says everything about an op.

use crate::base::layout::copied;
use crate::base::{DType, Device, Result, Shape};
use crate::graph::node::Input;
use crate::graph::params::{Args, Param, ParamSpec, Read};
use crate::graph::var::Var;
use crate::ir::{MapFn, ReduceFn};
use crate::tensor::Tensor;
use crate::tensor::kernel::Output;
use smallvec::SmallVec;

/// Everything about an op. Python callables, methods, signatures, docs, stubs and tests are made from it.
pub struct Op {
    /// MXNet's name; the Python function in `nd`.
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// What it computes: plain Markdown; the first line is a sentence.
    pub doc: &'static str,
    /// Names of the array inputs. `name?` may be absent; `*name` takes any number. Several `*names` take as many of each,
    /// group after group (weight, gradient, weight, gradient, …), and the names behind them come once, at the end.
    pub inputs: &'static [&'static str],
    pub params: &'static [ParamSpec],
    /// Whether `NDArray` has it as a method.
    pub method: bool,
    /// Inputs that get a new value (states of an optimizer): the last outputs, in this order, are written to them; of
    /// every group where inputs come in groups.
    pub writes: &'static [usize],
    pub kind: Kind,
    pub grad: Grad,
    pub check: Check,
}

/// What a node of an op keeps for the gradient.
pub struct Saves {
    pub inputs: bool,
    pub outputs: bool,
}

impl Op {
    #[inline]
    pub fn saves(&self) -> Saves {
        Saves {
            inputs: matches!(self.grad, Grad::FromInputs(_) | Grad::FromBoth(_)),
            outputs: matches!(self.grad, Grad::FromOutput(_) | Grad::FromBoth(_)),
        }
    }
    /// How many inputs make a group: none where the number of inputs is fixed.
    pub fn group(&self) -> usize {
        self.inputs.iter().filter(|name| name.starts_with('*')).count()
    }
    /// The inputs as Python takes them.
    pub fn shown_inputs(&self) -> &'static [&'static str] {
        if self.group() > 1 { &["*arrays"] } else { self.inputs }
    }
    /// Which of `n` inputs get a new value.
    pub fn written(&self, n: usize) -> SmallVec<[usize; 4]> {
        match self.group() {
            _ if self.writes.is_empty() => SmallVec::new(),
            0 => self.writes.into(),
            group => (0..n / group).flat_map(|i| self.writes.iter().map(move |w| i * group + w)).collect(),
        }
    }
    /// The groups of the inputs, `count` of them where the caller says so, and what comes once behind them.
    pub fn groups<'a>(&self, inputs: &'a [Var], count: Option<i64>) -> Result<(Vec<&'a [Var]>, &'a [Var])> {
        let (group, single) = (self.group(), self.inputs.len() - self.group());
        let n = inputs.len().saturating_sub(single) / group.max(1);
        crate::ensure!(
            n > 0 && n * group + single == inputs.len() && count.is_none_or(|c| c == n as i64),
            "{}: got {} arrays, expected {} groups of {group}{}",
            self.name,
            inputs.len(),
            count.unwrap_or(1).max(1),
            if single > 0 { format!(" and {single} more") } else { String::new() }
        );
        let (many, rest) = inputs.split_at(n * group);
        Ok((many.chunks_exact(group).collect(), rest))
    }
}

/// How an op runs. Closed and matched exhaustively; ops are open.
pub enum Kind {
    /// An element function; deferred and fused.
    Map(MapFn),
    /// A fold over axes (parameters `axis`, `keepdims`, `exclude`); absorbs its elementwise producer.
    Reduce(ReduceFn),
    /// The same elements seen another way: no loop over memory unless the layout needs a copy.
    View(fn(&Tensor, &Args) -> Result<Tensor>),
    /// Several views of one array: the parts that `split` gives.
    Views(fn(&Tensor, &Args) -> Result<SmallVec<[Tensor; 1]>>),
    /// Its own loop.
    Kernel {
        /// Checks inputs and says what comes out.
        infer: fn(&[Meta], &Args) -> Result<SmallVec<[Meta; 1]>>,
        cpu: fn(&[Tensor], &Args, &mut [Output]) -> Result<()>,
        /// How it runs on a GPU, if it does; the host runs the rest.
        gpu: Option<GpuForm>,
    },
    /// The same with one output that the gradient does not need, and whose elements cannot be the cause of an error:
    /// while recording it runs when the result is read, which may be never.
    LateKernel {
        infer: fn(&[Meta], &Args) -> Result<SmallVec<[Meta; 1]>>,
        cpu: fn(&[Tensor], &Args, &mut [Output]) -> Result<()>,
        gpu: Option<GpuForm>,
    },
    /// Made of other ops, written as plain expressions; an error inside is thrown to `apply`.
    Compose(fn(&[Var], &Args) -> SmallVec<[Var; 1]>),
}

/// Launches for inputs that have elements: the results, or `None` where this call has no GPU form.
pub type GpuForm = fn(&[Tensor], &Args, &[Meta]) -> Result<Option<SmallVec<[Tensor; 1]>>>;

/// Shape, dtype and device of an array.
#[derive(Debug, PartialEq)]
pub struct Meta {
    pub shape: Shape,
    pub dtype: DType,
    pub device: Device,
}

impl Clone for Meta {
    #[inline]
    fn clone(&self) -> Meta {
        Meta { shape: copied(&self.shape), ..*self }
    }
}

impl Meta {
    #[inline]
    pub fn of(tensor: &Tensor) -> Meta {
        Meta { shape: copied(tensor.shape()), dtype: tensor.dtype(), device: tensor.device() }
    }
    pub fn with_shape(&self, shape: Shape) -> Meta {
        Meta { shape, ..*self }
    }
}

pub type Grads = SmallVec<[Option<Var>; 3]>;
pub type Rule = fn(&GradCtx, &[Var]) -> Grads;

/// How an op differentiates, and by that what the tape saves. Rules are made of ordinary ops, so they differentiate too.
pub enum Grad {
    /// The gradient is zero everywhere (rounding, comparisons, indices).
    Zero,
    /// Made of other ops: those are on the tape instead.
    Composed,
    /// Needs neither inputs nor outputs.
    Linear(Rule),
    FromInputs(Rule),
    FromOutput(Rule),
    FromBoth(Rule),
}

/// What a rule may look at.
pub struct GradCtx<'a> {
    pub op: &'static Op,
    pub args: &'a Args,
    pub(crate) inputs: &'a [Input],
    pub(crate) outputs: SmallVec<[Var; 1]>,
    pub(crate) metas: &'a [Meta],
}

impl GradCtx<'_> {
    /// Input `i`; the record must have asked for it (`FromInputs`, `FromBoth`).
    pub fn input(&self, i: usize) -> &Var {
        match self.inputs.get(i) {
            Some(Input { var, saved: true, .. }) => var,
            _ => panic!("{}: the gradient rule reads input {i}, which its record does not save", self.op.name),
        }
    }
    pub fn output(&self, i: usize) -> &Var {
        match self.outputs.get(i) {
            Some(var) => var,
            None => panic!("{}: the gradient rule reads output {i}, which its record does not save", self.op.name),
        }
    }
    pub fn shape(&self, i: usize) -> &[usize] {
        self.inputs[i].shape(self.metas)
    }
    pub fn dtype(&self, i: usize) -> DType {
        self.inputs[i].dtype(self.metas)
    }
    pub fn count(&self) -> usize {
        self.inputs.len()
    }
    /// Whether anybody wants the gradient of input `i`.
    pub fn needs(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(|input| input.var.edge.is_some())
    }
}

/// How the table-driven tests try the op.
pub struct Check {
    /// The range inputs are drawn from where the op is smooth; `None` leaves gradients untested, with the reason.
    pub range: std::result::Result<(f64, f64), &'static str>,
    /// The NumPy (or `math`) expression that the forward is compared with: a lambda over inputs and parameters.
    pub like: &'static str,
    /// Example calls: shapes of inputs, and keyword arguments as Python source.
    pub calls: &'static [(&'static [&'static [usize]], &'static str)],
}

/// A gradient rule as an expression for each input, computed only where needed:
/// `rule!(FromInputs |c, g| [g * c.input(1), g * c.input(0)])`.
#[macro_export]
macro_rules! rule {
    ($kind:ident |$c:ident, $g:ident| [$($e:expr),+ $(,)?]) => {
        $crate::graph::Grad::$kind({
            #[allow(unused_variables, unused_assignments, unused_mut, clippy::redundant_closure_call)]
            fn rule($c: &$crate::graph::GradCtx, grads: &[$crate::graph::Var]) -> $crate::graph::Grads {
                let $g = &grads[0];
                let mut i = 0;
                let mut out = $crate::graph::Grads::new();
                $(
                    out.push(if $c.needs(i) { Some($e) } else { None });
                    i += 1;
                )+
                out
            }
            rule
        })
    };
}

crate::params! {
    /// Parameters of every reduction.
    pub struct ReduceParams {
        axis: Option<crate::graph::params::Ints>, K::Ints, D::None, "Axis or axes to reduce; all of them where absent or empty.";
        keepdims: bool, K::Bool, D::Bool(false), "Whether reduced axes stay, with length one.";
        exclude: bool, K::Bool, D::Bool(false), "Whether to reduce the axes that are not in `axis` instead.";
    }
}

/// An axis counted from either end, checked.
pub fn axis_index(name: &str, axis: i64, ndim: usize) -> Result<usize> {
    let n = ndim as i64;
    crate::ensure!(axis >= -n && axis < n, "{name}: axis out of range, got {axis}, expected {}..{}", -n, n - 1);
    Ok(if axis < 0 { axis + n } else { axis } as usize)
}

/// Which axes a reduction folds, and whether they stay.
pub fn reduce_axes(name: &str, ndim: usize, args: &Args) -> Result<(SmallVec<[bool; 4]>, bool)> {
    let axes: &[i64] = match args.first() {
        Some(Param::Ints(axes)) => axes,
        Some(Param::Int(axis)) => std::slice::from_ref(axis),
        _ => &[],
    };
    let flag = |i| args.get(i).is_some_and(bool::read);
    let mut marks: SmallVec<[bool; 4]> = SmallVec::from_elem(axes.is_empty(), ndim);
    for &axis in axes {
        let axis = axis_index(name, axis, ndim)?;
        crate::ensure!(!marks[axis], "{name}: axis {axis} is given twice");
        marks[axis] = true;
    }
    if flag(2) && !axes.is_empty() {
        marks.iter_mut().for_each(|m| *m = !*m);
    }
    Ok((marks, flag(1)))
}

//! Prints a program as WGSL. Equal keys give equal text: no sizes and no numbers are in it, those are parameters.

use crate::base::DType;
use crate::gpu::prelude;
use crate::gpu::{native, type_name};
use crate::ir::program::{Program, Source, Step};
use crate::ir::{MapFn, ReduceFn};
use std::fmt::Write;

/// How element `i` of the loop finds its element of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// Element `offset + i` of a binding.
    Flat(usize),
    /// By coordinates and strides.
    Strided(usize),
    /// The element that an output is about to replace.
    Own(usize),
    /// The parameter that holds the number.
    Number,
}

/// A leaf in print: its walk and the first of its parameters (offset and strides, or the number).
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    pub walk: Walk,
    pub word: usize,
}

/// What a program's shader needs to know beside the program.
pub struct Shape<'a> {
    pub program: &'a Program,
    pub leaves: &'a [Leaf],
    /// Dtypes of the input bindings.
    pub bindings: &'a [DType],
    /// Axes of the loop, and the parameter that holds the first of them.
    pub rank: usize,
    pub dims: usize,
    /// The parameter of the first number operand of an instruction.
    pub numbers: usize,
    /// Whether bindings are of four elements each.
    pub wide: bool,
}

/// Parameter `w` of the window.
pub fn word(w: usize) -> String {
    format!("P[{}].{}", w / 4, ["x", "y", "z", "w"][w % 4])
}

fn typed_word(w: usize, dtype: DType) -> String {
    format!("bitcast<{}>({})", type_name(dtype), word(w))
}

/// A template for a dtype: helpers of integers end in `_i`.
fn template(text: &str, dtype: DType) -> String {
    let mut out = text.to_owned();
    if dtype == DType::I32 {
        let mut names: Vec<&str> = prelude::names(text).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            out = out.replace(&format!("{name}("), &format!("{name}_i("));
        }
    }
    out
}

/// Whether an element function can be printed for arrays of a dtype.
pub fn has_map(f: &MapFn, dtype: DType) -> bool {
    let compute = f.compute_dtype(dtype);
    native(dtype) && native(compute) && printable(f.wgsl, compute)
}

fn printable(text: &str, dtype: DType) -> bool {
    let text = template(text, dtype);
    let whole = dtype == DType::F32 || !text.contains('.');
    !text.is_empty() && whole && prelude::names(&text).all(prelude::has)
}

/// Whether a reduction can be printed for arrays of a dtype. What is made of an integer total needs 64 bits.
pub fn has_fold(f: &ReduceFn, dtype: DType) -> bool {
    let whole = dtype == DType::F32 || f.wgsl.finish == "{0}";
    native(dtype) && whole && printable(f.wgsl.step, dtype) && printable(f.wgsl.join, dtype)
}

/// The head that all shaders have: parameters, inputs, outputs.
pub fn bindings(inputs: &[DType], outputs: &[DType], wide: bool) -> String {
    let element = |d: DType| if wide { format!("vec4<{}>", type_name(d)) } else { type_name(d).to_owned() };
    let mut out = String::from("@group(0) @binding(0) var<uniform> P: array<vec4<u32>, 32>;\n");
    for (i, &d) in inputs.iter().enumerate() {
        let _ = writeln!(out, "@group(0) @binding({}) var<storage, read> b{i}: array<{}>;", i + 1, element(d));
    }
    for (i, &d) in outputs.iter().enumerate() {
        let binding = inputs.len() + i + 1;
        let _ = writeln!(out, "@group(0) @binding({binding}) var<storage, read_write> o{i}: array<{}>;", element(d));
    }
    out
}

/// The result type of `body`: a number, or a struct of them.
fn result(program: &Program) -> (String, String) {
    match &program.outputs[..] {
        [one] => (String::new(), type_name(program.dtype(*one)).to_owned()),
        many => {
            let fields: Vec<String> =
                many.iter().enumerate().map(|(k, &r)| format!("a{k}: {}", type_name(program.dtype(r)))).collect();
            (format!("struct Results {{ {} }}\n\n", fields.join(", ")), "Results".to_owned())
        }
    }
}

/// `fn body(x0: f32, …) -> …`: the program on one element of each leaf.
pub fn body(s: &Shape) -> String {
    let program = s.program;
    let (mut out, result) = result(program);
    let args: Vec<String> =
        program.leaves.iter().enumerate().map(|(i, &d)| format!("r{i}: {}", type_name(d))).collect();
    let _ = writeln!(out, "fn body({}) -> {result} {{", args.join(", "));
    let mut number = s.numbers;
    for (i, instr) in program.instrs.iter().enumerate() {
        let from = match instr.step {
            Step::Map(_) => instr.dtype,
            Step::Cast(from) => from,
        };
        let mut operands = Vec::new();
        for source in &instr.ins {
            operands.push(match *source {
                Source::Reg(reg) => format!("r{reg}"),
                Source::Scalar(_) => {
                    number += 1;
                    typed_word(number - 1, from)
                }
            });
        }
        let mut text = match instr.step {
            Step::Map(f) => template(f.wgsl, instr.dtype),
            Step::Cast(from) => cast(from, instr.dtype).to_owned(),
        };
        for (k, operand) in operands.iter().enumerate() {
            text = text.replace(&format!("{{{k}}}"), operand);
        }
        for k in 0..instr.imm.len() {
            text = text.replace(&format!("{{p{k}}}"), &typed_word(number, instr.dtype));
            number += 1;
        }
        let (register, t) = (program.leaves.len() + i, type_name(instr.dtype));
        let _ = writeln!(out, "    let r{register}: {t} = {text};");
    }
    let values: Vec<String> = program.outputs.iter().map(|r| format!("r{r}")).collect();
    let value = if values.len() == 1 { values.concat() } else { format!("Results({})", values.join(", ")) };
    let _ = writeln!(out, "    return {value};\n}}\n");
    out
}

fn cast(from: DType, to: DType) -> &'static str {
    match (from, to) {
        (DType::F32, DType::I32) => "oxg_to_i32({0})",
        (DType::I32, DType::F32) => "f32({0})",
        _ => "{0}",
    }
}

/// `fn value(i: u32) -> …`: element `i` of the loop.
pub fn value(s: &Shape) -> String {
    let (_, result) = result(s.program);
    let mut out = format!("fn value(i: u32) -> {result} {{\n");
    if s.leaves.iter().any(|l| matches!(l.walk, Walk::Strided(_))) {
        out.push_str("    var k = i;\n");
        for axis in (0..s.rank).rev() {
            let _ = match axis {
                0 => writeln!(out, "    let c0 = k;"),
                _ => writeln!(out, "    let c{axis} = k % {0};\n    k = k / {0};", word(s.dims + axis)),
            };
        }
    }
    let _ = writeln!(out, "    return body({});\n}}\n", leaves(s, "i").join(", "));
    out
}

/// The arguments of `body` at element `i`.
fn leaves(s: &Shape, i: &str) -> Vec<String> {
    let at = |leaf: &Leaf, dtype: DType| match leaf.walk {
        Walk::Flat(b) => format!("b{b}[{i} + {}]", word(leaf.word)),
        Walk::Strided(b) => {
            let steps: String = (0..s.rank).map(|a| format!(" + c{a} * {}", word(leaf.word + 1 + a))).collect();
            format!("b{b}[{}{steps}]", word(leaf.word))
        }
        Walk::Own(k) => format!("o{k}[{i}]"),
        Walk::Number => typed_word(leaf.word, dtype),
    };
    s.leaves.iter().zip(&s.program.leaves).map(|(l, &d)| at(l, d)).collect()
}

/// Threads of a group where each writes one element: a card starts groups one by one, and with 64 threads each it did not
/// keep up with its memory. It is also the most that every device has.
pub const GROUP: usize = 256;
/// Threads of a group where each has a loop of its own, so that there are few.
pub const FEW: usize = 64;

/// The group's number: those that one axis does not take go on along the other.
const PLACE: &str = "(wg.x + wg.y * ng.x)";
const MAIN: &str = "fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) ng: vec3<u32>, \
                    @builtin(local_invocation_index) li: u32) {";

/// A shader that writes the program's outputs for every element. Parameter 0 is the number of threads needed.
pub fn map(s: &Shape) -> String {
    let outputs: Vec<DType> = s.program.outputs.iter().map(|&r| s.program.dtype(r)).collect();
    let mut out = bindings(s.bindings, &outputs, s.wide);
    let mut code = body(s);
    if !s.wide {
        code.push_str(&value(s));
    }
    let _ = write!(code, "@compute @workgroup_size({GROUP})\n{MAIN}\n    let i = {PLACE} * {GROUP}u + li;\n");
    let _ = write!(code, "    if (i >= {}) {{\n        return;\n    }}\n", word(0));
    let many = outputs.len() > 1;
    if s.wide {
        let loaded = leaves(s, "i");
        for (k, (leaf, text)) in s.leaves.iter().zip(&loaded).enumerate() {
            if leaf.walk != Walk::Number {
                let _ = writeln!(code, "    let v{k} = {text};");
            }
        }
        for lane in ["x", "y", "z", "w"] {
            let args: Vec<String> = s
                .leaves
                .iter()
                .zip(&loaded)
                .enumerate()
                .map(|(k, (l, t))| if l.walk == Walk::Number { t.clone() } else { format!("v{k}.{lane}") })
                .collect();
            let _ = writeln!(code, "    let q{lane} = body({});", args.join(", "));
        }
        for (k, &d) in outputs.iter().enumerate() {
            let field = if many { format!(".a{k}") } else { String::new() };
            let parts: Vec<String> = ["x", "y", "z", "w"].iter().map(|l| format!("q{l}{field}")).collect();
            let _ = writeln!(code, "    o{k}[i] = vec4<{}>({});", type_name(d), parts.join(", "));
        }
    } else {
        code.push_str("    let q = value(i);\n");
        for k in 0..outputs.len() {
            let field = if many { format!(".a{k}") } else { String::new() };
            let _ = writeln!(code, "    o{k}[i] = q{field};");
        }
    }
    code.push_str("}\n");
    out.push('\n');
    out.push_str(&prelude::needed(&code));
    out.push_str(&code);
    out
}

/// The parameters of a fold, before those of its program.
pub const FOLD_WORDS: usize = 6;

/// A shader that folds the program's one output. Parameters: outputs times chunks, outputs, elements of a chunk, elements
/// folded, inner length, their number as the dtype has it. With `team`, 256 threads share a chunk; else each has one.
pub fn fold(s: &Shape, f: &ReduceFn, second: bool, last: bool, team: bool) -> String {
    let dtype = s.program.dtype(s.program.outputs[0]);
    let t = type_name(dtype);
    let start = match (dtype, f.start) {
        (DType::F32, (v, _)) if v == f64::INFINITY => "oxg_inf()".to_owned(),
        (DType::F32, (v, _)) if v == f64::NEG_INFINITY => "-oxg_inf()".to_owned(),
        (DType::F32, (v, _)) => format!("{v:?}"),
        (_, (_, i64::MIN)) => "bitcast<i32>(0x80000000u)".to_owned(),
        (_, (_, v)) => v.min(i64::from(i32::MAX)).to_string(),
    };
    let put = |text: &str, a: &str, b: &str| template(text, dtype).replace("{0}", a).replace("{1}", b);
    let step = |x: &str| put(if second { f.wgsl.join } else { f.wgsl.step }, "acc", x);
    // Four elements are on their way at once.
    let (mut loads, mut steps) = (String::new(), String::new());
    for k in 0..4 {
        let _ = writeln!(loads, "        let x{k} = value(at + (r + {k}u * BY) * {});", word(4));
        let _ = writeln!(steps, "        acc = {};", step(&format!("x{k}")));
    }
    let count = format!("bitcast<{t}>({})", word(5));
    let finish = |total: &str| if last { put(f.wgsl.finish, total, "").replace("{n}", &count) } else { total.into() };
    let mut code = body(s) + &value(s);
    let (threads, first, by) = if team { (256, "li", "256u") } else { (FEW, "0u", "1u") };
    let _ = writeln!(code, "const BY = {by};");
    if team {
        let _ = writeln!(code, "var<workgroup> part: array<{t}, 256>;\n");
    }
    let _ = write!(code, "@compute @workgroup_size({threads})\n{MAIN}\n");
    let place = if team { PLACE.to_owned() } else { format!("{PLACE} * {FEW}u + li") };
    let _ = write!(
        code,
        "    let g = {place};
    let inside = g < {0};
    let out = g % {1};
    let begin = g / {1} * {2};
    let to = select(0u, min(begin + {2}, {3}), inside);
    let at = (out / {4}) * {3} * {4} + out % {4};
    var acc: {t} = {start};
    var r = begin + {first};
    for (; r + 3u * BY < to; r += 4u * BY) {{
{loads}{steps}    }}
    for (; r < to; r += BY) {{
        let x = value(at + r * {4});
        acc = {5};
    }}
",
        word(0),
        word(1),
        word(2),
        word(3),
        word(4),
        step("x")
    );
    if team {
        let join = put(f.wgsl.join, "part[li]", "part[li + w]");
        let _ = write!(
            code,
            "    part[li] = acc;
    workgroupBarrier();
    for (var w = 128u; w > 0u; w >>= 1u) {{
        if (li < w) {{
            part[li] = {join};
        }}
        workgroupBarrier();
    }}
    if (li == 0u && inside) {{
        o0[g] = {};
    }}
}}
",
            finish("part[0]")
        );
    } else {
        let _ = write!(code, "    if (inside) {{\n        o0[g] = {};\n    }}\n}}\n", finish("acc"));
    }
    let mut out = bindings(s.bindings, &[dtype], false);
    out.push('\n');
    out.push_str(&prelude::needed(&code));
    out.push_str(&code);
    out
}

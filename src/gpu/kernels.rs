//! Launches of the hand-written shaders in `wgsl/`. Inputs are views of buffers, outputs new contiguous buffers.

use crate::base::Result;
use crate::gpu::driver::Bindings;
use crate::gpu::map::GpuStorage;
use crate::gpu::runtime::{GpuBuffer, Runtime};
use crate::gpu::tape::Launch;
use crate::gpu::wgsl::{FEW, GROUP};
use crate::gpu::{prelude, wgsl};
use std::sync::Arc;

type Buffer = Arc<GpuBuffer>;

macro_rules! shader {
    ($name:literal) => {
        Shader { name: $name, text: include_str!(concat!("wgsl/", $name, ".wgsl")) }
    };
}

/// A hand-written shader. Its file leaves out the parameter binding and the prelude.
pub struct Shader {
    pub name: &'static str,
    pub text: &'static str,
}

pub static MATMUL: Shader = shader!("matmul");
pub static SOFTMAX: Shader = shader!("softmax");
pub static SOFTMAX_GRAD: Shader = shader!("softmax_grad");
pub static ROW_NORM: Shader = shader!("row_norm");
pub static ROW_NORM_GRAD: Shader = shader!("row_norm_grad");
pub static TAKE_ROWS: Shader = shader!("take_rows");
pub static ADD_ROWS: Shader = shader!("add_rows");
pub static GATHER_ADD: Shader = shader!("gather_add");
pub static ONE_HOT: Shader = shader!("one_hot");
pub static COPY: Shader = shader!("copy");
pub static FILL: Shader = shader!("fill");
static TEAM: Shader = shader!("team");
static SOLO: Shader = shader!("solo");
static ROWS_MAIN: Shader = shader!("rows_main");

/// The shaders that work on rows: one text, for a row to each thread and for a team of threads on each row.
pub static ROWS: [&Shader; 4] = [&SOFTMAX, &SOFTMAX_GRAD, &ROW_NORM, &ROW_NORM_GRAD];
pub static PLAIN: [&Shader; 7] = [&MATMUL, &TAKE_ROWS, &ADD_ROWS, &GATHER_ADD, &ONE_HOT, &COPY, &FILL];

/// A file without its comment, with parameters and what it needs of the prelude.
fn whole(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("//")).collect();
    let code = lines.join("\n") + "\n";
    format!("{}{}{code}", wgsl::bindings(&[], &[], false), prelude::needed(&code))
}

/// A line with `marker` once for each of what takes its place.
fn repeated(text: &str, marker: &str, each: &[&str]) -> String {
    let lines = text.lines().flat_map(|line| {
        let times = if line.contains(marker) { each } else { &each[..1] };
        times.iter().map(move |v| line.replace(marker, v) + "\n")
    });
    lines.collect()
}

/// The loops of a row shader with four elements to a turn, and one for those that are left.
fn unrolled(text: &str) -> String {
    const HEAD: &str = "    for (var j = first(li); j < n; j += STEP) {\n";
    let mut parts = text.split(HEAD);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (body, rest) = part.split_once("\n    }\n").unwrap_or((part, ""));
        let turn = |k: usize| format!("        {{\n        let j = q + {k}u * STEP;\n{body}\n        }}\n");
        let four: String = (0..4).map(turn).collect();
        out += "    {\n    var q = first(li);\n    for (; q + 3u * STEP < n; q += 4u * STEP) {\n";
        out += &format!("{four}    }}\n    for (; q < n; q += STEP) {{\n{}    }}\n    }}\n{rest}", turn(0));
    }
    out
}

/// The product's text for tiles of `side * side` blocks of 64 x 64. Four steps to a turn: the library counts the turns of
/// every loop, which took a fifth of the time.
fn matmul_text(side: usize) -> String {
    let numbers = &["0", "1"][..side];
    let lines = |text: &str| repeated(&repeated(text, "PART", numbers), "HALF", numbers);
    let (head, rest) = MATMUL.text.split_once("// STEPS\n").unwrap_or_default();
    let (step, tail) = rest.split_once("// END\n").unwrap_or_default();
    let step = lines(&repeated(step, "LANE", &["x", "y", "z", "w"]));
    let steps: String = (0..4).map(|k| step.replace("STEP", &format!("{k}"))).collect();
    let text = lines(&repeated(head, "LANE", &["x", "y", "z", "w"])) + &steps + &lines(tail);
    text.replace("SIDE", &format!("{side}u"))
}

/// The text that the device compiles. `variant`: for rows, 1 where a team shares one; for `one_hot`, 1 where indices are
/// whole numbers; for products, 1 for the large tile.
pub fn text(shader: &Shader, variant: u64) -> String {
    if ROWS.iter().any(|r| r.name == shader.name) {
        let (team, threads) = if variant == 1 { (TEAM.text, "256") } else { (SOLO.text, "64") };
        let main = ROWS_MAIN.text.replace("THREADS", threads);
        return whole(&format!("{team}\n{}\n{main}", unrolled(shader.text)));
    }
    if shader.name == MATMUL.name {
        return whole(&matmul_text(1 + variant as usize));
    }
    if shader.name == ONE_HOT.name {
        let (index, to) = if variant == 1 { ("i32", "i32") } else { ("f32", "oxg_to_i32") };
        return whole(&shader.text.replace("INDEX", index).replace("WHOLE", to));
    }
    whole(shader.text)
}

fn launch(
    runtime: &Runtime,
    shader: &'static Shader,
    variant: u64,
    inputs: &[&GpuStorage],
    outputs: &[&Buffer],
    groups: usize,
    params: Vec<u32>,
) -> Result<()> {
    let launch = Launch {
        key: vec![2, std::ptr::from_ref(shader) as u64, variant],
        label: shader.name,
        inputs: inputs.iter().map(|s| s.buffer.id).collect::<Bindings>(),
        outputs: outputs.iter().map(|b| b.id).collect(),
        updates: std::ptr::eq(shader, &ADD_ROWS) || std::ptr::eq(shader, &GATHER_ADD) || std::ptr::eq(shader, &COPY),
        groups: groups as u64,
        params,
    };
    runtime.launch(launch, || text(shader, variant))
}

fn bytes(n: usize) -> u64 {
    4 * n as u64
}

/// Bits of one number in every element of a buffer.
pub fn fill(runtime: &Runtime, out: &Buffer, n: usize, bits: u32) -> Result<()> {
    launch(runtime, &FILL, 0, &[], &[out], n.div_ceil(GROUP), vec![n as u32, bits])
}

/// Axes that [`copy`] takes, after joining.
pub const COPY_RANK: usize = 6;

/// Copies a view of `dims` into another buffer's view: both as offset and strides, at most [`COPY_RANK`] axes.
pub fn copy(
    runtime: &Runtime,
    data: &GpuStorage,
    strides: &[isize],
    dims: &[usize],
    out: &Buffer,
    at: usize,
    steps: &[isize],
) -> Result<()> {
    let n: usize = dims.iter().product();
    let pad = COPY_RANK - dims.len();
    let mut params = vec![n as u32, data.offset as u32, at as u32, 0];
    params.extend(std::iter::repeat_n(1, pad).chain(dims.iter().map(|&d| d as u32)));
    for list in [strides, steps] {
        params.extend(std::iter::repeat_n(0, pad).chain(list.iter().map(|&s| s as i32 as u32)));
    }
    launch(runtime, &COPY, 0, &[data], &[out], n.div_ceil(GROUP), params)
}

/// An operand of a product: where a matrix begins, its steps along rows and columns, and from matrix to matrix.
pub struct Matrix<'a> {
    pub data: &'a GpuStorage,
    pub row: isize,
    pub col: isize,
    pub next: isize,
}

/// How many parts the summed axis is cut in, and their length: where there are few tiles, or more steps than a thread
/// should take.
fn splits(tiles: usize, k: usize) -> (usize, usize) {
    let count = match k {
        _ if k > 16_384 => k.div_ceil(8_192),
        _ if k >= 1024 && tiles < 32 => (k / 512).min(32usize.div_ceil(tiles.max(1))),
        _ => 1,
    };
    let len = k.div_ceil(count).next_multiple_of(16);
    (k.div_ceil(len), len)
}

/// Groups that keep a large card busy.
const BUSY: usize = 128;

/// Products of `batches` pairs of matrices `(m, k)` and `(k, n)`. Gives partial products `(parts, batches, m, n)`, to be
/// summed over the first axis.
pub fn matmul(
    runtime: &Arc<Runtime>,
    (m, n, k, batches): (usize, usize, usize, usize),
    a: &Matrix,
    b: &Matrix,
) -> Result<(Buffer, usize)> {
    let tiles = |side: usize| (m.div_ceil(side), n.div_ceil(side));
    let (tm, tn) = tiles(64);
    let (parts, len) = splits(tm * tn * batches, k);
    // A large tile reads half as much for each product, where enough of them are there to keep a card busy.
    let (lm, ln) = tiles(128);
    let large = lm * ln * batches * parts >= BUSY && 3 * lm * ln <= tm * tn;
    let (tm, tn) = if large { (lm, ln) } else { (tm, tn) };
    let out = runtime.alloc(bytes(parts * batches * m * n))?;
    let mut params: Vec<u32> = [m, n, k, tm, tn, batches, len].iter().map(|&v| v as u32).collect();
    for x in [a, b] {
        params.push(x.data.offset as u32);
        params.extend([x.row, x.col, x.next].iter().map(|&s| s as i32 as u32));
    }
    params.push((parts * batches) as u32);
    // One buffer on both sides would be bound twice.
    let inputs: Vec<&GpuStorage> = vec![a.data, b.data];
    launch(runtime, &MATMUL, u64::from(large), &inputs, &[&out], parts * batches * tm * tn, params)?;
    Ok((out, parts))
}

/// The rows of an array along an axis: `outer * inner` rows of `n` elements, `inner` apart.
#[derive(Clone, Copy)]
pub struct Rows {
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
}

/// Runs one of the row shaders. `outputs` says how many elements each result has.
pub fn rows(
    runtime: &Arc<Runtime>,
    shader: &'static Shader,
    inputs: &[&GpuStorage],
    extent: Rows,
    more: &[u32],
    outputs: &[usize],
) -> Result<Vec<Buffer>> {
    let count = extent.outer * extent.inner;
    let team = extent.n > 32;
    let outs = outputs.iter().map(|&n| runtime.alloc(bytes(n))).collect::<Result<Vec<_>>>()?;
    let mut params = vec![count as u32, extent.n as u32];
    params.extend(more);
    let groups = if team { count } else { count.div_ceil(FEW) };
    launch(runtime, shader, u64::from(team), inputs, &outs.iter().collect::<Vec<_>>(), groups, params)?;
    Ok(outs)
}

/// `data[index]` for rows of `row` elements.
pub fn take_rows(
    runtime: &Arc<Runtime>,
    data: &GpuStorage,
    index: &GpuStorage,
    count: usize,
    row: usize,
) -> Result<Buffer> {
    let n = count * row;
    let out = runtime.alloc(bytes(n))?;
    launch(runtime, &TAKE_ROWS, 0, &[data, index], &[&out], n.div_ceil(GROUP), vec![n as u32, row as u32])?;
    Ok(out)
}

/// Loop steps of one launch of a scatter.
const STEPS: usize = 16_384;

/// Zeros of `rows` rows with `count` rows of `data` added (or put) at `index`, in their order.
pub fn add_rows(
    runtime: &Arc<Runtime>,
    data: &GpuStorage,
    index: &GpuStorage,
    count: usize,
    (rows, row): (usize, usize),
    put: bool,
) -> Result<Buffer> {
    let n = rows * row;
    let out = runtime.alloc(bytes(n))?;
    fill(runtime, &out, n, 0)?;
    // A thread for each result is the faster way where results are few.
    let each = n <= 1 << 16;
    for from in (0..count).step_by(STEPS) {
        let (from, to, put) = (from as u32, (from + STEPS).min(count) as u32, u32::from(put));
        let (shader, threads, params) = if each {
            (&GATHER_ADD, n, vec![n as u32, row as u32, from, to, put])
        } else {
            (&ADD_ROWS, row, vec![row as u32, from, to, put])
        };
        launch(runtime, shader, 0, &[data, index], &[&out], threads.div_ceil(FEW), params)?;
    }
    Ok(out)
}

/// Rows of `depth` elements: `on` at the index, else `off`, as bits.
pub fn one_hot(
    runtime: &Arc<Runtime>,
    index: &GpuStorage,
    whole: bool,
    (count, depth): (usize, usize),
    on: u32,
    off: u32,
) -> Result<Buffer> {
    let n = count * depth;
    let out = runtime.alloc(bytes(n))?;
    let params = vec![n as u32, depth as u32, on, off];
    launch(runtime, &ONE_HOT, u64::from(whole), &[index], &[&out], n.div_ceil(GROUP), params)?;
    Ok(out)
}

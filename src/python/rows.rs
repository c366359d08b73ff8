//! What a resolved key picks: a strided view, or rows by number.

use crate::base::{Error, Layout, Result, Shape};
use crate::graph::params::Ints;
use crate::ops::getitem::PickParams;
use crate::python::index::Item;
use smallvec::{SmallVec, smallvec};

/// A key without arrays as a strided pick; the shape follows MXNet: what would be `()` is `(1,)`.
pub fn pick(shape: &[usize], items: &[Item]) -> PickParams {
    let mut p = PickParams { start: Ints::new(), step: Ints::new(), count: Ints::new(), shape: Ints::new() };
    for item in items {
        let (start, step, count) = match item {
            Item::New => {
                p.shape.push(1);
                continue;
            }
            Item::At(i) => (*i, 1, 1),
            Item::Slice { start, step, count } => {
                p.shape.push(*count);
                (*start, *step, *count)
            }
            Item::Many { .. } => (0, 1, shape[p.start.len()] as i64),
        };
        p.start.push(start);
        p.step.push(step);
        p.count.push(count);
    }
    if p.shape.is_empty() || items.iter().all(|i| matches!(i, Item::At(_) | Item::New)) {
        p.shape = smallvec![1];
    }
    p
}

/// A key with arrays: the numbers of rows of an array whose indexed axes were brought to the front.
pub struct Rows {
    /// The basic part, with indexed axes whole.
    pub basic: PickParams,
    /// After the basic part: indexed axes first, the others behind.
    pub order: Vec<usize>,
    /// Row numbers, and the shape they broadcast to.
    pub index: Vec<i64>,
    pub shape: Shape,
    /// Lengths of the other axes.
    pub rest: Shape,
    /// Where the index shape goes among the other axes.
    place: usize,
    /// New axes, as places among the other axes, where indexed axes lie side by side.
    new: SmallVec<[usize; 2]>,
}

pub fn rows(shape: &[usize], items: &[Item]) -> Result<Rows> {
    // Whole numbers beside arrays index like arrays; NumPy's rule then places the result.
    let mut basic = PickParams { start: Ints::new(), step: Ints::new(), count: Ints::new(), shape: Ints::new() };
    let (mut indexed, mut others) = (Vec::new(), Vec::new());
    let mut lists: Vec<(Shape, Vec<i64>)> = Vec::new();
    let mut new = SmallVec::new();
    let (mut first_run, mut last_was_array, mut runs) = (0usize, false, 0usize);
    for item in items {
        let axis = basic.shape.len();
        let mut array = |shape: Shape, index: Vec<i64>| {
            lists.push((shape, index));
            indexed.push(axis);
            if !last_was_array {
                runs += 1;
                if runs == 1 {
                    first_run = others.len();
                }
            }
            last_was_array = true;
        };
        match item {
            Item::New => {
                new.push(others.len());
                others.push(axis);
                basic.shape.push(1);
                last_was_array = false;
                continue;
            }
            Item::At(i) => array(smallvec![], vec![*i]),
            Item::Many { shape, index } => array(shape.clone(), index.clone()),
            Item::Slice { .. } => {
                others.push(axis);
                last_was_array = false;
            }
        }
        let (start, step, count) = match item {
            Item::Slice { start, step, count } => (*start, *step, *count),
            _ => (0, 1, shape[basic.start.len()] as i64),
        };
        basic.start.push(start);
        basic.step.push(step);
        basic.count.push(count);
        basic.shape.push(count);
    }
    let mut joined: Shape = smallvec![];
    for (dims, _) in &lists {
        joined = crate::base::layout::broadcast(&joined, dims).ok_or_else(|| {
            Error::value(format_args!(
                "shape mismatch: indexing arrays with shapes {} and {}: shape1={} is not broadcastable to shape2={}",
                crate::base::layout::show(&joined),
                crate::base::layout::show(dims),
                crate::base::layout::show(&joined),
                crate::base::layout::show(dims)
            ))
        })?;
    }
    let n: usize = joined.iter().product();
    let mut index = vec![0i64; n];
    for ((dims, list), &axis) in lists.iter().zip(&indexed) {
        let strides = Layout::contiguous(dims).broadcast_to(&joined);
        let size = basic.shape[axis];
        let mut flat = 0;
        let place = |at: usize, i: i64, total: &mut Vec<i64>| total[at] = total[at] * size + i;
        crate::cpu::moves::for_each_row(&strides, |_, start, step, len| {
            for k in 0..len {
                place(flat, list[(start as isize + k as isize * step) as usize], &mut index);
                flat += 1;
            }
        });
    }
    let rest: Shape = others.iter().map(|&a| basic.shape[a] as usize).collect();
    let place = if runs == 1 { first_run } else { 0 };
    if runs != 1 {
        new.clear();
    }
    let order = indexed.iter().chain(&others).copied().collect();
    Ok(Rows { basic, order, index, shape: joined, rest, place, new })
}

impl Rows {
    /// The shape of `x[key]`, `(1,)` where it would be `()`. MXNet counts the places of new axes without the index
    /// shape, so that `x[idx, None]` begins with the new one; having one place, it moves no element.
    pub fn result_shape(&self) -> Shape {
        let kept = |range: std::ops::Range<usize>| range.filter(|i| !self.new.contains(i)).map(|i| self.rest[i]);
        let mut out: Shape = kept(0..self.place).collect();
        out.extend(self.shape.iter().copied());
        out.extend(kept(self.place..self.rest.len()));
        self.new.iter().for_each(|&place| out.insert(place, 1));
        if out.is_empty() { smallvec![1] } else { out }
    }
    /// Axes that take `index.shape + rest` to the result's order.
    pub fn placement(&self) -> Vec<usize> {
        let k = self.shape.len();
        (k..k + self.place).chain(0..k).chain(k + self.place..k + self.rest.len()).collect()
    }
    pub fn row_count(&self) -> usize {
        let n = self.order.len() - self.rest.len();
        self.order[..n].iter().map(|&a| self.basic.shape[a] as usize).product()
    }
}

//! An array that a kernel reads row by row: from memory, or computed as the rows are asked for, so that values on their way
//! to a kernel need not be written and read again.

use crate::base::Element;
use crate::cpu::map::{LeafSpec, leaves};
use crate::cpu::plan::{Frame, Plan};
use crate::cpu::scratch::{self, Slot};
use crate::ir::Program;

/// Rows of `T`; see [`Feed::row`].
pub struct Feed<'a, T> {
    from: From<'a, T>,
    len: usize,
}

enum From<'a, T> {
    Memory(&'a [T]),
    Program(Box<Plan<'a>>, u32),
}

// SAFETY: memory behind the leaves is only read.
unsafe impl<T: Sync> Sync for Feed<'_, T> {}

impl<'a, T: Element> Feed<'a, T> {
    pub fn of(data: &'a [T]) -> Feed<'a, T> {
        Feed { from: From::Memory(data), len: data.len() }
    }

    /// Calls `f` with the feed of a program's only output over `shape`.
    pub fn with<R>(program: &Program, specs: &mut [LeafSpec], shape: &[usize], f: impl FnOnce(&Feed<T>) -> R) -> R {
        let reg = program.outputs[0];
        assert_eq!(program.dtype(reg), T::DTYPE, "feed: the dtype that the kernel reads");
        let ready = leaves(specs, shape);
        let plan = Plan::new(program, &ready, false, &[]);
        f(&Feed { from: From::Program(Box::new(plan), reg), len: shape.iter().product() })
    }

    /// How many elements there are.
    pub fn count(&self) -> usize {
        self.len
    }

    /// Calls `f` with elements `start..start + n`.
    pub fn row<R>(&self, start: usize, n: usize, f: impl FnOnce(&[T]) -> R) -> R {
        let (plan, reg) = match &self.from {
            From::Memory(data) => return f(&data[start..start + n]),
            From::Program(plan, reg) => (plan, *reg),
        };
        assert!(start + n <= self.len, "feed: a row inside the array");
        scratch::with(Slot::Registers, plan.scratch(), |scratch: *mut u8| {
            scratch::with(Slot::Values, n, |row: *mut T| {
                let frame = Frame { scratch, blocks: std::ptr::null_mut() };
                let mut at = 0;
                while at < n {
                    let (first, out) = (start + at, row.wrapping_add(at));
                    // Leaves that are read along their rows would be gathered where a tile crosses the end of one.
                    let line = if plan.row > 0 { plan.row - first % plan.row } else { n };
                    let len = plan.tile.min(n - at).min(line);
                    // SAFETY: the leaves cover the array; `out` has room for `len` elements, which are written by the
                    // program, or copied from where a leaf has them.
                    unsafe {
                        plan.run(first, len, frame, |_| out.cast());
                        if plan.leaf(reg).is_some() {
                            let found = plan.result(reg, first, len, frame);
                            let from = found.ptr.cast::<T>();
                            (0..len).for_each(|i| *out.add(i) = *from.add(if found.splat { 0 } else { i }));
                        }
                    }
                    at += len;
                }
                // SAFETY: every element was written.
                f(unsafe { std::slice::from_raw_parts(row, n) })
            })
        })
    }
}

//! Where the leaves of a program lie that are contiguous along rows, but not from row to row: the rows of a block of
//! whole rows, found by moving on instead of dividing.

use crate::cpu::plan::Leaf;
use crate::cpu::walk::Steps;
use smallvec::SmallVec;

/// Rows of a block, at most.
pub const ROWS: usize = 32;

/// The rows of one leaf.
pub struct Line {
    /// The leaf's number.
    pub reg: usize,
    /// Whether one element stands for all of a row.
    pub splat: bool,
    /// Where each row begins.
    pub at: SmallVec<[*const u8; 1]>,
}

impl Line {
    /// The row that element `start` lies in, from there on.
    pub fn new(reg: usize, leaf: &Leaf, start: usize) -> Line {
        let at = SmallVec::from_buf([leaf.ptr.wrapping_offset(leaf.walk.offset(start))]);
        Line { reg, splat: leaf.walk.last().1 == 0, at }
    }
}

/// A block of `count` rows of `width` elements.
pub struct Rows {
    pub count: usize,
    pub width: usize,
    pub lines: SmallVec<[Line; 2]>,
}

impl Rows {
    /// The rows of a leaf that is read along them.
    #[inline]
    pub fn line(&self, reg: usize) -> Option<&Line> {
        self.lines.iter().find(|line| line.reg == reg)
    }
}

/// A place in these leaves that moves on from block to block.
pub struct Cursor<'a> {
    /// Of each line, where it is now and the way on.
    pub walks: SmallVec<[(*const u8, Steps<'a>); 2]>,
    pub rows: Rows,
}

impl Cursor<'_> {
    /// The next `count` rows of `width` elements, none of which crosses the end of a row of a leaf.
    #[inline]
    pub fn take(&mut self, count: usize, width: usize) -> &Rows {
        for (line, (at, steps)) in self.rows.lines.iter_mut().zip(&mut self.walks) {
            for place in &mut line.at[..count] {
                *place = *at;
                *at = at.wrapping_offset(steps.advance(width));
            }
        }
        (self.rows.count, self.rows.width) = (count, width);
        &self.rows
    }
}

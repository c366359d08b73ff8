//! Working memory of a thread: kept between calls, and never cleared.

use std::cell::RefCell;

/// What a piece of scratch memory is for: users that may be active at the same time take different slots.
#[derive(Clone, Copy)]
pub enum Slot {
    /// Registers of a program.
    Registers,
    /// Values that are about to be folded.
    Values,
    /// Accumulators.
    Sums,
    /// Blocks of transposed leaves.
    Blocks,
    /// Panels of the second matrix of a product.
    Panels,
    /// A block of the first matrix of a product.
    Rows,
}
const SLOTS: usize = 6;

thread_local! {
    static SPACE: [RefCell<Vec<u64>>; SLOTS] = const { [const { RefCell::new(Vec::new()) }; SLOTS] };
}

/// Calls `f` with room for `len` values, aligned to 64 bytes and not initialised.
pub fn with<T, R>(slot: Slot, len: usize, f: impl FnOnce(*mut T) -> R) -> R {
    // Taken out while it is used, so that a call from inside `f` finds an empty place, not a borrowed one.
    let mut space = SPACE.with(|s| s[slot as usize].take());
    let words = (len * size_of::<T>()).div_ceil(8) + 8;
    if space.capacity() < words {
        space = Vec::with_capacity(words);
    }
    let start = space.as_mut_ptr();
    let done = f(start.wrapping_byte_add(start.cast::<u8>().align_offset(64)).cast());
    SPACE.with(|s| *s[slot as usize].borrow_mut() = space);
    done
}

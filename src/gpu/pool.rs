//! Buffers that nothing uses, by size class. Only their numbers are here; the driver has the memory.

use crate::gpu::driver::BufferId;
use std::collections::{BTreeSet, HashMap};

/// The size of a buffer that holds `bytes`: 256, then four steps to each power of two.
pub fn class_bytes(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let log = 63 - bytes.leading_zeros() as u64;
    let step = 1u64 << (log - 2);
    bytes.div_ceil(step) * step
}

/// Free buffers; commands run in order, so one may be written again while its last reader is pending. The lowest number
/// goes first: a loop then meets the same buffers in the same places after a few rounds, and needs no new groups.
pub struct Pool {
    free: HashMap<u64, BTreeSet<BufferId>>,
    kept: u64,
    cap: u64,
}

impl Pool {
    pub fn new(cap: u64) -> Pool {
        Pool { free: HashMap::new(), kept: 0, cap }
    }
    pub fn kept(&self) -> u64 {
        self.kept
    }
    /// A free buffer of the class for which `fits` holds.
    pub fn take(&mut self, class: u64, fits: impl Fn(BufferId) -> bool) -> Option<BufferId> {
        let list = self.free.get_mut(&class)?;
        let id = list.iter().copied().find(|&id| fits(id))?;
        list.remove(&id);
        self.kept -= class;
        Some(id)
    }
    /// Keeps a buffer; false where the pool is full, and the buffer should be dropped.
    pub fn give(&mut self, class: u64, id: BufferId) -> bool {
        if self.kept + class > self.cap {
            return false;
        }
        self.kept += class;
        self.free.entry(class).or_default().insert(id);
        true
    }
    /// Takes out one buffer; whether it was there.
    pub fn forget(&mut self, class: u64, id: BufferId) -> bool {
        let Some(list) = self.free.get_mut(&class) else { return false };
        let there = list.remove(&id);
        self.kept -= class * u64::from(there);
        there
    }
    /// All free buffers, which the pool forgets.
    pub fn drain(&mut self) -> Vec<BufferId> {
        self.kept = 0;
        self.free.drain().flat_map(|(_, ids)| ids).collect()
    }
}

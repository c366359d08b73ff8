//! Collects launches in a batch, and knows what the device already has: pipelines by key, groups by their buffers.

use crate::base::Error;
use crate::gpu::driver::{BINDINGS, Batch, Bindings, BufferId, Command, Group, Pipeline, SLOT, Upload, WINDOW};
use crate::gpu::pool::{Pool, class_bytes};
use std::collections::{HashMap, HashSet};

/// Names a shader: equal keys print equal text. No sizes and no scalars are in it.
pub type Key = Vec<u64>;

/// Groups kept for reuse.
const GROUPS: usize = 4096;

/// A launch.
pub struct Launch<'a> {
    pub key: Key,
    pub label: &'a str,
    /// Read-only buffers, none of them an output.
    pub inputs: Bindings,
    pub outputs: Bindings,
    /// Whether outputs are read before they are written: the content that they have counts.
    pub updates: bool,
    /// Workgroups in all; they are spread over two axes.
    pub groups: u64,
    pub params: Vec<u32>,
}

/// Counts since the start; tests assert on differences.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub dispatches: u64,
    pub batches: u64,
    pub buffers: u64,
    pub pipelines: u64,
    pub groups: u64,
    pub uploads: u64,
    pub reads: u64,
}

struct Cached {
    id: u32,
    used: u64,
}

/// Everything that changes as launches are recorded.
pub struct Tape {
    batch: Batch,
    /// Buffers that commands of this batch use: uploads run before commands, so they must not go into these.
    touched: HashSet<BufferId>,
    pool: Pool,
    sizes: HashMap<BufferId, u64>,
    /// Buffers handed out by number: never pooled again.
    exported: HashSet<BufferId>,
    pipelines: HashMap<Key, u32>,
    groups: HashMap<(usize, Bindings), Cached>,
    groups_of: HashMap<BufferId, Vec<(usize, Bindings)>>,
    /// Buffers whose content was lost, and why.
    failed: HashMap<BufferId, Error>,
    next_buffer: BufferId,
    next_group: u32,
    next_pipeline: u32,
    clock: u64,
    live: u64,
    max_groups: u64,
    pub counts: Counts,
}

impl Tape {
    pub fn new(max_groups: u32, pool_cap: u64) -> Tape {
        Tape {
            batch: Batch::default(),
            touched: HashSet::new(),
            pool: Pool::new(pool_cap),
            sizes: HashMap::new(),
            exported: HashSet::new(),
            pipelines: HashMap::new(),
            groups: HashMap::new(),
            groups_of: HashMap::new(),
            failed: HashMap::new(),
            next_buffer: 1,
            next_group: 1,
            next_pipeline: 1,
            clock: 0,
            live: 0,
            max_groups: u64::from(max_groups),
            counts: Counts::default(),
        }
    }
    pub fn live_bytes(&self) -> u64 {
        self.live
    }
    pub fn kept_bytes(&self) -> u64 {
        self.pool.kept()
    }
    pub fn pending(&self) -> usize {
        self.batch.commands.len()
    }
    pub fn pending_upload_bytes(&self) -> usize {
        self.batch.uploads.iter().map(|u| u.bytes.len()).sum()
    }

    // ---- buffers ----

    /// A buffer of at least `bytes` bytes, from the pool or new.
    pub fn alloc(&mut self, bytes: u64) -> (BufferId, u64) {
        self.alloc_where(bytes, |_, _| true)
    }
    fn alloc_where(&mut self, bytes: u64, fits: impl Fn(&HashSet<BufferId>, BufferId) -> bool) -> (BufferId, u64) {
        assert!(bytes > 0, "an empty array never reaches the device");
        let class = class_bytes(bytes);
        let touched = &self.touched;
        let id = match self.pool.take(class, |id| fits(touched, id)) {
            Some(id) => id,
            None => {
                let id = self.new_id(class);
                self.batch.create.push((id, class));
                self.counts.buffers += 1;
                id
            }
        };
        self.live += class;
        (id, class)
    }
    fn new_id(&mut self, class: u64) -> BufferId {
        let id = self.next_buffer;
        self.next_buffer += 1;
        self.sizes.insert(id, class);
        id
    }
    /// A number for memory that the driver already has.
    pub fn adopt(&mut self, bytes: u64) -> BufferId {
        let id = self.new_id(bytes);
        self.exported.insert(id);
        self.live += bytes;
        id
    }
    /// The memory goes to somebody else, who may keep it longer than we do.
    pub fn export(&mut self, id: BufferId) {
        self.exported.insert(id);
    }
    pub fn is_exported(&self, id: BufferId) -> bool {
        self.exported.contains(&id)
    }
    /// Nothing uses the buffer any more.
    pub fn free(&mut self, id: BufferId) {
        let class = self.sizes.get(&id).copied().unwrap_or(0);
        self.live -= class.min(self.live);
        self.failed.remove(&id);
        if self.exported.contains(&id) || !self.pool.give(class, id) {
            self.drop_buffer(id);
        }
    }
    fn drop_buffer(&mut self, id: BufferId) {
        self.exported.remove(&id);
        self.sizes.remove(&id);
        // A group keeps its buffers' memory alive.
        for key in self.groups_of.remove(&id).unwrap_or_default() {
            self.forget_group(&key);
        }
        self.batch.drop.push(id);
    }
    /// Drops every free buffer.
    pub fn empty_pool(&mut self) {
        for id in self.pool.drain() {
            self.drop_buffer(id);
        }
    }

    // ---- work ----

    pub fn has_pipeline(&self, key: &Key) -> bool {
        self.pipelines.contains_key(key)
    }

    /// A new buffer with these bytes, a multiple of four.
    pub fn upload(&mut self, bytes: Vec<u8>) -> (BufferId, u64) {
        assert!(bytes.len().is_multiple_of(4), "uploads are whole words");
        let (id, class) = self.alloc_where(bytes.len() as u64, |touched, id| !touched.contains(&id));
        self.failed.remove(&id);
        self.batch.uploads.push(Upload { buffer: id, bytes });
        self.batch.written.push(id);
        self.counts.uploads += 1;
        (id, class)
    }

    /// Records a launch; `print` gives the shader where the device does not have it yet.
    pub fn launch(&mut self, launch: Launch, print: impl FnOnce() -> String) {
        let Launch { key, label, inputs, outputs, updates, groups, params } = launch;
        // What is made from lost data is lost.
        let read = inputs.iter().chain(outputs.iter().filter(|_| updates));
        if let Some(error) = read.filter_map(|id| self.failed.get(id)).next().cloned() {
            self.failed.extend(outputs.iter().map(|&id| (id, error.clone())));
            return;
        }
        outputs.iter().for_each(|id| drop(self.failed.remove(id)));
        assert!(groups > 0 && !outputs.is_empty() && inputs.len() + outputs.len() <= BINDINGS);
        assert!(params.len() * 4 <= WINDOW, "{label}: {} words of parameters", params.len());
        let pipeline = match self.pipelines.get(&key) {
            Some(&id) => id,
            None => {
                let id = self.next_pipeline;
                self.next_pipeline += 1;
                let (source, label) = (print(), label.to_owned());
                let (i, o) = (inputs.len(), outputs.len());
                self.batch.pipelines.push(Pipeline { id, label, source, inputs: i, outputs: o });
                self.pipelines.insert(key, id);
                self.counts.pipelines += 1;
                id
            }
        };
        self.touched.extend(inputs.iter().chain(&outputs));
        self.batch.written.extend(&outputs);
        let reads = inputs.len();
        let group = self.group(reads, inputs.into_iter().chain(outputs).collect());
        let at = self.batch.params.len();
        self.batch.params.extend(params.iter().flat_map(|w| w.to_le_bytes()));
        let end = self.batch.params.len().div_ceil(SLOT).max(at / SLOT + 1) * SLOT;
        self.batch.params.resize(end, 0);
        let x = groups.min(self.max_groups);
        let grid = [x as u32, groups.div_ceil(x) as u32, 1];
        self.batch.commands.push(Command { pipeline, group, grid, params: at as u32 });
        self.counts.dispatches += 1;
    }

    fn group(&mut self, inputs: usize, buffers: Bindings) -> u32 {
        self.clock += 1;
        let key = (inputs, buffers);
        if let Some(cached) = self.groups.get_mut(&key) {
            cached.used = self.clock;
            return cached.id;
        }
        if self.groups.len() >= GROUPS {
            self.forget_groups();
        }
        let id = self.next_group;
        self.next_group += 1;
        for &buffer in &key.1 {
            self.groups_of.entry(buffer).or_default().push(key.clone());
        }
        self.batch.groups.push(Group { id, inputs, buffers: key.1.clone() });
        self.groups.insert(key, Cached { id, used: self.clock });
        self.counts.groups += 1;
        id
    }
    /// Drops the older half of the groups.
    fn forget_groups(&mut self) {
        let mut ages: Vec<u64> = self.groups.values().map(|g| g.used).collect();
        let middle = ages.len() / 2;
        let limit = *ages.select_nth_unstable(middle).1;
        let old: Vec<_> = self.groups.iter().filter(|(_, g)| g.used < limit).map(|(k, _)| k.clone()).collect();
        old.iter().for_each(|key| self.forget_group(key));
    }

    /// The work so far; the tape starts a new batch.
    pub fn take(&mut self) -> Batch {
        self.touched.clear();
        self.counts.batches += !self.batch.commands.is_empty() as u64;
        std::mem::take(&mut self.batch)
    }

    // ---- failures ----

    /// The batch did not run: what it was to write is lost, and what it was to make must be made again. A buffer that
    /// may not exist is never reused.
    pub fn fail(&mut self, batch: &Batch, error: &Error) {
        for &id in &batch.written {
            if self.sizes.contains_key(&id) {
                self.failed.insert(id, error.clone());
            }
        }
        let made: HashSet<u32> = batch.pipelines.iter().map(|p| p.id).collect();
        self.pipelines.retain(|_, id| !made.contains(id));
        for group in &batch.groups {
            self.forget_group(&(group.inputs, group.buffers.clone()));
        }
        for &(id, class) in &batch.create {
            if self.pool.forget(class, id) {
                self.drop_buffer(id);
            } else if self.sizes.contains_key(&id) {
                self.exported.insert(id);
            }
        }
    }
    fn forget_group(&mut self, key: &(usize, Bindings)) {
        if let Some(group) = self.groups.remove(key) {
            self.batch.drop_groups.push(group.id);
        }
        for buffer in &key.1 {
            if let Some(list) = self.groups_of.get_mut(buffer) {
                list.retain(|k| k != key);
            }
        }
    }
    /// Why the content of a buffer is not there.
    pub fn failure(&self, id: BufferId) -> Option<Error> {
        self.failed.get(&id).cloned()
    }
}

//! What a device must do: replay batches in order, read buffers back, wait.

use crate::base::Result;
use smallvec::SmallVec;
use std::sync::{Arc, Mutex};

pub type BufferId = u32;

/// The buffers of a launch: inputs, then outputs.
pub type Bindings = SmallVec<[BufferId; 8]>;

/// What a device can do, as far as we care.
#[derive(Clone, Debug, PartialEq)]
pub struct Caps {
    pub name: String,
    /// The most bytes that a shader may see of one buffer.
    pub max_binding: u64,
    /// The most workgroups along one axis of a launch.
    pub max_groups: u32,
}

/// A shader to compile: entry point `main`, binding 0 the parameters, then inputs, then outputs.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub id: u32,
    pub label: String,
    pub source: String,
    pub inputs: usize,
    pub outputs: usize,
}

/// Buffers bound together. Launches of one layout and the same buffers share a group: making one is what costs.
#[derive(Clone, Debug)]
pub struct Group {
    pub id: u32,
    pub inputs: usize,
    pub buffers: Bindings,
}

/// Bytes to write into a buffer before the commands run.
pub struct Upload {
    pub buffer: BufferId,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub pipeline: u32,
    pub group: u32,
    pub grid: [u32; 3],
    /// Where its parameters begin in the ring.
    pub params: u32,
}

/// Work for the device, in the order of its fields.
#[derive(Default)]
pub struct Batch {
    pub create: Vec<(BufferId, u64)>,
    pub pipelines: Vec<Pipeline>,
    pub groups: Vec<Group>,
    pub uploads: Vec<Upload>,
    /// Parameters of all commands, each at a multiple of [`SLOT`].
    pub params: Vec<u8>,
    pub commands: Vec<Command>,
    pub drop_groups: Vec<u32>,
    pub drop: Vec<BufferId>,
    /// Buffers that the commands and uploads write: what is lost if the batch fails.
    pub written: Vec<BufferId>,
    /// Whether it was tried before, and memory ran out.
    pub again: bool,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.create.is_empty()
            && self.pipelines.is_empty()
            && self.groups.is_empty()
            && self.uploads.is_empty()
            && self.commands.is_empty()
            && self.drop_groups.is_empty()
            && self.drop.is_empty()
    }
}

/// The alignment of parameters in the ring: what every device accepts as an offset.
pub const SLOT: usize = 256;
/// The bytes of parameters that a shader sees.
pub const WINDOW: usize = 512;
/// The most storage buffers of one launch: what every device has.
pub const BINDINGS: usize = 8;

/// Replays batches on a device. Methods may be called from any thread; a driver serves one at a time.
pub trait Driver: Send + Sync {
    fn caps(&self) -> &Caps;
    /// Takes batches from `next` until there is none and hands each to `done` with its outcome. Two threads must not
    /// interleave: a driver takes the next batch only when it alone may run it. Where memory runs out, the batch comes
    /// again after others were dropped: what it made already must be passed over then.
    fn replay(&self, next: &mut dyn FnMut() -> Option<Batch>, done: &mut dyn FnMut(Batch, Result<()>)) -> Result<()>;
    /// Copies `out.len()` bytes of a buffer, a multiple of four, from `offset`.
    fn read(&self, buffer: BufferId, offset: u64, out: &mut [u8]) -> Result<()>;
    /// Waits until everything replayed has run.
    fn wait(&self) -> Result<()>;
}

/// A device of paper: batches are kept to look at, and nothing runs.
pub struct Paper {
    caps: Caps,
    sheet: Arc<Mutex<Vec<Batch>>>,
}

impl Paper {
    pub fn new() -> (Paper, Arc<Mutex<Vec<Batch>>>) {
        let sheet = Arc::new(Mutex::new(Vec::new()));
        let caps = Caps { name: "paper".into(), max_binding: 128 << 20, max_groups: 65_535 };
        (Paper { caps, sheet: sheet.clone() }, sheet)
    }
}

impl Driver for Paper {
    fn caps(&self) -> &Caps {
        &self.caps
    }
    fn replay(&self, next: &mut dyn FnMut() -> Option<Batch>, _: &mut dyn FnMut(Batch, Result<()>)) -> Result<()> {
        let mut sheet = self.sheet.lock().unwrap_or_else(|e| e.into_inner());
        sheet.extend(std::iter::from_fn(next));
        Ok(())
    }
    fn read(&self, _: BufferId, _: u64, out: &mut [u8]) -> Result<()> {
        out.fill(0);
        Ok(())
    }
    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

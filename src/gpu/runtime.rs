//! A device in use: the tape under a lock, and the driver that replays it.
//!
//! The lock is held for moments only and never while the driver runs, which may need the interpreter.

use crate::base::lock::lock;
use crate::base::{Error, Kind, Result};
use crate::gpu::driver::{Batch, BufferId, Caps, Driver};
use crate::gpu::tape::{Counts, Key, Launch, Tape};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

/// Commands after which a batch is sent without being asked for.
const COMMANDS: usize = 64;
/// Bytes waiting to be uploaded after which it is.
const UPLOADS: usize = 64 << 20;

pub struct Runtime {
    pub id: i32,
    driver: Box<dyn Driver>,
    state: Mutex<State>,
    /// The process forked, or the device was lost or reset: nothing may reach the driver.
    dead: AtomicBool,
}

struct State {
    tape: Tape,
    /// Batches that a driver has yet to take.
    queue: VecDeque<Batch>,
}

/// Memory on a device. Goes back to the pool when the last user lets go.
pub struct GpuBuffer {
    pub id: BufferId,
    pub bytes: u64,
    pub runtime: Arc<Runtime>,
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        lock(&self.runtime.state).tape.free(self.id);
    }
}

fn pool_cap() -> u64 {
    let mb = std::env::var("OXGRAD_GPU_POOL_MB").ok().and_then(|v| v.parse().ok()).unwrap_or(1024u64);
    mb.saturating_mul(1 << 20)
}

impl Runtime {
    pub fn new(id: i32, driver: Box<dyn Driver>) -> Arc<Runtime> {
        let tape = Tape::new(driver.caps().max_groups, pool_cap());
        let state = Mutex::new(State { tape, queue: VecDeque::new() });
        Arc::new(Runtime { id, driver, state, dead: AtomicBool::new(false) })
    }
    pub fn caps(&self) -> &Caps {
        self.driver.caps()
    }
    pub fn counts(&self) -> Counts {
        lock(&self.state).tape.counts
    }
    /// Bytes in arrays, and bytes kept for reuse.
    pub fn memory(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.tape.live_bytes(), state.tape.kept_bytes())
    }
    /// Nothing will reach the driver any more.
    pub fn kill(&self) {
        self.dead.store(true, Relaxed);
    }
    fn check(&self) -> Result<()> {
        crate::ensure!(
            !self.dead.load(Relaxed),
            "gpu({}): the device is gone: arrays on it cannot be used any more (after gpu.reset() make new ones)",
            self.id
        );
        Ok(())
    }
    fn buffer(self: &Arc<Runtime>, (id, bytes): (BufferId, u64)) -> Arc<GpuBuffer> {
        Arc::new(GpuBuffer { id, bytes, runtime: self.clone() })
    }

    /// Memory for `bytes` bytes, uninitialised.
    pub fn alloc(self: &Arc<Runtime>, bytes: u64) -> Result<Arc<GpuBuffer>> {
        self.check()?;
        let most = self.caps().max_binding;
        crate::ensure!(
            bytes <= most,
            Memory,
            "gpu({}): an array of {bytes} bytes, expected at most {most}: the device binds no more at once",
            self.id
        );
        let made = lock(&self.state).tape.alloc(bytes);
        Ok(self.buffer(made))
    }
    /// A buffer with these bytes; their number must be a multiple of four.
    pub fn upload(self: &Arc<Runtime>, bytes: Vec<u8>) -> Result<Arc<GpuBuffer>> {
        self.check()?;
        let most = self.caps().max_binding;
        crate::ensure!(
            bytes.len() as u64 <= most,
            Memory,
            "gpu({}): an array of {} bytes, expected at most {most}: the device binds no more at once",
            self.id,
            bytes.len()
        );
        let (made, due) = {
            let mut state = lock(&self.state);
            (state.tape.upload(bytes), state.tape.pending_upload_bytes() > UPLOADS)
        };
        let buffer = self.buffer(made);
        if due {
            self.flush()?;
        }
        Ok(buffer)
    }
    pub fn launch(&self, launch: Launch, print: impl FnOnce() -> String) -> Result<()> {
        self.check()?;
        let due = {
            let mut state = lock(&self.state);
            state.tape.launch(launch, print);
            state.tape.pending() >= COMMANDS
        };
        if due { self.flush() } else { Ok(()) }
    }

    /// A number for memory that `give` hands to the driver.
    pub fn adopt(self: &Arc<Runtime>, bytes: u64, give: impl FnOnce(BufferId) -> Result<()>) -> Result<Arc<GpuBuffer>> {
        self.check()?;
        let id = lock(&self.state).tape.adopt(bytes);
        let buffer = self.buffer((id, bytes));
        give(id)?;
        Ok(buffer)
    }
    /// The memory is somebody else's too from now on; the work that fills it has been sent.
    pub fn export(&self, buffer: &GpuBuffer) -> Result<()> {
        lock(&self.state).tape.export(buffer.id);
        self.flush()?;
        match lock(&self.state).tape.failure(buffer.id) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Whether the device has the shader of a key.
    pub fn has_pipeline(&self, key: &Key) -> bool {
        lock(&self.state).tape.has_pipeline(key)
    }
    /// Whether somebody else may look at the memory.
    pub fn is_exported(&self, buffer: &GpuBuffer) -> bool {
        lock(&self.state).tape.is_exported(buffer.id)
    }

    /// Sends what is recorded. Failures show when what they spoiled is read.
    pub fn flush(&self) -> Result<()> {
        self.check()?;
        {
            let mut state = lock(&self.state);
            let batch = state.tape.take();
            if !batch.is_empty() {
                state.queue.push_back(batch);
            }
        }
        let mut next = || lock(&self.state).queue.pop_front();
        let mut done = |batch: Batch, outcome: Result<()>| {
            let Err(error) = outcome else { return };
            let mut state = lock(&self.state);
            if error.kind == Kind::Memory && !batch.again {
                // Once more, without the free buffers.
                state.tape.empty_pool();
                let drops = state.tape.take();
                state.queue.push_front(Batch { again: true, ..batch });
                state.queue.push_front(drops);
            } else {
                state.tape.fail(&batch, &error);
            }
        };
        self.driver.replay(&mut next, &mut done)
    }
    /// Copies bytes back, a multiple of four.
    pub fn read(&self, buffer: &GpuBuffer, offset: u64, out: &mut [u8]) -> Result<()> {
        self.flush()?;
        {
            let mut state = lock(&self.state);
            state.tape.counts.reads += 1;
            if let Some(error) = state.tape.failure(buffer.id) {
                return Err(error);
            }
        }
        self.driver.read(buffer.id, offset, out)
    }
    pub fn wait(&self) -> Result<()> {
        self.flush()?;
        self.driver.wait()
    }
    /// Drops the free buffers.
    pub fn empty_cache(&self) -> Result<()> {
        lock(&self.state).tape.empty_pool();
        self.flush()
    }
}

// ---- the devices of the process ----

type Open = fn(i32) -> Result<Box<dyn Driver>>;

static OPEN: OnceLock<Open> = OnceLock::new();
static RUNTIMES: OnceLock<Mutex<HashMap<i32, Arc<Runtime>>>> = OnceLock::new();

fn runtimes() -> &'static Mutex<HashMap<i32, Arc<Runtime>>> {
    RUNTIMES.get_or_init(Default::default)
}

/// How to open a device.
pub fn open_with(open: Open) {
    let _ = OPEN.set(open);
}

/// The device of a number, opened when first needed.
pub fn runtime(id: i32) -> Result<Arc<Runtime>> {
    if let Some(runtime) = lock(runtimes()).get(&id) {
        return Ok(runtime.clone());
    }
    let open = OPEN.get().ok_or_else(|| Error::op(format_args!("gpu({id}): no driver: this program has none")))?;
    // Opened without the lock: it may take long. Of two threads the first one's device stays.
    let made = Runtime::new(id, open(id)?);
    Ok(lock(runtimes()).entry(id).or_insert(made).clone())
}

/// The devices opened so far.
pub fn opened() -> Vec<Arc<Runtime>> {
    lock(runtimes()).values().cloned().collect()
}

/// Forgets all devices: the next use opens them again. Arrays on the old ones are lost.
pub fn reset() {
    for (_, runtime) in lock(runtimes()).drain() {
        runtime.kill();
    }
}

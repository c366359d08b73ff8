//! The threads that kernels run on: a rayon pool of our own, rebuilt in a forked child.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Elements below which a loop stays on the calling thread: waking a worker costs more than this work.
pub const GRAIN: usize = 64 << 10;

struct State {
    pool: Option<Arc<ThreadPool>>,
    pid: u32,
}

static STATE: Mutex<State> = Mutex::new(State { pool: None, pid: 0 });
static THREADS: OnceLock<usize> = OnceLock::new();

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// Holds the pool while the process forks.
pub(super) fn hold() -> super::fork::Held {
    Box::new(lock())
}

/// The number of threads: `OXGRAD_NUM_THREADS`, or what the process may use (affinity and cgroup limits count).
pub fn threads() -> usize {
    *THREADS.get_or_init(|| {
        let wanted = std::env::var("OXGRAD_NUM_THREADS").ok().and_then(|v| v.parse().ok());
        let found = std::thread::available_parallelism().map_or(1, |n| n.get());
        wanted.unwrap_or(found).clamp(1, 256)
    })
}

/// The pool, or `None` where one thread is all there is.
fn pool() -> Option<Arc<ThreadPool>> {
    if threads() == 1 {
        return None;
    }
    let mut state = lock();
    let pid = std::process::id();
    if state.pool.is_none() || state.pid != pid {
        // After fork the workers exist only in the parent: leave that pool alone and start another.
        if let Some(old) = state.pool.take()
            && state.pid != pid
        {
            std::mem::forget(old);
        }
        let built = ThreadPoolBuilder::new().num_threads(threads()).thread_name(|i| format!("oxgrad-{i}")).build();
        state.pool = built.ok().map(Arc::new);
        state.pid = pid;
    }
    state.pool.clone()
}

/// Runs `f` on the pool, where rayon's own parallel calls use all its threads.
pub fn install<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    match pool() {
        Some(pool) => pool.install(f),
        None => f(),
    }
}

/// Runs `f(start, end)` over `0..n` in pieces whose bounds are multiples of `grain`, on all threads when there is
/// enough work, else at once.
pub fn split(n: usize, grain: usize, f: impl Fn(usize, usize) + Sync) {
    count_loop();
    if n < 2 * grain || threads() == 1 {
        return f(0, n);
    }
    // A few pieces to each thread even out noise without cutting runs short.
    let pieces = n.div_ceil(grain).min(4 * threads());
    let piece = n.div_ceil(pieces).div_ceil(grain) * grain;
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let start = next.fetch_add(1, Relaxed) * piece;
            if start >= n {
                break;
            }
            f(start, (start + piece).min(n));
        }
    };
    install(|| rayon::scope(|s| (0..threads()).for_each(|_| s.spawn(|_| work()))));
}

/// Fills a slice in pieces: `f(first, piece)` gets the index of a piece's first element. Large slices take all threads.
pub fn fill<T: Send>(out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() < 2 * GRAIN || threads() == 1 {
        return f(0, out);
    }
    let piece = out.len().div_ceil(4 * threads()).next_multiple_of(GRAIN / 16);
    each(out.chunks_mut(piece).enumerate().collect(), |(i, part)| f(i * piece, part));
}

/// Runs `f` on each item, on all threads.
pub fn each<J: Send>(items: Vec<J>, f: impl Fn(J) + Sync) {
    use rayon::prelude::*;
    install(|| items.into_par_iter().for_each(&f));
}

/// Work counted by one thread: counting together would make every small op wait for a shared cache line.
struct Counts {
    loops: Cell<u64>,
    bytes: Cell<u64>,
}

thread_local! {
    static COUNTS: Counts = const { Counts { loops: Cell::new(0), bytes: Cell::new(0) } };
}

/// Loops over memory that this thread has started so far (a fused region is one), for tests.
pub fn loops() -> u64 {
    COUNTS.with(|c| c.loops.get())
}
/// Bytes written to arrays by this thread's loops so far.
pub fn bytes_written() -> u64 {
    COUNTS.with(|c| c.bytes.get())
}
/// Counts one loop that did not go through [`split`].
#[inline]
pub fn count_loop() {
    COUNTS.with(|c| c.loops.set(c.loops.get() + 1));
}
#[inline]
pub fn count_bytes(bytes: usize) {
    COUNTS.with(|c| c.bytes.set(c.bytes.get() + bytes as u64));
}
/// Counts a loop and what it writes.
#[inline]
pub fn count_work(bytes: usize) {
    COUNTS.with(|c| {
        c.loops.set(c.loops.get() + 1);
        c.bytes.set(c.bytes.get() + bytes as u64);
    });
}

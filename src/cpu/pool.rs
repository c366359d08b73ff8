//! Loops on all threads, those of a rayon pool of our own (`team`).
//!
//! A parallel loop is offered, not handed out: the caller opens it, works on it itself, and whoever else comes in time
//! takes pieces too. A worker that wakes up late finds no pieces left and the caller does not wait for it, so a short
//! loop is never slower than on one thread by more than the offer. Workers look for the next loop for a moment before
//! they sleep, since loops come in bursts.

use crate::cpu::team::together;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

/// Elements of a cheap loop that are worth offering to another thread.
pub const GRAIN: usize = 16 << 10;

static THREADS: OnceLock<usize> = OnceLock::new();

/// The number of threads: `OXGRAD_NUM_THREADS`, or what the process may use (affinity and cgroup limits count).
pub fn threads() -> usize {
    *THREADS.get_or_init(|| {
        let wanted = std::env::var("OXGRAD_NUM_THREADS").ok().and_then(|v| v.parse().ok());
        wanted.unwrap_or(available()).clamp(1, 256)
    })
}

/// The processors that this process may use.
pub fn available() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Runs `f(i)` for each `i` below `pieces`, in any order and on all threads.
///
/// Each thread begins at a place of its own, the same in every loop, so that it meets again what its caches hold; done
/// there, it helps the others.
pub fn run(pieces: usize, f: impl Fn(usize) + Sync) {
    let homes = threads().min(pieces).min(HOMES);
    if homes < 2 {
        return (0..pieces).for_each(f);
    }
    let edge = |home: usize| home * pieces / homes;
    let next: [Line; HOMES] = std::array::from_fn(|home| Line(AtomicUsize::new(edge(home.min(homes)))));
    together(&|me, between: &mut dyn FnMut()| {
        for home in (me..me + homes).map(|home| home % homes) {
            loop {
                let i = next[home].0.fetch_add(1, Relaxed);
                if i >= edge(home + 1) {
                    break;
                }
                f(i);
                between();
            }
        }
    });
}

/// Places where threads begin, at most.
const HOMES: usize = 16;

/// A counter in a cache line of its own.
#[repr(align(64))]
struct Line(AtomicUsize);

/// Runs `f(start, end)` over `0..n` in pieces whose bounds are multiples of `grain`, on all threads when there is
/// enough work, else at once.
pub fn split(n: usize, grain: usize, f: impl Fn(usize, usize) + Sync) {
    count_loop();
    share(n, grain, f)
}

/// [`split`] for a part of a loop that has been counted.
pub fn share(n: usize, grain: usize, f: impl Fn(usize, usize) + Sync) {
    if n < 2 * grain || threads() == 1 {
        return f(0, n);
    }
    // A few pieces to each thread even out noise without cutting runs short.
    let pieces = n.div_ceil(grain).min(4 * threads());
    let piece = n.div_ceil(pieces).div_ceil(grain) * grain;
    run(n.div_ceil(piece), |i| f(i * piece, ((i + 1) * piece).min(n)));
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
    let count = items.len();
    let left = Mutex::new(items.into_iter());
    let next = || left.lock().unwrap_or_else(|poison| poison.into_inner()).next();
    run(count, |_| {
        if let Some(item) = next() {
            f(item);
        }
    });
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

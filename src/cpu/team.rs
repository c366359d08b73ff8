//! The worker threads and the protocol by which they join a loop.
//!
//! One word says everything: which loop it is (a number), whether it is open, and how many workers are inside. A worker
//! joins by raising the count while the loop is open; the caller closes the loop when it has no work left itself and
//! then waits for the count to fall to zero. One loop runs at a time: a call from inside a loop, or from another thread
//! while one runs, does its work alone.

use crate::cpu::pool::{available, threads};
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::*};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

const OPEN: u64 = 1 << 16;
const COUNT: u64 = OPEN - 1;
const NEXT: u64 = OPEN << 1;

/// How long a worker looks for the next loop before it sleeps: to wake a sleeping thread costs tens of microseconds, most
/// of them the caller's, and loops come in bursts. OpenMP's runtimes look for longer.
const LOOK: Duration = Duration::from_millis(2);

/// Work done alone before sleeping workers are woken, in nanoseconds, loops of one burst taken together. Short loops
/// that come seldom are over before a worker would be there.
const ALONE: u64 = 60_000;

/// A thread's part of a loop. It calls what it is given between pieces.
pub type Part<'a> = dyn Fn(&mut dyn FnMut()) + Sync + 'a;
type Work = *const Part<'static>;

struct Team {
    state: AtomicU64,
    /// What the open loop runs; written only while no loop is open and nobody is inside.
    work: UnsafeCell<Option<Work>>,
    /// Held by the caller of the loop that runs.
    turn: Mutex<()>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Nanoseconds that callers worked while workers slept.
    alone: AtomicU64,
    workers: OnceLock<Vec<Worker>>,
    look: Duration,
    pid: u32,
}

struct Worker {
    thread: Thread,
    asleep: AtomicBool,
}

// SAFETY: `work` is written by the holder of `turn` while the loop is closed and empty, and read by workers that joined
// while it was open, which orders the write before the read.
unsafe impl Sync for Team {}
// SAFETY: as above; the pointer in `work` is used only while the caller that lent it waits.
unsafe impl Send for Team {}

static TEAM: AtomicPtr<Team> = AtomicPtr::new(std::ptr::null_mut());
static MAKING: Mutex<()> = Mutex::new(());

/// Holds the making of a team while the process forks.
pub(super) fn hold() -> super::fork::Held {
    Box::new(lock(&MAKING))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// The workers of this process. After `fork` they exist only in the parent, so the child makes its own.
fn team() -> &'static Team {
    let pid = std::process::id();
    let find = || {
        // SAFETY: a team is never freed.
        unsafe { TEAM.load(Acquire).as_ref() }.filter(|team| team.pid == pid)
    };
    if let Some(team) = find() {
        return team;
    }
    let _one = lock(&MAKING);
    find().unwrap_or_else(|| {
        let team: &'static Team = Box::leak(Box::new(Team {
            state: AtomicU64::new(0),
            work: UnsafeCell::new(None),
            turn: Mutex::new(()),
            panic: Mutex::new(None),
            alone: AtomicU64::new(0),
            workers: OnceLock::new(),
            // With more threads than processors, whoever looks keeps another from working.
            look: if threads() > available() { Duration::ZERO } else { LOOK },
            pid,
        }));
        let spawn = |i: usize| {
            let name = std::thread::Builder::new().name(format!("oxgrad-{i}"));
            let started = name.spawn(move || team.serve(i - 1)).ok()?;
            Some(Worker { thread: started.thread().clone(), asleep: AtomicBool::new(false) })
        };
        let _ = team.workers.set((1..threads()).map_while(spawn).collect());
        TEAM.store(std::ptr::from_ref(team).cast_mut(), Release);
        team
    })
}

/// Runs `work` on this thread, and at the same time on every worker that comes before this thread is done. It must
/// share out what there is to do by itself.
pub fn together(work: &Part) {
    if threads() == 1 {
        return work(&mut || ());
    }
    let team = team();
    let _turn = match team.turn.try_lock() {
        Ok(turn) => turn,
        Err(std::sync::TryLockError::Poisoned(poison)) => poison.into_inner(),
        Err(std::sync::TryLockError::WouldBlock) => return work(&mut || ()),
    };
    team.open(work);
    {
        let _close = Close(team);
        if team.sleepers().next().is_none() {
            work(&mut || ());
        } else {
            let start = Instant::now();
            let before = team.alone.load(Relaxed);
            let passed = || before + start.elapsed().as_nanos() as u64;
            let mut waiting = true;
            work(&mut || {
                if waiting && passed() > ALONE {
                    waiting = false;
                    team.sleepers().for_each(Worker::wake);
                }
            });
            team.alone.store(if waiting { passed() } else { 0 }, Relaxed);
        }
    }
    if let Some(panic) = lock(&team.panic).take() {
        resume_unwind(panic);
    }
}

impl Worker {
    fn wake(&self) {
        if self.asleep.swap(false, SeqCst) {
            self.thread.unpark();
        }
    }
}

/// Closes the loop at the end of the caller's part, even where that ends by a panic.
struct Close<'a>(&'a Team);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        let state = &self.0.state;
        state.fetch_and(!OPEN, AcqRel);
        let mut looks = 0u32;
        while state.load(Acquire) & COUNT != 0 {
            looks += 1;
            // The worker may have lost its processor: give it this one.
            if looks.is_multiple_of(2048) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

impl Team {
    fn open(&self, work: &Part) {
        // SAFETY: this thread holds `turn`, the loop is closed and empty. The lifetime is dropped from the type; `Close`
        // waits for the workers before `work` ends.
        unsafe { *self.work.get() = Some(std::mem::transmute::<*const Part, Work>(work)) };
        self.state.fetch_add(NEXT | OPEN, SeqCst);
    }

    fn sleepers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.get().into_iter().flatten().filter(|w| w.asleep.load(SeqCst))
    }

    /// The life of a worker.
    fn serve(&self, me: usize) {
        let (mut seen, mut since, mut looks) = (0, Instant::now(), 0u32);
        loop {
            let state = self.state.load(Acquire);
            if state & OPEN != 0 && state / NEXT != seen {
                if self.state.compare_exchange(state, state + 1, AcqRel, Relaxed).is_ok() {
                    seen = state / NEXT;
                    self.join();
                    since = Instant::now();
                }
                continue;
            }
            looks = looks.wrapping_add(1);
            if !looks.is_multiple_of(64) {
                std::hint::spin_loop();
                continue;
            }
            if since.elapsed() < self.look {
                // Whoever else wants this processor gets it.
                std::thread::yield_now();
                continue;
            }
            let Some(worker) = self.workers.get().and_then(|w| w.get(me)) else { continue };
            worker.asleep.store(true, SeqCst);
            let state = self.state.load(SeqCst);
            if state & OPEN == 0 || state / NEXT == seen {
                std::thread::park();
            }
            worker.asleep.store(false, SeqCst);
            since = Instant::now();
        }
    }

    fn join(&self) {
        // SAFETY: the loop was open when this worker joined, so its work was written before; the caller waits for us.
        let work = unsafe { (*self.work.get()).map(|work| &*work) };
        if let Some(work) = work
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&mut || ())))
        {
            lock(&self.panic).get_or_insert(panic);
        }
        self.state.fetch_sub(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::pool::run;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn each_piece_runs_once() {
        for round in 0..2000 {
            let pieces = round % 37;
            let seen: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
            run(pieces, |i| {
                seen[i].fetch_add(1, Relaxed);
            });
            assert!(seen.iter().all(|s| s.load(Relaxed) == 1));
        }
    }

    #[test]
    fn nested_and_concurrent_loops() {
        let total = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    (0..200).for_each(|_| {
                        run(8, |_| {
                            run(3, |_| {
                                total.fetch_add(1, Relaxed);
                            })
                        })
                    });
                });
            }
        });
        assert_eq!(total.load(Relaxed), 4 * 200 * 8 * 3);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        for _ in 0..50 {
            let found = catch_unwind(|| run(16, |i| assert!(i != 7, "piece seven")));
            assert!(found.is_err());
        }
        run(16, |_| ());
    }
}

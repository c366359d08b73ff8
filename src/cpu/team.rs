//! How the threads of a rayon pool join a loop.
//!
//! Rayon gives the threads, wakes them and puts them to sleep; what a woken thread does is here, since a loop that is
//! handed out by rayon must wait for every thread that it was handed to, however late it wakes. One word says everything: which loop it is (a number), whether it is open, and how many workers are inside. A worker
//! joins by raising the count while the loop is open; the caller closes the loop when it has no work left itself and
//! then waits for the count to fall to zero. One loop runs at a time: a call from inside a loop, or from another thread
//! while one runs, does its work alone.

use crate::cpu::pool::{available, threads};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::*};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

const OPEN: u64 = 1 << 16;
const COUNT: u64 = OPEN - 1;
const NEXT: u64 = OPEN << 1;

/// How long a worker looks for the next loop before it goes back to rayon, which lets it sleep: to wake a sleeping thread costs tens of microseconds, most
/// of them the caller's, and loops come in bursts. OpenMP's runtimes look for longer.
const LOOK: Duration = Duration::from_millis(2);

/// How long it looks before it also offers its processor to others between looks: within a burst it stays.
const KEEP: Duration = Duration::from_micros(200);

/// Work done alone before sleeping workers are woken, in nanoseconds, loops of one burst taken together. Short loops
/// that come seldom are over before a worker would be there.
const ALONE: u64 = 60_000;

/// A thread's part of a loop: it is given the thread's number (the caller's is 0), and calls what it is given between
/// pieces.
pub type Part<'a> = dyn Fn(usize, &mut dyn FnMut()) + Sync + 'a;
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
    /// Absent where the system gives no threads.
    pool: Option<ThreadPool>,
    /// Of each worker, whether it is away: with rayon, asleep.
    away: Vec<AtomicBool>,
    look: Duration,
    pid: u32,
}

// SAFETY: `work` is written by the holder of `turn` while the loop is closed and empty, and read by workers that joined
// while it was open, which orders the write before the read.
unsafe impl Sync for Team {}
// SAFETY: as above; the pointer in `work` is used only while the caller that lent it waits.
unsafe impl Send for Team {}

static TEAM: AtomicPtr<Team> = AtomicPtr::new(std::ptr::null_mut());
static MAKING: Mutex<()> = Mutex::new(());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// Holds what makes the team while the process forks.
pub(super) fn hold() -> super::fork::Held {
    Box::new(lock(&MAKING))
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
        let named = |i| format!("oxgrad-{}", i + 1);
        let pool = ThreadPoolBuilder::new().num_threads(threads() - 1).thread_name(named).build().ok();
        let away = pool.iter().flat_map(|pool| 0..pool.current_num_threads()).map(|_| AtomicBool::new(true)).collect();
        let team: &'static Team = Box::leak(Box::new(Team {
            state: AtomicU64::new(0),
            work: UnsafeCell::new(None),
            turn: Mutex::new(()),
            panic: Mutex::new(None),
            alone: AtomicU64::new(0),
            pool,
            away,
            // With more threads than processors, whoever looks keeps another from working.
            look: if threads() > available() { Duration::ZERO } else { LOOK },
            pid,
        }));
        TEAM.store(std::ptr::from_ref(team).cast_mut(), Release);
        team
    })
}

/// Runs `work` on this thread, and at the same time on every worker that comes before this thread is done. It must
/// share out what there is to do by itself.
pub fn together(work: &Part) {
    if threads() == 1 {
        return work(0, &mut || ());
    }
    let team = team();
    let _turn = match team.turn.try_lock() {
        Ok(turn) => turn,
        Err(std::sync::TryLockError::Poisoned(poison)) => poison.into_inner(),
        Err(std::sync::TryLockError::WouldBlock) => return work(0, &mut || ()),
    };
    team.open(work);
    {
        let _close = Close(team);
        if team.all_here() {
            work(0, &mut || ());
        } else {
            let start = Instant::now();
            let before = team.alone.load(Relaxed);
            let passed = || before + start.elapsed().as_nanos() as u64;
            let mut waiting = true;
            work(0, &mut || {
                if waiting && passed() > ALONE {
                    waiting = false;
                    team.call();
                }
            });
            team.alone.store(if waiting { passed() } else { 0 }, Relaxed);
        }
    }
    if let Some(panic) = lock(&team.panic).take() {
        resume_unwind(panic);
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

    fn all_here(&self) -> bool {
        self.away.iter().all(|away| !away.load(SeqCst))
    }

    /// Calls the workers that are away.
    fn call(&'static self) {
        let Some(pool) = &self.pool else { return };
        for (i, away) in self.away.iter().enumerate() {
            if away.swap(false, SeqCst) {
                pool.spawn(move || self.serve(i));
            }
        }
    }

    /// What a worker does from when it is called until it has found no loop for a while.
    fn serve(&self, me: usize) {
        let (mut seen, mut since, mut looks) = (u64::MAX, Instant::now(), 0u32);
        loop {
            let state = self.state.load(Acquire);
            if state & OPEN != 0 && state / NEXT != seen {
                if self.state.compare_exchange(state, state + 1, AcqRel, Relaxed).is_ok() {
                    seen = state / NEXT;
                    self.join(me + 1);
                    since = Instant::now();
                }
                continue;
            }
            looks = looks.wrapping_add(1);
            if !looks.is_multiple_of(64) {
                std::hint::spin_loop();
                continue;
            }
            let idle = since.elapsed();
            if idle < self.look {
                // Whoever else wants this processor gets it, but for as long as the scheduler likes.
                if idle > KEEP {
                    std::thread::yield_now();
                }
                continue;
            }
            self.away[me].store(true, SeqCst);
            let state = self.state.load(SeqCst);
            // A loop that opened meanwhile may have counted on this worker: it stays unless it has been called again.
            if state & OPEN == 0 || state / NEXT == seen || !self.away[me].swap(false, SeqCst) {
                return;
            }
        }
    }

    fn join(&self, me: usize) {
        // SAFETY: the loop was open when this worker joined, so its work was written before; the caller waits for us.
        let work = unsafe { (*self.work.get()).map(|work| &*work) };
        if let Some(work) = work
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(me, &mut || ())))
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

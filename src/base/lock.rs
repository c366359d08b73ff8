//! Locks that may be held while a device driver runs.
//!
//! The GPU driver is Python code: it needs the interpreter's lock, and gives it up while the device works. A thread that
//! waits for one of our locks must therefore not sit on the interpreter's, or neither would ever go on. The room that
//! knows Python says how to let go of it.

use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};

type Outside = fn(&mut (dyn FnMut() + Send));

static OUTSIDE: OnceLock<Outside> = OnceLock::new();

/// How to run something without the interpreter's lock.
pub fn wait_outside(run: Outside) {
    let _ = OUTSIDE.set(run);
}

/// The guard of a mutex; a panic under it earlier does not matter.
#[inline]
pub fn lock<T: Send>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poison)) => return poison.into_inner(),
            Err(TryLockError::WouldBlock) => wait(mutex),
        }
    }
}

#[cold]
fn wait<T: Send>(mutex: &Mutex<T>) {
    let mut until_free = || drop(mutex.lock());
    match OUTSIDE.get() {
        Some(run) => run(&mut until_free),
        None => until_free(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_turns() {
        let count = Mutex::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..1000).for_each(|_| *lock(&count) += 1));
            }
        });
        assert_eq!(*lock(&count), 4000);
    }
}

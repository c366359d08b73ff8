//! Random numbers that reproduce MXNet 1.9.1 on the CPU, bit for bit.
//!
//! - `mt19937.rs`: one engine.
//! - `streams.rs`: the engines of the process, seeding, and how a call divides its draws among them.
//! - `laws.rs`: one draw of each distribution; `bulk.rs`: the same numbers for whole slices, faster.
//! - `choice.rs`: multinomial and shuffle, which draw from the single engine.
//!
//! `ln`, `exp` and `tan` are those of the system's C library, as in MXNet: another library than glibc may differ in
//! the last bit of a normal number.

mod bulk;
mod choice;
pub mod laws;
mod log;
mod mt19937;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

pub use bulk::*;
pub use choice::*;
pub use laws::*;
pub use mt19937::Mt19937;
pub use streams::{Job, Streams};

/// Runs `f` on the generators of the process, which start with seed 0: an unseeded program draws the same numbers on
/// every run. `f` must not call `with_streams` itself.
pub fn with_streams<R>(f: impl FnOnce(&mut Streams) -> R) -> R {
    f(&mut streams())
}

fn streams() -> MutexGuard<'static, Streams> {
    static STREAMS: LazyLock<Mutex<Streams>> = LazyLock::new(|| Mutex::new(Streams::new(0)));
    // A panic while drawing leaves valid engines behind: the next caller may go on with them.
    STREAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds the generators while the process forks.
pub(super) fn hold() -> super::fork::Held {
    Box::new(streams())
}

//! Forking while other threads work: the process-wide locks are taken before the fork and given back on both sides, so
//! that a child never finds one held by a thread that it does not have.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Once;

/// A lock that is held.
pub type Held = Box<dyn Any>;

thread_local! {
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

/// In the order in which work takes them: drawing may start threads, and both take memory.
extern "C" fn prepare() {
    let _ = HELD.try_with(|held| {
        held.replace(vec![super::random::hold(), super::team::hold(), crate::base::buffer::hold()]);
    });
}

extern "C" fn release() {
    let _ = HELD.try_with(|held| drop(held.take()));
}

/// Arranges it for every later fork of the process.
pub fn arrange() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers are functions of this library, which is never unloaded, and do nothing but lock.
        #[cfg(unix)]
        unsafe {
            libc::pthread_atfork(Some(prepare), Some(release), Some(release));
        }
    });
}

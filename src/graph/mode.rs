//! Recording and training flags, one pair to each thread.

use std::cell::Cell;

/// Recording, training.
#[derive(Clone, Copy)]
pub struct Flags {
    recording: bool,
    training: bool,
}

thread_local! {
    static FLAGS: Cell<Flags> = const { Cell::new(Flags { recording: false, training: false }) };
}

impl Flags {
    #[inline]
    pub fn get() -> Flags {
        FLAGS.get()
    }
    #[inline]
    pub fn restore(self) {
        FLAGS.set(self);
    }
    /// Sets the flags that are given and returns what they were.
    #[inline]
    pub fn set(recording: Option<bool>, training: Option<bool>) -> Flags {
        FLAGS.with(|flags| {
            let old = flags.get();
            flags.set(Flags {
                recording: recording.unwrap_or(old.recording),
                training: training.unwrap_or(old.training),
            });
            old
        })
    }
}

#[inline]
pub fn is_recording() -> bool {
    FLAGS.get().recording
}
#[inline]
pub fn is_training() -> bool {
    FLAGS.get().training
}
/// Sets the flag and returns what it was.
pub fn set_recording(on: bool) -> bool {
    Flags::set(Some(on), None).recording
}
/// Sets the flag and returns what it was.
pub fn set_training(on: bool) -> bool {
    Flags::set(None, Some(on)).training
}

/// Restores both flags when dropped.
pub struct Scope(Flags);

impl Scope {
    /// Sets the flags that are given until the scope is dropped.
    pub fn enter(recording: Option<bool>, training: Option<bool>) -> Scope {
        Scope(Flags::set(recording, training))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.0.restore();
    }
}

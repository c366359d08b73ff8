//! Recording and training flags, one pair to each thread.

use std::cell::Cell;

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(false) };
    static TRAINING: Cell<bool> = const { Cell::new(false) };
}

#[inline]
pub fn is_recording() -> bool {
    RECORDING.get()
}
#[inline]
pub fn is_training() -> bool {
    TRAINING.get()
}
/// Sets the flag and returns what it was.
pub fn set_recording(on: bool) -> bool {
    RECORDING.replace(on)
}
/// Sets the flag and returns what it was.
pub fn set_training(on: bool) -> bool {
    TRAINING.replace(on)
}

/// Restores both flags when dropped.
pub struct Scope {
    recording: bool,
    training: bool,
}

impl Scope {
    /// Sets the flags that are given until the scope is dropped.
    pub fn enter(recording: Option<bool>, training: Option<bool>) -> Scope {
        let scope = Scope { recording: is_recording(), training: is_training() };
        recording.map(set_recording);
        training.map(set_training);
        scope
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        set_recording(self.recording);
        set_training(self.training);
    }
}

//! One error type. The kind says which Python exception it becomes; the message reads `op: what, got, expected`.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Which class of mistake: mapped once to a Python exception in `python/error.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Misuse of an operator: `MXNetError`.
    Op,
    Value,
    Type,
    Index,
    Key,
    /// A wrong kind of argument where MXNet asserts: `AssertionError`.
    Assert,
    Memory,
    Interrupt,
    /// An exception of the user's own code, carried in `source`.
    Foreign,
}

/// An error with a message for the user.
#[derive(Clone)]
pub struct Error {
    pub kind: Kind,
    message: Arc<str>,
    source: Option<Arc<dyn Any + Send + Sync>>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(kind: Kind, message: impl fmt::Display) -> Error {
        Error { kind, message: message.to_string().into(), source: None }
    }
    pub fn op(message: impl fmt::Display) -> Error {
        Error::new(Kind::Op, message)
    }
    pub fn value(message: impl fmt::Display) -> Error {
        Error::new(Kind::Value, message)
    }
    pub fn index(message: impl fmt::Display) -> Error {
        Error::new(Kind::Index, message)
    }
    pub fn typ(message: impl fmt::Display) -> Error {
        Error::new(Kind::Type, message)
    }
    pub fn memory(bytes: usize) -> Error {
        Error::new(Kind::Memory, format_args!("out of memory: cannot allocate {bytes} bytes"))
    }
    /// Carries an exception of user code (a custom gradient) through layers that do not know Python.
    pub fn foreign(message: impl fmt::Display, source: Arc<dyn Any + Send + Sync>) -> Error {
        Error { source: Some(source), ..Error::new(Kind::Foreign, message) }
    }
    /// The same error under another class.
    pub fn of_kind(self, kind: Kind) -> Error {
        Error { kind, ..self }
    }
    pub fn source(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.source.as_ref()
    }
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Unwinds with this error, past code written as plain expressions (gradient rules, composed ops), to [`catch`].
    pub fn throw(self) -> ! {
        std::panic::resume_unwind(Box::new(self))
    }
}

/// Runs code written as plain expressions; an error thrown inside comes back as `Err`, and so does a panic, which is a
/// mistake of ours: whoever called should get an exception and go on.
pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).map_err(|payload| match payload.downcast::<Error>() {
        Ok(error) => *error,
        Err(other) => {
            let text = other.downcast_ref::<&str>().map(|s| s.to_string());
            let text = text.or_else(|| other.downcast_ref::<String>().cloned()).unwrap_or_default();
            Error::op(format_args!("internal error, please report it with the lines that led to it: {text}"))
        }
    })
}

/// `?` for plain-expression code: the value, or [`Error::throw`].
pub trait OrThrow<T> {
    fn or_throw(self) -> T;
}

impl<T> OrThrow<T> for Result<T> {
    #[inline]
    fn or_throw(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => error.throw(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, self.message)
    }
}

impl std::error::Error for Error {}

/// A check in one line: `ensure!(cond, "op: what, got {}, expected {}", a, b)` or with a kind first.
#[macro_export]
macro_rules! ensure {
    ($cond:expr, $kind:ident, $($arg:tt)+) => {
        if !$cond { return Err($crate::base::Error::new($crate::base::Kind::$kind, format_args!($($arg)+))); }
    };
    ($cond:expr, $($arg:tt)+) => {
        if !$cond { return Err($crate::base::Error::op(format_args!($($arg)+))); }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_are_caught() {
        assert_eq!(catch(|| 5).unwrap(), 5);
        let thrown = catch(|| -> () { Error::index("i").throw() }).unwrap_err();
        assert_eq!((thrown.kind, thrown.message()), (Kind::Index, "i"));
        for caught in [catch(|| -> () { panic!("text") }), catch(|| -> () { panic!("te{}", "xt") })] {
            let error = caught.unwrap_err();
            assert!(
                error.kind == Kind::Op
                    && error.message().starts_with("internal error")
                    && error.message().ends_with("text")
            );
        }
    }
}

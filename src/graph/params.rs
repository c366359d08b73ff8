//! Parameters of ops: declared once by [`params!`](crate::params), checked and documented from the declaration.

use crate::base::layout::copied;
use crate::base::{DType, Device};
use smallvec::SmallVec;
use std::sync::Arc;

pub type Ints = SmallVec<[i64; 4]>;

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Ints(Ints),
    /// A tuple with `None` entries, as in `slice(begin=(None, 2))`.
    OptInts(Arc<[Option<i64>]>),
    Floats(Arc<[f64]>),
    Str(Arc<str>),
    DType(DType),
    Device(Device),
}

pub type Args = SmallVec<[Param; 4]>;

/// What Python may pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParamKind {
    Bool,
    Int,
    /// An int, or `None` with a meaning of its own.
    OptInt,
    Float,
    /// An int, or a tuple or list of ints.
    Ints,
    /// A tuple of ints and `None`.
    OptInts,
    Floats,
    /// One of the given words.
    Choice(&'static [&'static str]),
    DType,
    Device,
    /// Accepted and ignored, as tuning hints of other back ends are.
    Ignored,
}

/// A default as a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// The caller must give it.
    Required,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Ints(&'static [i64]),
    Str(&'static str),
    DType(DType),
}

impl Default {
    pub fn value(self) -> Param {
        match self {
            Default::Required | Default::None => Param::None,
            Default::Bool(v) => Param::Bool(v),
            Default::Int(v) => Param::Int(v),
            Default::Float(v) => Param::Float(v),
            Default::Ints(v) => Param::Ints(v.into()),
            Default::Str(v) => Param::Str(v.into()),
            Default::DType(v) => Param::DType(v),
        }
    }
    /// As Python source.
    pub fn python(self) -> String {
        match self {
            Default::Required => "...".into(),
            Default::None => "None".into(),
            Default::Bool(v) => if v { "True" } else { "False" }.into(),
            Default::Int(v) => v.to_string(),
            Default::Float(v) => format!("{v:?}").replace("e-", "e-0").replace("e-00", "e-0"),
            Default::Ints(v) => match v {
                [one] => format!("({one},)"),
                _ => format!("({})", v.iter().map(|i| i.to_string()).collect::<Vec<_>>().join(", ")),
            },
            Default::Str(v) => format!("'{v}'"),
            Default::DType(v) => format!("'{v}'"),
        }
    }
}

pub struct ParamSpec {
    pub name: &'static str,
    pub kind: ParamKind,
    pub default: Default,
    pub doc: &'static str,
}

/// A Rust type that a parameter is read as.
pub trait Read: Sized {
    fn read(param: &Param) -> Self;
    fn write(self) -> Param;
}

macro_rules! read {
    ($t:ty, $default:expr, $($pat:pat => $value:expr),+; $write:expr) => {
        impl Read for $t {
            #[inline]
            fn read(param: &Param) -> $t {
                match param {
                    $($pat => $value,)+
                    _ => $default,
                }
            }
            #[inline]
            fn write(self) -> Param {
                #[allow(clippy::redundant_closure_call)]
                ($write)(self)
            }
        }
        impl Read for Option<$t> {
            #[inline]
            fn read(param: &Param) -> Option<$t> {
                match param {
                    Param::None => None,
                    other => Some(<$t>::read(other)),
                }
            }
            #[inline]
            fn write(self) -> Param {
                self.map_or(Param::None, <$t as Read>::write)
            }
        }
    };
}
read!(bool, false, Param::Bool(v) => *v, Param::Int(v) => *v != 0; Param::Bool);
read!(i64, 0, Param::Int(v) => *v, Param::Bool(v) => *v as i64, Param::Float(v) => *v as i64; Param::Int);
read!(f64, 0.0, Param::Float(v) => *v, Param::Int(v) => *v as f64, Param::Bool(v) => *v as i64 as f64; Param::Float);
read!(Ints, Ints::new(), Param::Ints(v) => copied(v), Param::Int(v) => [*v].into_iter().collect(); Param::Ints);
read!(Arc<[Option<i64>]>, Arc::new([]), Param::OptInts(v) => v.clone(); Param::OptInts);
read!(Arc<[f64]>, Arc::new([]), Param::Floats(v) => v.clone(); Param::Floats);
read!(Arc<str>, "".into(), Param::Str(v) => v.clone(); Param::Str);
read!(DType, DType::F32, Param::DType(v) => *v; Param::DType);
read!(Device, Device::CPU, Param::Device(v) => *v; Param::Device);

/// Declares an op's parameters: a typed struct, its `SPEC` for callers and docs, and the way from and to [`Args`].
#[macro_export]
macro_rules! params {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($field:ident : $t:ty, $kind:expr, $default:expr, $doc:literal;)* }) => {
        $(#[$meta])*
        $vis struct $name { $(pub $field: $t,)* }
        impl $name {
            pub const SPEC: &'static [$crate::graph::ParamSpec] = {
                #[allow(unused_imports)]
                use $crate::graph::params::{Default as D, ParamKind as K};
                &[$($crate::graph::ParamSpec { name: stringify!($field), kind: $kind, default: $default, doc: $doc },)*]
            };
            #[inline]
            #[allow(unused_variables, unused_mut, unused_assignments)]
            pub fn read(args: &$crate::graph::Args) -> $name {
                let mut i = 0;
                $(let $field = <$t as $crate::graph::params::Read>::read(args.get(i).unwrap_or(&$crate::graph::Param::None)); i += 1;)*
                $name { $($field,)* }
            }
            #[inline]
            pub fn args(self) -> $crate::graph::Args {
                [$($crate::graph::params::Read::write(self.$field),)*].into_iter().collect()
            }
        }
    };
}

//! Element types, and the one place that turns a [`DType`] into a Rust type: [`with_dtype!`].

use crate::base::error::{Error, Kind, Result};
use half::f16;
use std::fmt;

/// The element types, numbered as in MXNet's files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum DType {
    F32 = 0,
    F64 = 1,
    F16 = 2,
    U8 = 3,
    I32 = 4,
    I8 = 5,
    I64 = 6,
    Bool = 7,
}

impl DType {
    pub const ALL: [DType; 8] =
        [DType::F32, DType::F64, DType::F16, DType::U8, DType::I32, DType::I8, DType::I64, DType::Bool];

    /// NumPy's name.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::F16 => "float16",
            DType::U8 => "uint8",
            DType::I32 => "int32",
            DType::I8 => "int8",
            DType::I64 => "int64",
            DType::Bool => "bool",
        }
    }
    pub fn parse(name: &str) -> Result<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name).ok_or_else(|| {
            let known: Vec<_> = DType::ALL.iter().map(|d| d.name()).collect();
            Error::new(Kind::Key, format_args!("dtype: got '{name}', expected one of {}", known.join(", ")))
        })
    }
    pub fn from_flag(flag: i32) -> Option<DType> {
        DType::ALL.into_iter().find(|d| *d as i32 == flag)
    }
    #[inline]
    pub fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 => 2,
            DType::U8 | DType::I8 | DType::Bool => 1,
        }
    }
    #[inline]
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A boolean as stored: one byte, zero or one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug, Default)]
#[repr(transparent)]
pub struct Bool(pub u8);

/// A Rust type that an array can hold. Conversions follow C on x86: float to integer truncates, what does not fit
/// becomes the smallest integer of the register, narrow integers keep the low bits.
pub trait Element: Copy + Send + Sync + PartialOrd + Default + fmt::Debug + 'static {
    const DTYPE: DType;
    const FLOAT: bool;
    fn to_f64(self) -> f64;
    fn to_i64(self) -> i64;
    fn from_f64(v: f64) -> Self;
    fn from_i64(v: i64) -> Self;
    /// The sum in the type itself: floats round, integers wrap, booleans stay one.
    fn plus(self, other: Self) -> Self;
    #[inline(always)]
    fn cast<U: Element>(self) -> U {
        if Self::FLOAT { U::from_f64(self.to_f64()) } else { U::from_i64(self.to_i64()) }
    }
}

#[inline(always)]
fn c_i64(v: f64) -> i64 {
    // 2^63 itself does not fit; nan fails both tests.
    if v >= -9223372036854775808.0 && v < 9223372036854775808.0 { v as i64 } else { i64::MIN }
}

#[inline(always)]
fn c_i32(v: f64) -> i32 {
    if v > -2147483649.0 && v < 2147483648.0 { v as i32 } else { i32::MIN }
}

macro_rules! float_element {
    ($t:ty, $d:ident, $to:expr, $from:expr, $from_int:expr) => {
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            const FLOAT: bool = true;
            #[inline(always)]
            fn to_f64(self) -> f64 {
                $to(self)
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                c_i64(self.to_f64())
            }
            #[inline(always)]
            fn from_f64(v: f64) -> Self {
                $from(v)
            }
            #[inline(always)]
            fn from_i64(v: i64) -> Self {
                $from_int(v)
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }
        }
    };
}

float_element!(f32, F32, |v: f32| v as f64, |v: f64| v as f32, |v: i64| v as f32);
float_element!(f64, F64, |v: f64| v, |v: f64| v, |v: i64| v as f64);
float_element!(f16, F16, |v: f16| v.to_f64(), f16::from_f64, |v: i64| f16::from_f64(v as f64));

macro_rules! int_element {
    ($t:ty, $d:ident, $from:expr) => {
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            const FLOAT: bool = false;
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                self as i64
            }
            #[inline(always)]
            fn from_f64(v: f64) -> Self {
                $from(v) as $t
            }
            #[inline(always)]
            fn from_i64(v: i64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        }
    };
}

int_element!(u8, U8, c_i32);
int_element!(i8, I8, c_i32);
int_element!(i32, I32, c_i32);
int_element!(i64, I64, c_i64);

impl Element for Bool {
    const DTYPE: DType = DType::Bool;
    const FLOAT: bool = false;
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.0 as f64
    }
    #[inline(always)]
    fn to_i64(self) -> i64 {
        self.0 as i64
    }
    #[inline(always)]
    fn from_f64(v: f64) -> Self {
        Bool((v != 0.0) as u8)
    }
    #[inline(always)]
    fn from_i64(v: i64) -> Self {
        Bool((v != 0) as u8)
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Bool(self.0 | other.0)
    }
}

/// Runs `$body` with `$t` bound to the Rust type of a dtype.
#[macro_export]
macro_rules! with_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::base::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::base::DType::F64 => {
                type $t = f64;
                $body
            }
            $crate::base::DType::F16 => {
                type $t = half::f16;
                $body
            }
            $crate::base::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::base::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::base::DType::I8 => {
                type $t = i8;
                $body
            }
            $crate::base::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::base::DType::Bool => {
                type $t = $crate::base::dtype::Bool;
                $body
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_follow_c() {
        assert_eq!((-2.7f32).cast::<u8>(), 254);
        assert_eq!(300f32.cast::<u8>(), 44);
        assert_eq!(f32::NAN.cast::<i32>(), i32::MIN);
        assert_eq!(3e9f32.cast::<i32>(), i32::MIN);
        assert_eq!(f64::INFINITY.cast::<i64>(), i64::MIN);
        assert_eq!(f32::NAN.cast::<Bool>(), Bool(1));
        assert_eq!(300i32.cast::<i8>(), 44);
        assert_eq!(70000f32.cast::<f16>(), f16::INFINITY);
    }
}

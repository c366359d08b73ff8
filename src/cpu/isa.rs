//! Run-time choice of instruction set: one wheel, compiled for a plain CPU, that uses AVX2 or AVX-512 where they are.
//!
//! Every hot loop is a generic function over [`Isa`]. The macro in `tiles.rs` instantiates it inside functions that
//! enable the instruction set, so the same source line becomes SSE2, AVX2, AVX-512 or NEON code.

/// The instruction set that a loop is being compiled for.
///
/// `FMA` says whether a fused multiply-add is one instruction: where it is not, `mul_add` would be a slow library
/// call, so the math functions then multiply and add.
pub trait Isa: Copy + 'static {
    const FMA: bool;
    /// Whether it has AVX-512.
    const WIDE: bool = false;
}

/// What every CPU of the target has: SSE2 on x86-64.
#[derive(Clone, Copy)]
pub struct Baseline;
/// AVX2 with FMA: x86-64 since 2013.
#[derive(Clone, Copy)]
pub struct Avx2;
/// AVX-512 F, BW, DQ, VL.
#[derive(Clone, Copy)]
pub struct Avx512;

impl Isa for Baseline {
    // NEON is part of every aarch64 CPU and has a fused multiply-add.
    const FMA: bool = cfg!(target_arch = "aarch64");
}
impl Isa for Avx2 {
    const FMA: bool = true;
}
impl Isa for Avx512 {
    const FMA: bool = true;
    const WIDE: bool = true;
}

/// A function that is compiled for each level, and calls the version for the level of this process. Generic parameters
/// come twice: as they are declared, and as they are passed on.
macro_rules! at_level {
    ($(#[$doc:meta])* fn $($rest:tt)*) => {
        $crate::cpu::isa::at_level! { @ [] $(#[$doc])* $($rest)* }
    };
    ($(#[$doc:meta])* unsafe fn $($rest:tt)*) => {
        $crate::cpu::isa::at_level! { @ [unsafe] $(#[$doc])* $($rest)* }
    };
    (
        @ [$($mark:tt)*] $(#[$doc:meta])*
        $name:ident[$($given:tt)*][$($passed:tt)*]($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$doc])*
        #[allow(unused_unsafe)]
        $($mark)* fn $name<$($given)*>($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            $($mark)* fn body<$($given)*>($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
                $($mark)* fn avx512<$($given)*>($($arg: $type),*) $(-> $result)? {
                    // SAFETY: as the caller says, where it has to.
                    unsafe { body::<$($passed)*>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,bmi2")]
                $($mark)* fn avx2<$($given)*>($($arg: $type),*) $(-> $result)? {
                    // SAFETY: as above.
                    unsafe { body::<$($passed)*>($($arg),*) }
                }
                match $crate::base::Level::get() {
                    // SAFETY: the level says what the CPU has, and the caller whatever else there is to say.
                    $crate::base::Level::Avx512 => return unsafe { avx512::<$($passed)*>($($arg),*) },
                    // SAFETY: as above.
                    $crate::base::Level::Avx2 => return unsafe { avx2::<$($passed)*>($($arg),*) },
                    $crate::base::Level::Baseline => {}
                }
            }
            // SAFETY: as the caller says, where it has to.
            unsafe { body::<$($passed)*>($($arg),*) }
        }
    };
}
pub(crate) use at_level;

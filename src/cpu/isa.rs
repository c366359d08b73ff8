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
}

//! The GPU executor: plans, prints WGSL, pools and batches. It knows neither Python nor a GPU library.
//!
//! `wgsl` prints a program as a shader, `map` and `kernels` say what to launch; `tape` collects launches in a batch,
//! `pool` recycles buffers, `runtime` ties them to a device. A [`Driver`] replays batches; in the wheel that is a small
//! Python module on wgpu-py.

pub mod driver;
pub mod kernels;
pub mod map;
pub mod pool;
pub mod prelude;
pub mod runtime;
pub mod tape;
#[cfg(test)]
mod tests;
pub mod wgsl;

pub use driver::{Batch, Caps, Driver};
pub use runtime::{GpuBuffer, Runtime, runtime};

use crate::base::DType;

/// Whether arrays of a dtype live on the GPU. The others stay on the host, and CPU kernels run them: WGSL has no 64-bit
/// or narrow types, and no value is ever narrowed silently.
pub fn native(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32)
}

/// The type of an element in WGSL.
pub fn type_name(dtype: DType) -> &'static str {
    if dtype == DType::F32 { "f32" } else { "i32" }
}

//! Plain data that every layer uses: errors, dtypes, shapes, layouts, devices and pooled buffers.

pub mod buffer;
pub mod device;
pub mod dtype;
pub mod error;
pub mod layout;
pub mod level;
pub mod lock;

pub use buffer::Buffer;
pub use device::Device;
pub use dtype::{DType, Element};
pub use error::{Error, Kind, Result};
pub use layout::{Layout, Shape, Strides};
pub use level::Level;

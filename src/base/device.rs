//! Where an array lives. MXNet's device types and numbers, as `Context` shows them.

use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum DeviceType {
    Cpu = 1,
    Gpu = 2,
    CpuPinned = 3,
    CpuShared = 5,
}

/// A device: every CPU number is the same memory, as in MXNet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Device {
    pub kind: DeviceType,
    pub id: i32,
}

impl Device {
    pub const CPU: Device = Device { kind: DeviceType::Cpu, id: 0 };

    #[inline]
    pub fn is_gpu(self) -> bool {
        self.kind == DeviceType::Gpu
    }
}

impl DeviceType {
    pub fn name(self) -> &'static str {
        match self {
            DeviceType::Cpu => "cpu",
            DeviceType::Gpu => "gpu",
            DeviceType::CpuPinned => "cpu_pinned",
            DeviceType::CpuShared => "cpu_shared",
        }
    }
    pub fn parse(name: &str) -> Option<DeviceType> {
        [DeviceType::Cpu, DeviceType::Gpu, DeviceType::CpuPinned, DeviceType::CpuShared]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.kind.name(), self.id)
    }
}

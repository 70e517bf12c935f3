//! Compute capabilities: the instructions of a GPU, for which its kernels must be compiled.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{GpuPool, GpuType};

/// A version of NVIDIA's instruction set, such as 8.9. Later versions are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComputeCapability {
    major: u8,
    minor: u8,
}

/// The text is not a compute capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeCapabilityError(String);

impl fmt::Display for ComputeCapabilityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a compute capability; expected a version such as `8.9` or `12.0`", self.0)
    }
}

impl std::error::Error for ComputeCapabilityError {}

impl ComputeCapability {
    /// Creates a version from its two numbers. `None` if the minor version is over 9, because compilers write both
    /// numbers without a dot.
    pub const fn new(major: u8, minor: u8) -> Option<Self> {
        if major == 0 || minor > 9 { None } else { Some(Self { major, minor }) }
    }

    /// The generation. Machine code runs only on GPUs of the generation that it was compiled for.
    pub const fn major(self) -> u8 {
        self.major
    }

    /// The version within its generation.
    pub const fn minor(self) -> u8 {
        self.minor
    }

    /// The number that compilers use, without the dot: 89 for 8.9, 120 for 12.0.
    pub const fn number(self) -> u32 {
        self.major as u32 * 10 + self.minor as u32
    }

    /// Creates a version from the number that compilers use.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::new(u8::try_from(number / 10).ok()?, u8::try_from(number % 10).ok()?)
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ComputeCapability {
    type Err = ComputeCapabilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| -> Option<u8> {
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let parts = text.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
        parts
            .and_then(|(major, minor)| Self::new(major, minor))
            .ok_or_else(|| ComputeCapabilityError(text.to_owned()))
    }
}

impl Serialize for ComputeCapability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ComputeCapability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl GpuType {
    /// Its compute capability, from NVIDIA's table (<https://developer.nvidia.com/cuda-gpus>).
    pub const fn compute_capability(self) -> ComputeCapability {
        use GpuType::*;
        let (major, minor) = match self {
            A100Pcie | A100Sxm => (8, 0),
            RtxA4000 | RtxA4500 | RtxA5000 | Rtx3090 | A40 | RtxA6000 => (8, 6),
            Rtx2000Ada | Rtx4000Ada | L4 | Rtx4090 | L40 | L40s | Rtx6000Ada => (8, 9),
            H100Pcie | H100Hbm3 | H100Nvl | H200 => (9, 0),
            B200 => (10, 0),
            Rtx5090 | RtxPro6000Server | RtxPro6000Workstation | RtxPro6000MaxQ => (12, 0),
        };
        ComputeCapability { major, minor }
    }
}

impl GpuPool {
    /// The capabilities of its types, sorted, without duplicates. A worker may get any of them.
    pub fn compute_capabilities(self) -> Vec<ComputeCapability> {
        capabilities_of(self.types().iter().copied())
    }
}

/// The capabilities of these types, sorted, without duplicates.
pub(crate) fn capabilities_of(types: impl Iterator<Item = GpuType>) -> Vec<ComputeCapability> {
    let mut capabilities: Vec<_> = types.map(GpuType::compute_capability).collect();
    capabilities.sort_unstable();
    capabilities.dedup();
    capabilities
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn capability(text: &str) -> ComputeCapability {
        text.parse().unwrap()
    }

    #[test]
    fn a_pool_needs_exactly_what_its_types_have() {
        for pool in GpuPool::ALL {
            let of_types: BTreeSet<_> = pool.types().iter().map(|gpu| gpu.compute_capability()).collect();
            assert!(!of_types.is_empty(), "{pool}");
            assert_eq!(pool.compute_capabilities(), of_types.into_iter().collect::<Vec<_>>(), "{pool}");
        }
        assert_eq!(GpuPool::Ada24.compute_capabilities(), [capability("8.9")]);
        assert_eq!(GpuPool::Ampere16.compute_capabilities(), [capability("8.6"), capability("8.9")]);
    }

    /// What `GpuPool` and `flash build` rely on: one set of machine code serves a pool.
    #[test]
    fn a_pool_is_of_one_generation() {
        for pool in GpuPool::ALL {
            let majors: BTreeSet<_> =
                pool.compute_capabilities().iter().map(|capability| capability.major()).collect();
            assert_eq!(majors.len(), 1, "{pool}");
        }
    }

    #[test]
    fn capabilities_are_written_as_nvidia_writes_them() {
        for (text, number) in [("8.0", 80), ("8.9", 89), ("9.0", 90), ("12.0", 120)] {
            let read = capability(text);
            assert_eq!((read.to_string().as_str(), read.number()), (text, number));
            assert_eq!(ComputeCapability::from_number(number), Some(read));
        }
        assert!(capability("8.9") < capability("12.0"), "ordered as numbers, not as text");
        for wrong in ["", "8", "89", "8.10", "0.1", "8.9a", "sm_89", "8.-1", "+8.9", "300.0", "8.9.0"] {
            let error = wrong.parse::<ComputeCapability>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
    }
}

//! How matrices are stored, and what a CPU wants instead of what a file has.
use candle_core::{Device, quantized::GgmlDType};

/// How the matrices of a model are stored in memory. A GPU computes all types well; a CPU does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quantization {
    /// On a CPU, Q4_1, Q5_0 and Q5_1 become Q8_0, for which there are fast kernels: two to five times as fast, with 8.5 bits
    /// a weight instead of 5 to 6. All other types are as the file has them.
    #[default]
    Automatic,
    /// As the file has them.
    AsStored,
    /// Four bits a weight, in blocks with a scale. It loses quality if the file has more.
    Q4_0,
    /// Eight bits a weight, in blocks with a scale.
    Q8_0,
}

impl Quantization {
    /// Another type than the file's, if there should be.
    pub(super) fn instead_of(self, stored: GgmlDType, device: &Device) -> Option<GgmlDType> {
        use GgmlDType::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1};
        let to = match self {
            Self::AsStored => return None,
            Self::Q4_0 => Q4_0,
            Self::Q8_0 => Q8_0,
            Self::Automatic => match stored {
                Q4_1 | Q5_0 | Q5_1 | Q8_1 if device.is_cpu() => Q8_0,
                _ => return None,
            },
        };
        (to != stored).then_some(to)
    }
}

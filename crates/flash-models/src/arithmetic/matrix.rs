//! Matrices of weights.
use std::{borrow::Cow, sync::Arc};

use candle_core::{
    Module, Result, Tensor,
    quantized::{GgmlDType, QMatMul, QStorage, QTensor},
};

#[cfg(target_arch = "x86_64")]
use super::eight_bits::EightBits;
use super::rows::read;

/// Weights, outputs × inputs. Several matrices with the same input may be one.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    weights: Weights,
    outputs: usize,
}

#[derive(Debug, Clone)]
enum Weights {
    Candle(QMatMul),
    #[cfg(target_arch = "x86_64")]
    EightBits(Arc<EightBits>),
}

impl Matrix {
    /// One matrix of the rows of all parts, which have the same type and as many inputs.
    pub(crate) fn stack(parts: &[QTensor]) -> Result<Self> {
        let Some(first) = parts.first() else { candle_core::bail!("a matrix has parts") };
        let (dtype, inputs) = (first.dtype(), first.shape().dims2()?.1);
        let (mut outputs, mut bytes) = (0, Vec::new());
        for part in parts {
            let (rows, columns) = part.shape().dims2()?;
            if (part.dtype(), columns) != (dtype, inputs) {
                candle_core::bail!("{first:?} and {part:?} do not fit together");
            }
            outputs += rows;
            bytes.extend_from_slice(&part.data()?);
        }
        #[cfg(target_arch = "x86_64")]
        if dtype == GgmlDType::Q8_0
            && first.device().is_cpu()
            && let Some(packed) = EightBits::pack(&bytes, outputs, inputs)
        {
            return Ok(Self { weights: Weights::EightBits(Arc::new(packed)), outputs });
        }
        let storage = QStorage::from_data(Cow::Owned(bytes), &first.device(), dtype)?;
        let weights = QMatMul::from_arc(Arc::new(QTensor::new(storage, (outputs, inputs))?))?;
        Ok(Self { weights: Weights::Candle(weights), outputs })
    }

    /// Rows.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// `x` is rows × inputs; the result is rows × outputs.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.weights {
            Weights::Candle(weights) => weights.forward(x),
            #[cfg(target_arch = "x86_64")]
            Weights::EightBits(_) => {
                let shape = (x.dim(0)?, self.outputs);
                Tensor::from_vec(self.values(x, &[])?, shape, x.device())
            }
        }
    }

    /// As [`forward`](Self::forward), with inputs of sixteen bits instead of eight for some rows if the weights have
    /// eight. They are sorted.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "candle has one way"))]
    pub(crate) fn values(&self, x: &Tensor, exactly: &[usize]) -> Result<Vec<f32>> {
        match &self.weights {
            Weights::Candle(weights) => read(&weights.forward(x)?, <[f32]>::to_vec),
            #[cfg(target_arch = "x86_64")]
            Weights::EightBits(weights) => read(x, |x| weights.forward(x, exactly)),
        }
    }

    /// The weights of some outputs.
    pub(crate) fn rows(&self, at: &[u32], device: &candle_core::Device) -> Result<Tensor> {
        if let Some(row) = at.iter().find(|row| **row as usize >= self.outputs) {
            candle_core::bail!("row {row} of {}", self.outputs);
        }
        match &self.weights {
            Weights::Candle(weights) => weights.embedding(&Tensor::new(at, device)?),
            #[cfg(target_arch = "x86_64")]
            Weights::EightBits(weights) => {
                let width = weights.inputs();
                let mut rows = vec![0.0; at.len() * width];
                for (row, at) in rows.chunks_exact_mut(width).zip(at) {
                    weights.row(*at as usize, row);
                }
                Tensor::from_vec(rows, (at.len(), width), device)
            }
        }
    }
}

/// Whether weights of eight bits are computed here, and not by candle.
pub(crate) fn has_eight_bits() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        super::eight_bits::supported()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn stacked_matrices_compute_what_each_computes_and_rows_do_not_depend_on_each_other() {
        let dense = |rows: usize, seed: usize| {
            let value = |at: usize| ((at * 7919 + seed) % 1000) as f32 / 500.0 - 1.0;
            let values: Vec<f32> = (0..rows * 96).map(value).collect();
            Tensor::from_vec(values, (rows, 96), &Device::Cpu).unwrap()
        };
        // 48 outputs are one and a half of what is computed at once, and 7 rows are too.
        let x = dense(7, 5);
        for (dtype, most) in [(GgmlDType::Q8_0, 0.15), (GgmlDType::Q4_0, 0.15), (GgmlDType::F32, 1e-4)] {
            let parts = [dense(16, 1), dense(32, 2)].map(|part| QTensor::quantize(&part, dtype).unwrap());
            let apart = parts.each_ref().map(|part| {
                let weight = part.dequantize(&Device::Cpu).unwrap();
                x.matmul(&weight.t().unwrap()).unwrap()
            });
            let stacked = Matrix::stack(&parts).unwrap();
            let together = stacked.forward(&x).unwrap().to_vec2::<f32>().unwrap();
            let expected = Tensor::cat(&apart, 1).unwrap().to_vec2::<f32>().unwrap();
            for (seen, expected) in together.iter().flatten().zip(expected.iter().flatten()) {
                assert!((seen - expected).abs() < most, "{dtype:?}: {seen} is not {expected}");
            }
            let some = stacked.values(&x, &[1, 6]).unwrap();
            for (at, (seen, expected)) in some.chunks(48).zip(&expected).enumerate() {
                let exact = dtype == GgmlDType::Q8_0 && has_eight_bits() && [1, 6].contains(&at);
                let most = if exact { 2e-3 } else { most };
                for (seen, expected) in seen.iter().zip(expected) {
                    assert!((seen - expected).abs() < most, "{dtype:?}, row {at}: {seen} is not {expected}");
                }
                assert!(exact || !has_eight_bits() || dtype == GgmlDType::F32 || seen == together[at]);
            }
            for (at, row) in together.iter().enumerate() {
                let alone = stacked.forward(&x.narrow(0, at, 1).unwrap().contiguous().unwrap()).unwrap();
                // gemm adds in another order for one row.
                let alone = alone.to_vec2::<f32>().unwrap().remove(0);
                assert!(dtype == GgmlDType::F32 || alone == *row, "{dtype:?}, row {at}");
            }
            let rows = stacked.rows(&[17, 0], &Device::Cpu).unwrap();
            let second = parts[1].dequantize(&Device::Cpu).unwrap().get(1).unwrap();
            assert_eq!(rows.get(0).unwrap().to_vec1::<f32>().unwrap(), second.to_vec1::<f32>().unwrap());
            assert!(stacked.rows(&[48], &Device::Cpu).is_err());
        }
        let other = QTensor::quantize(&dense(16, 1), GgmlDType::Q4_0).unwrap();
        assert!(Matrix::stack(&[QTensor::quantize(&dense(16, 1), GgmlDType::Q8_0).unwrap(), other]).is_err());
    }
}

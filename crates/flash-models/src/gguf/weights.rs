//! Reads the tensors of a file into what layers are made of.
use std::io::{Read, Seek};

use candle_core::{
    Device, Module, Result, Tensor,
    quantized::{QTensor, gguf_file::Content},
};
use candle_nn::ops::silu;
use candle_transformers::quantized_nn;

use super::quantization::Quantization;
use crate::arithmetic::{self, Matrix, RmsNorm, Work, each_row, read};

/// Reads tensors of a file.
pub(super) struct Weights<'a, R> {
    pub(super) content: &'a Content,
    pub(super) reader: &'a mut R,
    pub(super) device: &'a Device,
    pub(super) quantization: Quantization,
    pub(super) epsilon: f64,
}

impl<R: Read + Seek> Weights<'_, R> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    pub(super) fn tensor(&mut self, name: &str) -> Result<QTensor> {
        self.content.tensor(self.reader, name, self.device)
    }

    fn quantized(&mut self, name: &str) -> Result<QTensor> {
        let tensor = self.tensor(name)?;
        match self.quantization.instead_of(tensor.dtype(), self.device) {
            Some(to) if tensor.shape().dims2()?.1.is_multiple_of(to.block_size()) => {
                QTensor::quantize_onto(&tensor.dequantize(&Device::Cpu)?, to, self.device)
            }
            _ => Ok(tensor),
        }
    }

    pub(super) fn matrix(&mut self, name: &str) -> Result<Matrix> {
        Matrix::stack(&[self.quantized(name)?])
    }

    /// Matrices with the same input, whose outputs lie side by side.
    pub(super) fn linear(&mut self, names: &[String]) -> Result<Linear> {
        let mut tensors = Vec::new();
        for name in names {
            tensors.push(self.quantized(&format!("{name}.weight"))?);
        }
        let kinds = tensors.chunk_by(|one, next| one.dtype() == next.dtype());
        let matrices = kinds.map(Matrix::stack).collect::<Result<_>>()?;
        let mut biases = Vec::new();
        for name in names {
            let name = format!("{name}.bias");
            if self.has(&name) {
                biases.push(self.tensor(&name)?.dequantize(self.device)?);
            }
        }
        let bias = match biases.len() {
            0 => None,
            count if count == names.len() => Some(Tensor::cat(&biases, 0)?),
            _ => candle_core::bail!("some of {names:?} have a bias and some have none"),
        };
        Ok(Linear { matrices, bias })
    }

    pub(super) fn norm(&mut self, name: &str) -> Result<Norm> {
        let tensor = self.tensor(name)?;
        match self.device.is_cpu() {
            true => {
                let weight = tensor.dequantize(self.device)?.to_vec1()?;
                Ok(Norm::Cpu(RmsNorm { weight, epsilon: self.epsilon as f32 }))
            }
            false => quantized_nn::RmsNorm::from_qtensor(tensor, self.epsilon).map(Norm::Gpu),
        }
    }

    pub(super) fn norm_if(&mut self, name: &str) -> Result<Option<quantized_nn::RmsNorm>> {
        if !self.has(name) {
            return Ok(None);
        }
        let tensor = self.tensor(name)?;
        quantized_nn::RmsNorm::from_qtensor(tensor, self.epsilon).map(Some)
    }
}

/// One or several matrices with the same input. They are one in memory if they have one type.
#[derive(Debug)]
pub(super) struct Linear {
    matrices: Vec<Matrix>,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let outputs = self.matrices.iter().map(|matrix| matrix.forward(x));
        let x = match &*outputs.collect::<Result<Vec<_>>>()? {
            [one] => one.clone(),
            several => Tensor::cat(several, 1)?,
        };
        match &self.bias {
            Some(bias) => x.broadcast_add(bias),
            None => Ok(x),
        }
    }
}

/// A norm by the root of the mean square.
#[derive(Debug)]
pub(super) enum Norm {
    Cpu(RmsNorm),
    Gpu(quantized_nn::RmsNorm),
}

impl Norm {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let norm = match self {
            Self::Cpu(norm) => norm,
            Self::Gpu(norm) => return norm.forward(x),
        };
        let values = read(x, |x| {
            let mut values = vec![0.0; x.len()];
            each_row(&mut values, norm.weight.len(), Normed { x, norm });
            values
        })?;
        Tensor::from_vec(values, x.shape(), x.device())
    }
}

struct Normed<'a> {
    x: &'a [f32],
    norm: &'a RmsNorm,
}

impl Work for Normed<'_> {
    #[inline(always)]
    fn compute(&self, at: usize, row: &mut [f32]) {
        self.norm.apply(&self.x[at * row.len()..][..row.len()], row);
    }
}

/// `silu(gate) · up`, which lie side by side in `x`.
pub(super) fn silu_times(x: &Tensor) -> Result<Tensor> {
    let (rows, both) = x.dims2()?;
    let hidden = both / 2;
    match x.device().is_cpu() {
        true => {
            let values = read(x, |x| arithmetic::silu_times(x, hidden))?;
            Tensor::from_vec(values, (rows, hidden), x.device())
        }
        false => {
            let (gate, up) = (x.narrow(1, 0, hidden)?, x.narrow(1, hidden, hidden)?);
            silu(&gate.contiguous()?)? * up.contiguous()?
        }
    }
}

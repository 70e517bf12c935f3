//! A convolution for each channel by itself: an operation of this crate's own, for the CPU.
//!
//! Candle's `Conv2d` runs one convolution after the other for these, thousands of them in this network.
use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape, Tensor};

/// How far the kernel moves from one output to the next.
pub(crate) struct Depthwise {
    pub stride: usize,
}

impl Depthwise {
    /// From (number, channels, height, width), padded, and a kernel of (channels, 1, size, size).
    ///
    /// # Errors
    /// If the tensors have other shapes, or are not on the CPU.
    pub(crate) fn apply(self, input: &Tensor, kernel: &Tensor) -> Result<Tensor> {
        input.contiguous()?.apply_op2_no_bwd(&kernel.contiguous()?, &self)
    }
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        layout: &Layout,
        kernel: &CpuStorage,
        of_kernel: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (number, channels, height, width) = layout.shape().dims4()?;
        let (kernels, 1, size, _) = of_kernel.shape().dims4()? else {
            return Err(Error::Msg("a kernel for each channel is expected".to_owned()));
        };
        if kernels != channels || size > height.min(width) {
            return Err(Error::Msg(format!("{kernels} kernels of {size} do not fit {:?}", layout.shape())));
        }
        let (input, kernel) = (values(input, layout)?, values(kernel, of_kernel)?);
        let (rows, columns) = ((height - size) / self.stride + 1, (width - size) / self.stride + 1);
        let mut output = vec![0_f32; number * channels * rows * columns];
        let planes = output.chunks_exact_mut(rows * columns).zip(input.chunks_exact(height * width));
        for (plane, (output, input)) in planes.enumerate() {
            let kernel = &kernel[plane % channels * size * size..][..size * size];
            for (row, output) in output.chunks_exact_mut(columns).enumerate() {
                for (at, weight) in kernel.iter().enumerate() {
                    let (down, right) = (at / size, at % size);
                    let input = &input[(row * self.stride + down) * width + right..][..width - right];
                    add(output, input, self.stride, *weight);
                }
            }
        }
        Ok((CpuStorage::F32(output), Shape::from((number, channels, rows, columns))))
    }
}

/// Adds a weighted part of a row. Without steps, the compiler makes it one of vectors.
fn add(output: &mut [f32], input: &[f32], stride: usize, weight: f32) {
    match stride {
        1 => output.iter_mut().zip(input).for_each(|(output, input)| *output += weight * input),
        _ => {
            let input = input.iter().step_by(stride);
            output.iter_mut().zip(input).for_each(|(output, input)| *output += weight * input);
        }
    }
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (begin, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| Error::Msg("values one after the other are expected".to_owned()))?;
    Ok(&storage.as_slice::<f32>()?[begin..end])
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn it_computes_what_candles_own_convolution_does() {
        for (size, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            let input = Tensor::randn(0_f32, 1.0, (2, 4, 11, 9), &Device::Cpu).unwrap();
            let kernel = Tensor::randn(0_f32, 1.0, (4, 1, size, size), &Device::Cpu).unwrap();
            let expected = input.conv2d(&kernel, 0, stride, 1, 4).unwrap();
            let output = Depthwise { stride }.apply(&input, &kernel).unwrap();
            assert_eq!(output.dims(), expected.dims());
            let difference = (output - expected).unwrap().abs().unwrap().max_all().unwrap();
            let difference: f32 = difference.to_scalar().unwrap();
            assert!(difference < 1e-4, "{size} by {stride}: {difference}");
        }
    }

    #[test]
    fn a_kernel_that_does_not_fit_is_an_error() {
        let zeros = |shape: (usize, usize, usize, usize)| {
            Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap()
        };
        for kernel in [(3, 1, 3, 3), (4, 2, 3, 3), (4, 1, 7, 7)] {
            assert!(
                Depthwise { stride: 1 }.apply(&zeros((1, 4, 5, 5)), &zeros(kernel)).is_err(),
                "{kernel:?}"
            );
        }
    }
}

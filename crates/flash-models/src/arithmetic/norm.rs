//! Normalisation of rows.

/// Numbers that are summed side by side.
const LANES: usize = 16;

/// To mean 0 and variance 1, then by weights.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) epsilon: f32,
}

impl LayerNorm {
    /// Of a row as long as the weights.
    #[inline(always)]
    pub(crate) fn apply(&self, row: &mut [f32]) {
        let count = row.len() as f32;
        let mean = sum(row, |value| value) / count;
        let variance = sum(row, |value| (value - mean) * (value - mean)) / count;
        let scale = 1.0 / (variance + self.epsilon).sqrt();
        for ((value, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
            *value = (*value - mean) * scale * weight + bias;
        }
    }
}

/// By the root of the mean square, then by weights.
#[derive(Debug, Clone)]
pub(crate) struct RmsNorm {
    pub(crate) weight: Vec<f32>,
    pub(crate) epsilon: f32,
}

impl RmsNorm {
    /// Both rows are as long as the weights.
    #[inline(always)]
    pub(crate) fn apply(&self, from: &[f32], row: &mut [f32]) {
        let mean = sum(from, |value| value * value) / from.len() as f32;
        let scale = 1.0 / (mean + self.epsilon).sqrt();
        for ((value, from), weight) in row.iter_mut().zip(from).zip(&self.weight) {
            *value = from * scale * weight;
        }
    }
}

#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for values in whole {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += of(*value);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|value| of(*value)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn norms_are_candles() {
        let row: Vec<f32> = (0..100).map(|at| (at * 37 % 100) as f32 / 10.0 - 3.0).collect();
        let weight: Vec<f32> = (0..100).map(|at| 1.0 + at as f32 / 50.0).collect();
        let bias: Vec<f32> = (0..100).map(|at| at as f32 / 70.0).collect();
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let x = tensor(&row).unsqueeze(0).unwrap();
        let check = |seen: &[f32], expected: Tensor| {
            for (seen, expected) in seen.iter().zip(&expected.to_vec2::<f32>().unwrap()[0]) {
                assert!((seen - expected).abs() < 1e-5, "{seen} is not {expected}");
            }
        };
        let mut seen = row.clone();
        LayerNorm { weight: weight.clone(), bias: bias.clone(), epsilon: 1e-12 }.apply(&mut seen);
        check(&seen, candle_nn::ops::layer_norm(&x, &tensor(&weight), &tensor(&bias), 1e-12).unwrap());
        let mut seen = vec![0.0; 100];
        RmsNorm { weight: weight.clone(), epsilon: 1e-5 }.apply(&row, &mut seen);
        check(&seen, candle_nn::ops::rms_norm(&x, &tensor(&weight), 1e-5).unwrap());
    }
}

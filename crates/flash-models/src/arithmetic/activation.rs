//! Activations, in place.
use super::{Work, each_row, exponential::exp};

/// `x · Φ(x)` of each number plus the bias of its column. Its error is under 2e-6.
pub(crate) fn gelu(values: &mut [f32], bias: &[f32]) {
    each_row(values, bias.len(), Gelu { bias });
}

struct Gelu<'a> {
    bias: &'a [f32],
}

impl Work for Gelu<'_> {
    #[inline(always)]
    fn compute(&self, _: usize, row: &mut [f32]) {
        for (value, bias) in row.iter_mut().zip(self.bias) {
            let x = *value + bias;
            *value = 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

/// `x · σ(x)` of the first half of each row, times its second half.
pub(crate) fn silu_times(gate_and_up: &[f32], hidden: usize) -> Vec<f32> {
    let mut values = vec![0.0; gate_and_up.len() / 2];
    each_row(&mut values, hidden, SiluTimes { gate_and_up, hidden });
    values
}

struct SiluTimes<'a> {
    gate_and_up: &'a [f32],
    hidden: usize,
}

impl Work for SiluTimes<'_> {
    #[inline(always)]
    fn compute(&self, at: usize, row: &mut [f32]) {
        let both = &self.gate_and_up[at * 2 * self.hidden..][..2 * self.hidden];
        let (gate, up) = both.split_at(self.hidden);
        for ((value, gate), up) in row.iter_mut().zip(gate).zip(up) {
            *value = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

/// The error function by formula 7.1.26 of Abramowitz and Stegun, whose error is under 1.5e-7.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let positive = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * positive);
    let mut sum = 1.061_405_4;
    for coefficient in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        sum = sum * t + coefficient;
    }
    (1.0 - sum * t * exp(-positive * positive)).copysign(x)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn activations_are_candles() {
        let x: Vec<f32> = (-1000..1000).map(|step| step as f32 / 100.0).collect();
        let tensor = Tensor::new(&*x, &Device::Cpu).unwrap();
        let mut seen = x.clone();
        gelu(&mut seen, &vec![0.0; x.len()]);
        for (seen, expected) in seen.iter().zip(tensor.gelu_erf().unwrap().to_vec1::<f32>().unwrap()) {
            assert!((seen - expected).abs() < 2e-6, "{seen} is not {expected}");
        }
        let both: Vec<f32> = x.iter().copied().chain(x.iter().map(|_| 2.0)).collect();
        let seen = silu_times(&both, x.len());
        let expected = tensor.silu().unwrap().to_vec1::<f32>().unwrap();
        for (seen, expected) in seen.iter().zip(expected) {
            assert!((seen - 2.0 * expected).abs() < 1e-5, "{seen} is not {expected}");
        }
    }
}

//! `e^x` that the compiler can make vectors of.

/// `e^x` with a relative error under 3e-7. 0 below -87, and at most `e^88`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding it rounds to a whole number, which is then in the last bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, so that the rest keeps its digits.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    let bounded = x.clamp(-87.0, 88.0);
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = bounded - whole * HIGH - whole * LOW;
    // The series of Taylor to the seventh order, enough for |rest| ≤ ln 2 / 2.
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * rest + coefficient;
    }
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { sum * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential() {
        for step in -8_700..=8_800 {
            let x = step as f32 / 100.0;
            let (seen, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((seen - expected).abs() <= 3e-7 * expected, "e^{x}: {seen} is not {expected}");
        }
        assert_eq!((exp(f32::NEG_INFINITY), exp(-100.0), exp(0.0)), (0.0, 0.0, 1.0));
    }
}

//! Amounts for people to read in a plan: `$94.80`, `$0.10`, `$0.0024`.

const DOLLAR: u128 = 1_000_000_000;
/// Significant digits in an amount below a dollar.
const DIGITS: u32 = 2;

/// Whole cents from a dollar on; below that, as many decimals as two digits need. Negative amounts as `-$0.10`.
pub(super) fn dollars(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let decimals = if nanos >= DOLLAR || nanos == 0 {
        2
    } else {
        let leading_zeros = 8 - nanos.ilog10();
        (leading_zeros + DIGITS).min(9)
    };
    let unit = 10_u128.pow(9 - decimals);
    let rounded = nanos.saturating_add(unit / 2) / unit * unit;
    let mut fraction = format!("{:09}", rounded % DOLLAR);
    fraction.truncate(decimals as usize);
    while fraction.len() > 2 && fraction.ends_with('0') {
        fraction.pop();
    }
    format!("{sign}${}.{fraction:0<2}", grouped(rounded / DOLLAR))
}

/// A price with all its digits: `$0.0015`.
pub(super) fn price(nanos: u64) -> String {
    let nanos = u128::from(nanos);
    let fraction = format!("{:09}", nanos % DOLLAR);
    let fraction = fraction.trim_end_matches('0');
    format!("${}.{fraction:0<2}", nanos / DOLLAR)
}

/// `10,000`.
pub(super) fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_cents_and_small_ones_two_digits() {
        for (nanos, text) in [
            (0, "$0.00"),
            (100_000_000, "$0.10"),
            (60_000_000, "$0.06"),
            (94_800_000_000, "$94.80"),
            (1_040_000_000, "$1.04"),
            (1_234_567_000_000_000, "$1,234,567.00"),
            (2_400_000, "$0.0024"),
            (12_345_678, "$0.012"),
            (999_999_999, "$1.00"),
            (1, "$0.000000001"),
            (-100_000_000, "-$0.10"),
        ] {
            assert_eq!(dollars(nanos), text);
        }
    }

    #[test]
    fn prices_are_exact() {
        assert_eq!((price(1_500_000), price(2_000_000_000)), ("$0.0015".to_owned(), "$2.00".to_owned()));
        assert_eq!(grouped(10_000), "10,000");
    }
}

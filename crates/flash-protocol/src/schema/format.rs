//! The rules of `format`.
//!
//! By JSON Schema alone, `5.0` is an integer and `format` is a remark. serde reads neither `5.0` nor `300` as a
//! `u8`, nor `1e300` as an `f32`, so here a number of an integer format must be one, and within its range.
use jsonschema::{Keyword, ValidationError};
use serde_json::{Number, Value};

/// Whether a text is valid in a format. Every text is valid in an unknown format.
pub type TextFormats = fn(format: &str, text: &str) -> bool;

/// The rules of `format`.
pub(super) struct Format {
    format: String,
    integer: Option<Integer>,
    texts: TextFormats,
}

impl Format {
    pub(super) fn new(format: &str, texts: TextFormats) -> Self {
        Self { format: format.to_owned(), integer: Integer::of(format), texts }
    }

    fn problem(&self, value: &Value) -> Option<String> {
        match (value, self.integer) {
            (Value::Number(number), Some(integer)) => integer.problem(number),
            (Value::Number(number), None) if self.format == "float" => float_problem(number),
            (Value::String(text), _) if !(self.texts)(&self.format, text) => {
                Some(format!("expected format `{}`", self.format))
            }
            _ => None,
        }
    }
}

impl<'i> Keyword<'i> for Format {
    fn validate(&self, value: &'i Value) -> Result<(), ValidationError<'i>> {
        self.problem(value).map_or(Ok(()), |problem| Err(ValidationError::custom(problem)))
    }

    fn is_valid(&self, value: &'i Value) -> bool {
        self.problem(value).is_none()
    }
}

/// serde reads no `f32` that is too large for one.
fn float_problem(number: &Number) -> Option<String> {
    #[expect(clippy::cast_possible_truncation, reason = "whether it becomes infinite is the question")]
    let fits = number.as_f64().is_some_and(|number| (number as f32).is_finite());
    (!fits).then(|| format!("expected a number from {:e} to {:e}", f32::MIN, f32::MAX))
}

/// An integer type of Rust, as `schemars` writes its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Integer {
    signed: bool,
    bits: u32,
}

/// The least and the greatest number of an integer format, such as `uint32`; `None` for any other format.
pub fn integer_range(format: &str) -> Option<(i128, u128)> {
    Integer::of(format).map(|integer| (integer.least(), integer.most()))
}

/// The least magnitude of a whole number that `serde_json` holds as a float only.
const BEYOND_64_BITS: (f64, f64) = (-9_223_372_036_854_775_808.0, 18_446_744_073_709_551_616.0);

impl Integer {
    fn of(format: &str) -> Option<Self> {
        let (signed, bits) = match format.strip_prefix("uint") {
            Some(bits) => (false, bits),
            None => (true, format.strip_prefix("int")?),
        };
        let bits = match bits {
            "8" => 8,
            "16" => 16,
            "32" => 32,
            // A `usize`; workers have 64 bits.
            "64" | "" => 64,
            "128" => 128,
            _ => return None,
        };
        Some(Self { signed, bits })
    }

    fn least(self) -> i128 {
        if self.signed { i128::MIN >> (128 - self.bits) } else { 0 }
    }

    fn most(self) -> u128 {
        u128::MAX >> (128 - self.bits + u32::from(self.signed))
    }

    fn problem(self, number: &Number) -> Option<String> {
        let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        let fits = match whole {
            Some(whole) => {
                whole >= self.least() && u128::try_from(whole).map_or(true, |whole| whole <= self.most())
            }
            // A number over 64 bits has become a float and lost digits.
            None => {
                let beyond = number.as_f64().filter(|float| {
                    self.bits == 128 && (*float < BEYOND_64_BITS.0 || *float >= BEYOND_64_BITS.1)
                });
                #[expect(clippy::cast_precision_loss, reason = "the bounds are as rough as what they bound")]
                beyond.is_some_and(|float| float >= self.least() as f64 && float <= self.most() as f64)
            }
        };
        let is_whole =
            whole.is_some() || number.as_f64().is_some_and(|float| float.abs() >= BEYOND_64_BITS.1);
        match (fits, is_whole) {
            (true, _) => None,
            (false, true) => Some(format!("expected an integer from {} to {}", self.least(), self.most())),
            (false, false) => Some("expected integer, got number".to_owned()),
        }
    }
}

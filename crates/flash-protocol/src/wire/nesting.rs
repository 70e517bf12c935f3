//! Measures how deeply JSON is nested, without building a value.

/// Maximum levels of arrays and objects: the limit of `serde_json`.
pub const MAX_NESTING: usize = 127;

/// Measures the nesting of JSON text that may arrive in pieces. It does not check that the text is valid.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nesting {
    level: usize,
    deepest: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy, Default)]
enum Place {
    #[default]
    BetweenStrings,
    InString,
    AfterBackslash,
}

impl Nesting {
    /// The nesting of this text.
    pub fn of(text: &[u8]) -> Self {
        let mut nesting = Self::default();
        nesting.read(text);
        nesting
    }

    /// Reads the next piece.
    pub fn read(&mut self, piece: &[u8]) {
        for byte in piece {
            self.place = match (self.place, byte) {
                (Place::InString, b'\\') => Place::AfterBackslash,
                (Place::InString, b'"') => Place::BetweenStrings,
                (Place::InString | Place::AfterBackslash, _) | (Place::BetweenStrings, b'"') => {
                    Place::InString
                }
                (Place::BetweenStrings, b'[' | b'{') => {
                    self.level += 1;
                    self.deepest = self.deepest.max(self.level);
                    Place::BetweenStrings
                }
                (Place::BetweenStrings, b']' | b'}') => {
                    self.level = self.level.saturating_sub(1);
                    Place::BetweenStrings
                }
                (Place::BetweenStrings, _) => Place::BetweenStrings,
            };
        }
    }

    /// Whether a decoder would refuse the content within `around` levels of this text.
    pub fn is_too_deep_within(&self, around: usize) -> bool {
        self.deepest > MAX_NESTING + around
    }

    /// Whether a decoder would refuse the text.
    pub fn is_too_deep(&self) -> bool {
        self.is_too_deep_within(0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn nested(levels: usize) -> String {
        "[".repeat(levels) + &"]".repeat(levels)
    }

    #[test]
    fn what_is_too_deep_is_what_the_decoder_refuses() {
        for levels in [0, 1, MAX_NESTING - 1, MAX_NESTING, MAX_NESTING + 1, 100_000] {
            let text = if levels == 0 { "1".to_owned() } else { nested(levels) };
            let is_refused = serde_json::from_str::<Value>(&text).is_err();
            assert_eq!(Nesting::of(text.as_bytes()).is_too_deep(), is_refused, "{levels}");
        }
        let objects = "{\"a\":".repeat(MAX_NESTING + 1) + "1" + &"}".repeat(MAX_NESTING + 1);
        assert!(Nesting::of(objects.as_bytes()).is_too_deep());
        assert!(!Nesting::of(objects.as_bytes()).is_too_deep_within(1));
    }

    #[test]
    fn brackets_in_strings_and_beside_each_other_do_not_count() {
        let in_string = format!("{{\"a\": \"\\\"{}\"}}", "[".repeat(500));
        let beside = format!("[{}1]", "[],".repeat(500));
        for text in [in_string, beside] {
            serde_json::from_str::<Value>(&text).unwrap();
            assert!(!Nesting::of(text.as_bytes()).is_too_deep(), "{text}");
        }
    }

    #[test]
    fn pieces_are_as_the_whole() {
        let text = format!("{{\"a\\\"[\": {}, \"b\": \"\\\\\"}}", nested(127));
        for size in [1, 2, 3, 7] {
            let mut nesting = Nesting::default();
            text.as_bytes().chunks(size).for_each(|piece| nesting.read(piece));
            assert!(nesting.is_too_deep(), "{size}");
            assert!(!nesting.is_too_deep_within(1), "{size}");
        }
    }
}

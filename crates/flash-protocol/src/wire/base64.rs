//! Base64 as Flash reads and writes it: the standard alphabet, written with padding, read with or without.
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes as base64.
pub fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// Appends the bytes as base64.
pub fn encode_to(bytes: &[u8], text: &mut String) {
    ENGINE.encode_string(bytes, text);
}

/// The bytes of a text; `None` if it is not base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}

/// Whether [`decode`] would succeed.
pub fn is_valid(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let fits = match digits.len() % 4 {
        0 => padding == 0,
        2 => padding <= 2,
        3 => padding <= 1,
        _ => false,
    };
    fits && digits.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_valid_is_what_is_decoded() {
        let texts = [
            "", "=", "A", "AA", "AA=", "AA==", "AA===", "AAA", "AAA=", "AAA==", "AAAA", "AAAA=", "AAAA====",
            "AAAAA", "AB==", "A-==", "A_AA", "A A=", "AA\n", "+/+/", "ä", "=AAA", "A=A=",
        ];
        for text in texts {
            assert_eq!(is_valid(text), decode(text).is_some(), "{text:?}");
        }
        for length in 0..100_u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            let text = encode(&bytes);
            assert!(is_valid(&text) && is_valid(text.trim_end_matches('=')), "{text}");
            assert_eq!(decode(&text), Some(bytes));
        }
    }
}

//! The bytes of one token, as clients want them beside log probabilities.
use tokenizers::{DecoderWrapper, Tokenizer};

/// How a vocabulary writes bytes that are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// Each byte is a printable character, as in GPT-2.
    Characters,
    /// Text, with `<0xAB>` for single bytes and `▁` for spaces, as in SentencePiece.
    Text,
}

impl Spelling {
    pub(crate) fn of(tokenizer: &Tokenizer) -> Self {
        fn has_bytes(decoder: &DecoderWrapper) -> bool {
            match decoder {
                DecoderWrapper::ByteLevel(_) => true,
                DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().any(has_bytes),
                _ => false,
            }
        }
        match tokenizer.get_decoder().is_some_and(has_bytes) {
            true => Self::Characters,
            false => Self::Text,
        }
    }

    /// The bytes of a token as the vocabulary writes it.
    pub(crate) fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            // A special token is written as it is, with characters that stand for no byte.
            Self::Characters => {
                token.chars().map(byte).collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Self::Text => match hexadecimal(token) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
        }
    }
}

fn hexadecimal(token: &str) -> Option<u8> {
    u8::from_str_radix(token.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

/// GPT-2's table: printable bytes are themselves, the others follow from `U+0100` in their order.
fn byte(char: char) -> Option<u8> {
    let code = u32::from(char);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let all: Vec<u8> = (0..0x144).filter_map(char::from_u32).filter_map(byte).collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..=255).collect::<Vec<u8>>());
        assert_eq!(Spelling::Characters.bytes("Ġhi"), b" hi");
        assert_eq!(Spelling::Characters.bytes("ĠÃ¤"), " ä".as_bytes());
    }

    #[test]
    fn sentencepiece_writes_bytes_in_hexadecimal() {
        assert_eq!(Spelling::Text.bytes("<0xE2>"), [0xE2]);
        assert_eq!(Spelling::Text.bytes("▁word"), b" word");
    }
}

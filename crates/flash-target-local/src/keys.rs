//! Makes the keys of environments.
use ring::rand::{SecureRandom as _, SystemRandom};

use flash_target::{Problem, SecretValue, TargetError};

/// The prefix of every key, so that secret scanners recognize it.
const START: &str = "flash_";
/// Random characters: 40 of 62 give 238 bits.
const RANDOM: usize = 40;
/// How much of a key is listed.
pub(super) const PREFIX: usize = 12;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new key.
pub(super) fn random_key() -> Result<SecretValue, TargetError> {
    let random = SystemRandom::new();
    let mut key = START.to_owned();
    while key.len() < START.len() + RANDOM {
        let mut bytes = [0; 64];
        random
            .fill(&mut bytes)
            .map_err(|_| TargetError::new(Problem::Failed, "the system provides no random numbers"))?;
        // Bytes beyond a multiple of 62 would favor the first digits.
        let even = bytes.iter().filter(|byte| usize::from(**byte) < 256 / DIGITS.len() * DIGITS.len());
        let left = START.len() + RANDOM - key.len();
        key.extend(even.take(left).map(|byte| char::from(DIGITS[usize::from(*byte) % DIGITS.len()])));
    }
    Ok(SecretValue::new(key))
}

/// The listed part of a key.
pub(super) fn prefix(key: &SecretValue) -> &str {
    &key.expose()[..PREFIX]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_plain_and_different() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert!(one != other);
        let text = one.expose().strip_prefix(START).unwrap();
        assert!(text.len() == RANDOM && text.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
        assert_eq!(prefix(&one).len(), PREFIX);
        assert!(one.expose().starts_with(prefix(&one)));
    }
}

//! Keys of the client API, stored as digests and compared in constant time.
//!
//! The caller sets the keys and can replace them while the platform runs. `access` decides what happens to a request
//! with a wrong key.
use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::hosts::AllowedHosts;

/// Who may send requests to a platform.
#[derive(Clone)]
pub enum Access {
    /// Anyone who uses one of these host names, except web pages of other sites.
    Open(AllowedHosts),
    /// Clients with this key.
    Key(ApiKey),
    /// Clients with one of an environment's keys, which can change.
    Ring(Arc<KeyRing>),
}

/// A key that opens the client API. Kept as a digest.
#[derive(Clone)]
pub struct ApiKey(KeyHash);

impl ApiKey {
    /// `None` for what cannot be sent in a header.
    pub fn new(key: &str) -> Option<Self> {
        let sendable = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        sendable.then(|| Self(KeyHash::of(key)))
    }

    pub(super) fn opens(&self, given: &str) -> bool {
        self.is(KeyHash::of(given))
    }

    /// Whether this is its hash.
    pub(super) fn is(&self, hash: KeyHash) -> bool {
        self.0.is(&hash).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// The SHA-256 of a key. Keys are random and long, so they cannot be recovered from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of this key, as written.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// 64 lowercase digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The reverse of [`KeyHash::to_hex`]; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Digests are compared, in constant time: neither the key's length nor its beginning shows.
    fn is(&self, other: &Self) -> Choice {
        self.0[..].ct_eq(&other.0[..])
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// The keys of one environment and of the others, so that a mix-up can be reported as such.
#[derive(Default)]
pub struct KeyRing {
    keys: ArcSwap<Keys>,
}

#[derive(Default)]
struct Keys {
    own: Vec<KeyHash>,
    of_others: Vec<KeyHash>,
}

/// The owner of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// This environment's.
    Own,
    /// Another environment's on this machine.
    Other,
    Nobody,
}

impl KeyRing {
    /// A ring without keys, which accepts nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the keys.
    pub fn set(&self, own: Vec<KeyHash>, of_others: Vec<KeyHash>) {
        self.keys.store(Arc::new(Keys { own, of_others }));
    }

    /// Compares with all keys, so that the time reveals nothing.
    pub(super) fn owner(&self, given: &str) -> Owner {
        self.owner_of(KeyHash::of(given))
    }

    /// As [`KeyRing::owner`], of the key with this hash.
    pub(super) fn owner_of(&self, given: KeyHash) -> Owner {
        let any = |keys: &[KeyHash]| {
            keys.iter().fold(Choice::from(0), |found, key| found | key.is(&given)).unwrap_u8() == 1
        };
        let keys = self.keys.load();
        match (any(&keys.own), any(&keys.of_others)) {
            (true, _) => Owner::Own,
            (false, true) => Owner::Other,
            (false, false) => Owner::Nobody,
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.load();
        f.debug_struct("KeyRing")
            .field("own", &keys.own.len())
            .field("of_others", &keys.of_others.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_opens() {
        let key = ApiKey::new("secret-7").unwrap();
        assert!(key.opens("secret-7"));
        assert!(!["", "secret", "secret-77", "Secret-7"].iter().any(|wrong| key.opens(wrong)));
        assert!(ApiKey::new("").is_none() && ApiKey::new("two words").is_none());
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
    }

    #[test]
    fn a_ring_knows_its_own_keys_and_its_neighbours_and_forgets_revoked_ones_at_once() {
        let ring = KeyRing::new();
        assert_eq!(ring.owner("a"), Owner::Nobody);
        ring.set(vec![KeyHash::of("a"), KeyHash::of("b")], vec![KeyHash::of("c")]);
        let owners = ["a", "b", "c", "d", ""].map(|key| ring.owner(key));
        assert_eq!(owners, [Owner::Own, Owner::Own, Owner::Other, Owner::Nobody, Owner::Nobody]);
        ring.set(vec![KeyHash::of("b")], Vec::new());
        assert_eq!(["a", "b", "c"].map(|key| ring.owner(key)), [Owner::Nobody, Owner::Own, Owner::Nobody]);
        assert_eq!(format!("{ring:?}"), "KeyRing { own: 1, of_others: 0 }");
    }

    #[test]
    fn a_hash_is_read_back_from_its_digits_and_from_nothing_else() {
        let hash = KeyHash::of("secret");
        assert_eq!(KeyHash::from_hex(&hash.to_hex()), Some(hash));
        assert_eq!(hash.to_hex(), "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b");
        for wrong in ["", "2bb8", &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(KeyHash::from_hex(wrong), None, "{wrong}");
        }
    }
}

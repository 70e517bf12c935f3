//! Keys and secrets, as far as they may be shown.
use std::fmt;

use serde::{Deserialize, Serialize};

/// A newly made key: the only time that it can be read.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewKey {
    /// The key as it is listed from now on.
    pub entry: KeyEntry,
    /// The key itself.
    pub key: SecretValue,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("entry", &self.entry).finish_non_exhaustive()
    }
}

/// A key as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Its first characters: enough to tell keys apart, not enough to use it.
    pub prefix: String,
    /// What it is for, in its maker's words.
    pub label: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was revoked, in milliseconds since 1970; `None` while it is valid.
    pub revoked_ms: Option<u64>,
}

/// A secret as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretEntry {
    /// The variable in which workers get it.
    pub name: String,
    /// When it was last set, in milliseconds since 1970.
    pub set_ms: u64,
    /// How often it was set.
    pub version: u64,
}

/// A value that is written only where it is used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(String);

impl SecretValue {
    /// Wraps it.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for use.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

//! Text that must not be shown.
use std::{fmt, sync::Arc};

/// A password or a token. `Debug` does not show it, and it has no `Display`.
#[derive(Clone)]
pub(super) struct Secret(Arc<str>);

impl Secret {
    /// The text itself, for the header or the body.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

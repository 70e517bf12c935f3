//! Progress bars.
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// A progress bar on stderr; nothing if stderr is not a terminal. Removed when dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Shows that something takes a while.
    pub(super) fn spinner(verb: &str, what: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{prefix:>12} {msg} {spinner}") {
            bar.set_style(style);
        }
        bar.set_prefix(verb.to_owned());
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Shows progress in bytes.
    pub(super) fn bytes(verb: &str, what: &str) -> Self {
        let bar = ProgressBar::new(0);
        // The template is fixed and valid.
        if let Ok(style) = ProgressStyle::with_template("{prefix:>12} {msg} {bytes}/{total_bytes} {wide_bar}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(verb.to_owned());
        bar.set_message(what.to_owned());
        Self(bar)
    }

    /// Sets the bytes done.
    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Sets the total.
    pub(crate) fn set_total(&self, total: u64) {
        self.0.set_length(total);
    }
}

/// A number of bytes, for people: `12.30 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

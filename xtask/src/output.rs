//! All that xtask prints. Results go to stdout, everything else to stderr.
//!
//! Printing elsewhere is forbidden by lints. A reader that went away is no failure of ours.
use std::{
    fmt::Display,
    io::{Write as _, stderr, stdout},
};

/// What a task was run for: a table, a JSON object.
pub(crate) fn result(text: &str) {
    let mut stdout = stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// What happens now, or how it went.
pub(crate) fn say(verb: &str, text: &str) {
    let _ = writeln!(stderr().lock(), "{verb:>12} {text}");
}

/// A task ends here.
pub(crate) fn error(text: &dyn Display) {
    let _ = writeln!(stderr().lock(), "error: {text}");
}

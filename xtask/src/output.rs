//! Everything that xtask prints. Results go to stdout, everything else to stderr.
//!
//! Lints forbid printing elsewhere. A closed pipe is not an error.
use std::{
    fmt::Display,
    io::{Write as _, stderr, stdout},
};

/// The result of a task: a table, a JSON object.
pub(crate) fn result(text: &str) {
    let mut stdout = stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// What happens now, or how it went.
pub(crate) fn say(verb: &str, text: &str) {
    let _ = writeln!(stderr().lock(), "{verb:>12} {text}");
}

/// The end of a task.
pub(crate) fn error(text: &dyn Display) {
    let _ = writeln!(stderr().lock(), "error: {text}");
}

//! Colors of the terminal, and which streams get them.
use std::io::{self, IsTerminal as _};

use super::format::Format;

pub(super) const DIM: &str = "\u{1b}[2m";
pub(super) const BOLD: &str = "\u{1b}[1m";
pub(super) const RED: &str = "\u{1b}[31m";
pub(super) const GREEN: &str = "\u{1b}[32m";
pub(super) const YELLOW: &str = "\u{1b}[33m";
pub(super) const RESET: &str = "\u{1b}[0m";

/// The streams that get colors: terminals, unless `NO_COLOR` is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colours {
    pub stdout: bool,
    pub stderr: bool,
}

impl Colours {
    /// For data in this format.
    pub(super) fn of_terminals(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            stdout: wanted && format == Format::Text && io::stdout().is_terminal(),
            stderr: wanted && io::stderr().is_terminal(),
        }
    }
}

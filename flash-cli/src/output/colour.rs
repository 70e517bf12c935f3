//! Colors of the terminal, and which streams get them.
use std::io;

use anstream::{AutoStream, ColorChoice};

use super::format::Format;

pub(super) const DIM: &str = "\u{1b}[2m";
pub(super) const BOLD: &str = "\u{1b}[1m";
pub(super) const RED: &str = "\u{1b}[31m";
pub(super) const GREEN: &str = "\u{1b}[32m";
pub(super) const YELLOW: &str = "\u{1b}[33m";
pub(super) const RESET: &str = "\u{1b}[0m";

/// The streams that get colors: terminals, unless `NO_COLOR`, `CLICOLOR` or `TERM` says otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colours {
    pub stdout: bool,
    pub stderr: bool,
}

impl Colours {
    /// For data in this format.
    pub(super) fn of_terminals(format: Format) -> Self {
        let stdout = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        let stderr = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
        Self { stdout: stdout && format == Format::Text, stderr }
    }
}

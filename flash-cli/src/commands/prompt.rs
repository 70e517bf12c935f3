//! Prompts on a terminal, and what Ctrl-C does there.
//!
//! A prompt hides the cursor or the keys that are typed, and a process that SIGINT ends leaves it like that. Here the
//! terminal is put back first. What is asked, and what an answer means, is up to the commands.
use std::{os::fd::AsFd as _, sync::OnceLock};

use nix::{
    libc,
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction},
        termios::tcgetattr,
    },
};

use crate::exit::Failure;

/// Ends the line of the prompt, and shows the cursor again.
const CANCELLED: &str = "\x1b[?25h\ncancelled\n";

/// How the terminal was before the first prompt.
static BEFORE: OnceLock<libc::termios> = OnceLock::new();

/// Shows a prompt and returns its answer. With Ctrl-C the process ends, by SIGINT as if there were no prompt.
///
/// # Errors
/// Without an answer: the terminal is gone, for example.
pub(super) fn prompt<T>(ask: impl FnOnce() -> dialoguer::Result<T>) -> Result<T, Failure> {
    if let Ok(terminal) = tcgetattr(std::io::stdin().as_fd()) {
        BEFORE.get_or_init(|| terminal.into());
    }
    // The first Ctrl-C is the last: raised again in the handler, the signal ends the process.
    let action = SigAction::new(SigHandler::Handler(put_back), SaFlags::SA_RESETHAND, SigSet::empty());
    // SAFETY: `put_back` makes only calls that a signal handler may make.
    let usual = unsafe { sigaction(Signal::SIGINT, &action) };
    let answer = ask();
    if let Ok(usual) = usual {
        // SAFETY: this is the action that was there before.
        let _ = unsafe { sigaction(Signal::SIGINT, &usual) };
    }
    answer.map_err(|error| Failure::failed(format!("no answer: {error}")))
}

extern "C" fn put_back(_: libc::c_int) {
    if let Some(before) = BEFORE.get() {
        // SAFETY: `before` is what the terminal itself told; `tcsetattr` may be called in a signal handler.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, before) };
    }
    // SAFETY: the text has this length; `write` may be called in a signal handler.
    unsafe { libc::write(libc::STDERR_FILENO, CANCELLED.as_ptr().cast(), CANCELLED.len()) };
    // The default action is back already.
    let _ = raise(Signal::SIGINT);
}

//! Converts panics of user code into errors with message and location.
//!
//! A hook records the panic on its thread before unwinding. The code that catches the panic on the same thread reads
//! the record.
use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe, UnwindSafe},
    sync::Once,
};

use flash_protocol::{Error, ErrorKind};
use futures_util::FutureExt as _;

thread_local! {
    static NOTED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs the hook, once; the previous hook still prints.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let message = info.payload_as_str().unwrap_or("panic without a message");
            let place = info.location().map(|at| format!(" at {}:{}:{}", at.file(), at.line(), at.column()));
            let note = format!("panicked{}: {message}", place.unwrap_or_default());
            NOTED.with_borrow_mut(|noted| *noted = Some(note));
            previous(info);
        }));
    });
}

fn noted() -> Error {
    let note = NOTED.with_borrow_mut(Option::take);
    Error::new(ErrorKind::Panic, note.unwrap_or_else(|| "panicked".to_owned()))
}

/// Runs a closure; a panic becomes an error of kind [`ErrorKind::Panic`].
pub(crate) fn catch<T>(run: impl FnOnce() -> T + UnwindSafe) -> Result<T, Error> {
    install_hook();
    panic::catch_unwind(run).map_err(|_| noted())
}

/// Polls a future; a panic ends it with an error of kind [`ErrorKind::Panic`].
// Not an `async fn`, which would hold the future twice: as its argument, and where it awaits it.
pub(crate) fn catch_async<F: Future>(future: F) -> impl Future<Output = Result<F::Output, Error>> {
    install_hook();
    // The note is of this thread, and read in the same poll.
    AssertUnwindSafe(future).catch_unwind().map(|outcome| outcome.map_err(|_| noted()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error_with_its_place() {
        let error = catch_async(async { panic!("boom {}", 7) }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panic);
        assert!(error.message().contains("boom 7"), "{error}");
        assert!(error.message().contains("panic.rs:"), "{error}");
    }

    #[tokio::test]
    async fn what_does_not_panic_passes_through() {
        assert_eq!(catch_async(async { 7 }).await.unwrap(), 7);
    }
}

//! Converts panics of user code into errors with message and location.
//!
//! A hook records the panic on its thread before unwinding. The code that catches the panic on the same thread reads
//! the record.
use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe, UnwindSafe},
    pin::{Pin, pin},
    sync::Once,
    task::{Context as TaskContext, Poll},
};

use flash_protocol::{Error, ErrorKind};

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
pub(crate) async fn catch_async<F: Future>(future: F) -> Result<F::Output, Error> {
    struct Caught<'a, F>(Pin<&'a mut F>);
    impl<F: Future> Future for Caught<'_, F> {
        type Output = Result<F::Output, Error>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
            // The future is not polled again after a panic: the caller drops it.
            match catch(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
                Ok(poll) => poll.map(Ok),
                Err(error) => Poll::Ready(Err(error)),
            }
        }
    }
    Caught(pin!(future)).await
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

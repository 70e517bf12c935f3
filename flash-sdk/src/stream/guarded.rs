//! The stream of a streaming function, polled as part of its call.
//!
//! Whoever awaits a future can guard it. A stream has many kinds of consumers (a response body, a job, a caller in
//! this process), so it carries its own guard: context, deadline, panics, and the effect of dropping it.
use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Poll, ready},
};

use flash_protocol::{Error, ErrorKind, Result};
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use tokio::time::Sleep;

use crate::{context::Context, descriptor::Function, panic};

/// What the end of the stream means for its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// The stream is the whole call. Dropping it early cancels the call.
    Own,
    /// The stream is something that its caller waits for.
    Callers,
}

/// A stream within its call. The first error is its last item: the function's own error, a panic, or the deadline.
pub(crate) struct Guarded<T> {
    /// `None` once it has ended.
    chunks: Option<BoxStream<'static, Result<T>>>,
    context: Context,
    call: Call,
    function: &'static Function,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<T> Guarded<T> {
    /// Opens a stream within this call.
    ///
    /// # Errors
    /// The error of `open`, or a panic in it.
    pub(crate) fn open(
        context: Context,
        call: Call,
        function: &'static Function,
        open: impl FnOnce() -> Result<BoxStream<'static, Result<T>>>,
    ) -> Result<Self> {
        let chunks = context.clone().sync_scope(|| panic::catch(AssertUnwindSafe(open)))??;
        let deadline = context.deadline().map(|at| Box::pin(tokio::time::sleep_until(at.into())));
        Ok(Self { chunks: Some(chunks), context, call, function, deadline })
    }

    /// Drops the user's values in the context of the call, because a destructor may use it.
    fn close(&mut self) {
        if let Some(chunks) = self.chunks.take() {
            let closed = panic::catch(AssertUnwindSafe(|| self.context.clone().sync_scope(|| drop(chunks))));
            if let Err(error) = closed {
                tracing::error!("`{}` failed while its stream was dropped: {error}", self.function.stage());
            }
        }
    }

    fn cancel(&mut self) {
        if self.call == Call::Own {
            self.context.cancel();
        }
        self.close();
    }

    fn is_late(&mut self, cx: &mut std::task::Context<'_>) -> bool {
        // A stream that never yields gives the runtime's timers no chance to run, so the time is also checked here.
        let is_over = |deadline: &Sleep| deadline.deadline() <= tokio::time::Instant::now();
        self.deadline
            .as_mut()
            .is_some_and(|deadline| is_over(deadline) || deadline.as_mut().poll(cx).is_ready())
    }
}

impl<T> Stream for Guarded<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Result<T>>> {
        if self.chunks.is_none() {
            return Poll::Ready(None);
        }
        if self.is_late(cx) {
            self.cancel();
            let message = format!("`{}` exceeded its time limit", self.function.call_name());
            return Poll::Ready(Some(Err(Error::new(ErrorKind::Timeout, message))));
        }
        let context = self.context.clone();
        let Some(chunks) = self.chunks.as_mut() else { return Poll::Ready(None) };
        let polled = context.sync_scope(|| panic::catch(AssertUnwindSafe(|| chunks.poll_next_unpin(cx))));
        let item = match polled {
            Ok(polled) => ready!(polled),
            Err(panicked) => Some(Err(panicked)),
        };
        if !matches!(item, Some(Ok(_))) {
            self.close();
        }
        Poll::Ready(item)
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if self.chunks.is_some() {
            self.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, OnceLock},
        time::{Duration, Instant},
    };

    use parking_lot::Mutex;

    use flash_protocol::{
        CpuInstance, ResourceConfig,
        wire::{envelope::Envelope, identity::RequestId},
    };
    use futures_util::stream;

    use super::*;
    use crate::{
        context::{Setup, epoch_ms},
        descriptor::{Handler, Resource},
    };

    fn function() -> &'static Function {
        Box::leak(Box::new(Function {
            name: "words",
            owner: None,
            module_path: "app",
            file: "src/main.rs",
            line: 1,
            docs: "",
            resource: Resource::Declared(ResourceConfig::new("w").cpu(CpuInstance::Cpu3c_1_2)),
            route: None,
            settings: crate::descriptor::FunctionSettings::new(),
            arguments: &[],
            output: crate::descriptor::Output::of::<u32>(),
            handler: Handler::Stream(|_| unreachable!("never run here")),
            lifecycle: None,
            binding: OnceLock::new(),
        }))
    }

    fn context(left: Option<Duration>) -> Context {
        let deadline_ms = left.map(|left| epoch_ms(Instant::now() + left));
        let envelope = Envelope { request_id: RequestId::parse("r-1"), deadline_ms, ..Envelope::default() };
        Context::new(Setup { envelope, ..Setup::default() })
    }

    fn guarded<S>(context: &Context, chunks: S) -> Guarded<String>
    where
        S: Stream<Item = Result<String>> + Send + 'static,
    {
        Guarded::open(context.clone(), Call::Own, function(), || Ok(chunks.boxed())).unwrap()
    }

    fn request() -> String {
        Context::current().map_or_else(|| "none".to_owned(), |context| context.request_id().to_owned())
    }

    #[tokio::test]
    async fn each_chunk_is_made_within_the_call() {
        let chunks = stream::iter(0..2).then(|_| async { Ok(request()) });
        let context = context(None);
        let chunks: Vec<_> = guarded(&context, chunks).map(Result::unwrap).collect().await;
        assert_eq!(chunks, ["r-1", "r-1"]);
        assert!(!context.is_cancelled(), "it ended by itself");
    }

    #[tokio::test]
    async fn a_panic_is_the_last_item() {
        let panics = stream::iter(0..3).map(|at| match at {
            1 => panic!("chunk {at} is bad"),
            _ => Ok("fine".to_owned()),
        });
        let items: Vec<_> = guarded(&context(None), panics).collect().await;
        assert_eq!(items.len(), 2);
        let error = items[1].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panic);
        assert!(error.message().contains("chunk 1 is bad"), "{error}");

        let opened = Guarded::<u32>::open(context(None), Call::Own, function(), || panic!("not even one"));
        assert_eq!(opened.err().map(|error| error.kind()), Some(ErrorKind::Panic));
    }

    #[tokio::test]
    async fn an_error_is_the_last_item() {
        let fails = stream::iter([Ok("a".to_owned()), Err(Error::handler("full")), Ok("b".to_owned())]);
        let items: Vec<_> = guarded(&context(None), fails).map(|item| item.is_ok()).collect().await;
        assert_eq!(items, [true, false]);
    }

    #[tokio::test]
    async fn the_deadline_ends_a_stream_that_gives_nothing_and_one_that_never_pauses() {
        let silent = guarded(&context(Some(Duration::from_millis(1))), stream::pending());
        let endless =
            guarded(&context(Some(Duration::from_millis(1))), stream::repeat_with(|| Ok(request())));
        for chunks in [silent, endless] {
            let last = chunks.fold(None, async |_, item| Some(item)).await.unwrap().unwrap_err();
            assert_eq!(
                (last.kind(), last.message()),
                (ErrorKind::Timeout, "`words` exceeded its time limit")
            );
        }
    }

    #[tokio::test]
    async fn dropping_it_cancels_its_call_and_drops_the_work_within_it() {
        struct Told(Arc<Mutex<Option<(String, bool)>>>);
        impl Drop for Told {
            fn drop(&mut self) {
                let cancelled = Context::current().is_some_and(|context| context.is_cancelled());
                *self.0.lock() = Some((request(), cancelled));
            }
        }
        let told = Arc::new(Mutex::new(None));
        let held = Told(told.clone());
        let chunks = stream::repeat_with(move || {
            let _held = &held;
            Ok(request())
        });
        let context = context(None);
        let mut chunks = guarded(&context, chunks);
        chunks.next().await.unwrap().unwrap();
        drop(chunks);
        assert_eq!(*told.lock(), Some(("r-1".to_owned(), true)));

        let outer = self::context(None);
        drop(Guarded::<u32>::open(
            outer.clone(),
            Call::Callers,
            function(),
            || Ok(stream::pending().boxed()),
        ));
        assert!(!outer.is_cancelled(), "the caller goes on");
    }
}

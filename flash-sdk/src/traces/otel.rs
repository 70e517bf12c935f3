//! Spans over OpenTelemetry.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use flash_protocol::{
    Error,
    wire::identity::{Sampled, TraceParent},
};
use flash_traces::{
    Export, Service, Settings,
    opentelemetry::{
        Context,
        trace::{
            SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
            TracerProvider as _,
        },
    },
    opentelemetry_sdk::trace::SdkTracerProvider,
};
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use super::{Called, Described};

/// How long the last spans may take at the end of a worker.
const LAST_SPANS: Duration = Duration::from_secs(1);

/// Whether spans are made. Set once, before the worker takes work.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Sends the spans of this worker.
pub(crate) struct Sending(SdkTracerProvider);

impl Sending {
    /// As the standard variables say; `None` if they ask for no traces.
    ///
    /// # Errors
    /// If they cannot be followed.
    pub(crate) fn from_env(
        worker_type: &str,
        worker: &str,
        runtime: tokio::runtime::Handle,
    ) -> Result<Option<Self>, String> {
        let Some(settings) = Settings::from_env().map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let service = Service {
            name: worker_type.to_owned(),
            attributes: vec![
                ("service.instance.id", worker.to_owned()),
                ("flash.worker_type", worker_type.to_owned()),
            ],
        };
        let say = Box::new(|text: String| tracing::warn!("{text}"));
        let Export { processor, resource } = Export::open(&settings, service, runtime, say)?;
        let provider =
            SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource).build();
        Ok(Some(Self(provider)))
    }

    /// Makes spans of those of `tracing`, except of libraries and of levels below this one.
    pub(crate) fn layer<S>(&self, least: Level, is_library: fn(&str) -> bool) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        IS_ON.store(true, Ordering::Relaxed);
        let tracer = self.0.tracer("flash-sdk");
        // Events are log lines, which name their span.
        let is_wanted = move |metadata: &Metadata<'_>| {
            metadata.is_span() && *metadata.level() <= least && !is_library(metadata.target())
        };
        OpenTelemetryLayer::new(tracer).with_filter(filter_fn(is_wanted))
    }

    /// Sends what is left, within a second. Blocks.
    pub(crate) fn close(&self) {
        // What could not be sent has been told.
        let _ = self.0.shutdown_with_timeout(LAST_SPANS);
    }
}

/// The span of a call, and what its callees get as their parent. `None` while no spans are made.
pub(crate) fn begin(call: &Described<'_>) -> Option<(Span, TraceParent)> {
    if !IS_ON.load(Ordering::Relaxed) {
        return None;
    }
    let (name, kind) = match call.called {
        Called::Job(function) => (function.call_name(), "consumer"),
        Called::Route(Some(function)) => (function.call_name(), "server"),
        Called::Route(None) => ("request".to_owned(), "server"),
        Called::InProcess => (call.function.unwrap_or("call").to_owned(), "internal"),
    };
    let span = tracing::info_span!(
        target: "flash_sdk",
        parent: None,
        "call",
        otel.name = name,
        otel.kind = kind,
        flash.request.id = call.request_id,
        flash.job.id = call.job_id,
        flash.attempt = call.attempt,
    );
    if let Some(parent) = call.parent {
        // Fails without our layer, where there is no span either.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote(parent)));
    }
    let own = written(span.context().span().span_context())?;
    Some((span, own))
}

/// The innermost span of the current task; `None` while no spans are made.
pub(crate) fn current() -> Option<TraceParent> {
    IS_ON.load(Ordering::Relaxed).then(|| written(Context::current().span().span_context())).flatten()
}

/// The call of this span failed.
pub(crate) fn failed(span: &Span, error: &Error) {
    if !span.is_none() {
        span.set_status(Status::error(format!("{error:#}")));
    }
}

fn written(context: &SpanContext) -> Option<TraceParent> {
    let sampled = if context.is_sampled() { Sampled::Yes } else { Sampled::No };
    let (trace, span) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
    context
        .is_valid()
        .then(|| TraceParent::new(u128::from_be_bytes(trace), u64::from_be_bytes(span), sampled))
}

fn remote(parent: &TraceParent) -> SpanContext {
    let trace = u128::from_str_radix(parent.trace(), 16).unwrap_or_default();
    let span = u64::from_str_radix(parent.span(), 16).unwrap_or_default();
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(TraceId::from(trace), SpanId::from(span), flags, true, TraceState::NONE)
}

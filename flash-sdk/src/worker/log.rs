//! Log lines of a worker: one JSON object per line, as Runpod's official worker prints them, so that the provider's
//! console and the Flash platform find request, level and message in the same fields.
use std::{fmt, io::Write as _};

use flash_protocol::wire::identity::TraceParent;
use serde::Serialize;
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{
    Layer,
    filter::LevelFilter,
    layer::{Context as LayerContext, SubscriberExt as _},
    registry::LookupSpan,
};

use crate::{context::Context, traces};

/// Sends `tracing` events of user code and of the SDK to stdout, unless user code has installed a subscriber.
#[cfg(not(feature = "otel"))]
pub(super) fn install(least: Level) {
    let lines = JsonLines { names_traces: are_traces_asked_for() };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(LevelFilter::from_level(least)));
    // Fails if user code has installed another subscriber, which then stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// As without traces; spans of `tracing` go where these are sent.
#[cfg(feature = "otel")]
pub(super) fn install(least: Level, sending: Option<&traces::Sending>) {
    let lines = JsonLines { names_traces: sending.is_some() };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(LevelFilter::from_level(least)));
    let subscriber = subscriber.with(sending.map(|sending| sending.layer(least, is_library)));
    // As above.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Whether the platform, which has the same variables, sends the traces that calls belong to.
#[cfg(not(feature = "otel"))]
fn are_traces_asked_for() -> bool {
    let is_set = |name| flash_protocol::variables::get(name).is_some();
    is_set("OTEL_EXPORTER_OTLP_ENDPOINT") || is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
}

struct JsonLines {
    /// Whether lines name the trace and the span that they belong to.
    names_traces: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    request_id: Option<&'a str>,
    message: String,
    level: &'a str,
    #[serde(rename = "trace_id", skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(rename = "span_id", skip_serializing_if = "Option::is_none")]
    span: Option<&'a str>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let metadata = event.metadata();
        // Libraries log details about themselves at INFO and below; only their warnings are shown.
        if is_library(metadata.target()) && *metadata.level() > Level::WARN {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let context = Context::current();
        let request_id = context.as_ref().map(Context::request_id);
        let trace = self.names_traces.then(|| innermost(context.as_ref())).flatten();
        let line = Line {
            request_id,
            message: text.finish(),
            level: metadata.level().as_str(),
            trace: trace.as_ref().map(TraceParent::trace),
            span: trace.as_ref().map(TraceParent::span),
        };
        if let Ok(mut line) = serde_json::to_vec(&line) {
            line.push(b'\n');
            // One write per line, so that lines of several threads do not mix. A closed pipe only loses logs.
            let _ = std::io::stdout().write_all(&line);
        }
    }
}

/// The innermost span of the current task.
fn innermost(context: Option<&Context>) -> Option<TraceParent> {
    traces::current().or_else(|| TraceParent::parse(context?.traceparent()))
}

fn is_library(target: &str) -> bool {
    ["hyper", "reqwest", "rustls", "h2", "tower", "axum", "tokio"]
        .iter()
        .any(|library| target.split("::").next().is_some_and(|root| root.starts_with(library)))
}

/// The message, then the fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(mut self) -> String {
        self.message.push_str(&self.fields);
        self.message
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        // Writing to a `String` cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

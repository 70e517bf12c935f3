//! Where spans go, and which traces are sampled.
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use flash_logs::{LogLine, Sink};
use flash_protocol::wire::identity::{Sampled, TraceParent};
use flash_text::error_chain;
use flash_traces::{
    Export, Service, Settings,
    opentelemetry::{
        Context, InstrumentationScope,
        trace::{SpanKind, TraceContextExt as _, TraceId},
    },
    opentelemetry_sdk::trace::{Config, SamplingDecision, ShouldSample, SpanData, SpanProcessor as _},
};
use parking_lot::Mutex;

use super::{
    ids::{new_span, remote, trace_of},
    starts::{Start, Starts},
};
use crate::worker_id::WorkerId;

/// How long the last spans may take at the end of the platform.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// See the module. Cheap to share.
#[derive(Clone)]
pub struct Traces {
    inner: Arc<Inner>,
}

struct Inner {
    export: Export,
    sampler: Box<dyn ShouldSample>,
    scope: InstrumentationScope,
    starts: Mutex<Starts>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

impl Traces {
    /// As the standard variables of this process say; `None` if they ask for no traces. `place` is the name of the
    /// environment. Where they cannot be followed, the log says why and there are none.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn from_env(place: &str, log: &Sink) -> Option<Self> {
        let say = |log: &Sink, text| log(LogLine::system("platform", None, text));
        let opened = match Settings::from_env() {
            Ok(None) => return None,
            Ok(Some(settings)) => Self::open(&settings, place, log),
            Err(error) => Err(error_chain(&error)),
        };
        opened.inspect_err(|problem| say(log, format!("no traces are sent: {problem}"))).ok()
    }

    fn open(settings: &Settings, place: &str, log: &Sink) -> Result<Self, String> {
        let service = Service {
            name: "flash".to_owned(),
            attributes: vec![
                ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
                ("deployment.environment.name", place.to_owned()),
            ],
        };
        let log = log.clone();
        let say = Box::new(move |text| log(LogLine::system("platform", None, text)));
        let export = Export::open(settings, service, tokio::runtime::Handle::current(), say)?;
        Ok(Self {
            inner: Arc::new(Inner {
                export,
                // As the variables say; they have been checked.
                sampler: Config::default().sampler,
                scope: InstrumentationScope::builder("flash").with_version(env!("CARGO_PKG_VERSION")).build(),
                starts: Mutex::default(),
            }),
        })
    }

    /// A new span of the caller's trace, or of a new one, and whether it is to be sent.
    pub(super) fn begin(&self, name: &str, parent: Option<&TraceParent>) -> TraceParent {
        let trace = parent.map_or_else(|| uuid::Uuid::new_v4().as_u128(), trace_of);
        let context = parent.map(|parent| Context::new().with_remote_span_context(remote(parent)));
        let id = TraceId::from(trace);
        let kind = SpanKind::Server;
        let result = self.inner.sampler.should_sample(context.as_ref(), id, name, &kind, &[], &[]);
        let sampled = match result.decision {
            SamplingDecision::RecordAndSample => Sampled::Yes,
            SamplingDecision::RecordOnly | SamplingDecision::Drop => Sampled::No,
        };
        TraceParent::new(trace, new_span(), sampled)
    }

    pub(super) fn scope(&self) -> InstrumentationScope {
        self.inner.scope.clone()
    }

    /// Takes a span that has ended. Does not wait.
    pub(super) fn send(&self, span: SpanData) {
        self.inner.export.processor.on_end(span);
    }

    /// A worker that began to start this long ago is ready.
    pub(crate) fn worker_started(&self, worker: &WorkerId, took: Duration) {
        let until = SystemTime::now();
        let since = until.checked_sub(took).unwrap_or(until);
        self.inner.starts.lock().add(worker.clone(), Start { since, until });
    }

    /// The start of a worker, if it was lately.
    pub(super) fn start_of(&self, worker: &WorkerId) -> Option<Start> {
        self.inner.starts.lock().of(worker)
    }

    /// Sends what is left.
    pub(crate) async fn close(&self) {
        let inner = self.inner.clone();
        // It is told in the log if the last ones are lost.
        let _ = tokio::task::spawn_blocking(move || inner.export.close(LAST_SPANS)).await;
    }
}

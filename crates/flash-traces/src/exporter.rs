//! The exporter: a bounded queue, a thread that sends what is in it, and a line in the log when that fails.
use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor as _},
};
use tokio::runtime::Handle;

use crate::{client::Client, settings::Settings};

/// The time between two batches, unless `OTEL_BSP_SCHEDULE_DELAY` says another. Less than the 5 s of the
/// specification: workers live shorter than servers, and one that is killed loses what it has not sent.
const BETWEEN_BATCHES: Duration = Duration::from_secs(1);
const SERVICE_NAME: &str = "service.name";

/// Takes a line for the log.
pub type Say = Box<dyn Fn(String) + Send + Sync>;

/// Who sends spans.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` has another.
    pub name: String,
    /// What else is said of it, unless `OTEL_RESOURCE_ATTRIBUTES` says otherwise.
    pub attributes: Vec<(&'static str, String)>,
}

/// Where ended spans go.
#[derive(Debug)]
pub struct Export {
    /// Takes ended spans without waiting; while its queue is full (2048, or `OTEL_BSP_MAX_QUEUE_SIZE`), it drops them.
    pub processor: BatchSpanProcessor,
    /// Who sends them.
    pub resource: Resource,
}

impl Export {
    /// Starts the thread that sends. It uses this runtime for its requests, which must outlive it: call
    /// [`Export::close`] or the processor's shutdown before the runtime ends.
    ///
    /// # Errors
    /// If the exporter cannot be made from the variables.
    pub fn open(settings: &Settings, service: Service, runtime: Handle, say: Say) -> Result<Self, String> {
        let client = Client::new(settings, runtime)?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_timeout(settings.timeout)
            .with_http_client(client.clone())
            .build()
            // Its message may have the URL.
            .map_err(|_| format!("the settings for `{}` cannot be used", settings.host))?;
        let host = settings.host.clone();
        let exporter = Telling { exporter, client, host, say, is_failing: AtomicBool::new(false) };
        let mut config = BatchConfigBuilder::default();
        if !settings.sets_delay {
            config = config.with_scheduled_delay(BETWEEN_BATCHES);
        }
        let resource = resource_of(service);
        let mut processor = BatchSpanProcessor::new(exporter, config.build());
        processor.set_resource(&resource);
        Ok(Self { processor, resource })
    }

    /// Sends what is left, within this time. Blocks.
    pub fn close(&self, limit: Duration) {
        // What it could not send has been told.
        let _ = self.processor.shutdown_with_timeout(limit);
    }
}

fn resource_of(Service { name, attributes }: Service) -> Resource {
    let known = Resource::builder().build();
    let names_none = known
        .get(&Key::from_static_str(SERVICE_NAME))
        .is_none_or(|own| matches!(&own, Value::String(own) if own.as_str().starts_with("unknown_service")));
    let own = attributes.into_iter().filter(|(key, _)| known.get(&Key::from_static_str(key)).is_none());
    let own: Vec<KeyValue> = own.map(|(key, value)| KeyValue::new(key, value)).collect();
    let resource = Resource::builder().with_attributes(own);
    if names_none { resource.with_service_name(name).build() } else { resource.build() }
}

/// Says once that spans are lost, and once that they are not any more.
struct Telling {
    exporter: opentelemetry_otlp::SpanExporter,
    client: Client,
    host: String,
    say: Say,
    is_failing: AtomicBool,
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The exporter has the headers.
        f.debug_struct("Telling").field("host", &self.host).finish_non_exhaustive()
    }
}

impl SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        let was_failing = self.is_failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(error) if !was_failing => {
                let why = self.client.take_problem().unwrap_or_else(|| error.to_string());
                (self.say)(format!(
                    "traces are lost, because {} does not take them: {why}; requests go on",
                    self.host
                ));
            }
            Ok(()) if was_failing => (self.say)(format!("{} takes traces again", self.host)),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

//! What this worker reports beside results: what models did for a request, what they have to do, how far `#[init]` is.
//!
//! A process is one worker, so all of this is the process's own: models run on threads that know no call.
use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use flash_protocol::{
    ModelLoad,
    app_metrics::AppSeries,
    wire::{
        RawJson,
        exchange::{GeneratedFrame, ToPlatform, Writer},
    },
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::context::Context;

/// How often the platform is told what the models have to do, at most.
const BETWEEN_LOADS: Duration = Duration::from_millis(500);

static REPORTS: OnceLock<Reports> = OnceLock::new();

/// See the module.
pub(crate) struct Reports {
    /// `None`, once set: the platform takes no reports. Not set: there is no exchange, and the log is all there is.
    platform: OnceLock<Option<Writer<ToPlatform>>>,
    /// The platform of this worker, if it takes metrics.
    metrics: OnceLock<Writer<ToPlatform>>,
    loads: Mutex<BTreeMap<String, ModelLoad>>,
    changed: Notify,
    /// Why a model cannot be used any more.
    broken: watch::Sender<Option<String>>,
}

/// Where an answer of a model stands.
#[cfg(feature = "openai")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Waits,
    Runs,
}

/// Those of this process.
pub(crate) fn reports() -> &'static Reports {
    REPORTS.get_or_init(|| Reports {
        platform: OnceLock::new(),
        metrics: OnceLock::new(),
        loads: Mutex::default(),
        changed: Notify::new(),
        broken: watch::Sender::new(None),
    })
}

impl Reports {
    /// The worker is connected. `None`: to a platform that takes no reports.
    pub(super) fn report_to(&self, platform: Option<Writer<ToPlatform>>) {
        // A worker connects once.
        let _ = self.platform.set(platform);
    }

    /// This platform takes metrics of the app's own.
    pub(super) fn measure_for(&self, platform: Writer<ToPlatform>) {
        // As above.
        let _ = self.metrics.set(platform);
    }

    /// What has changed of the app's own metrics.
    pub(super) fn measured(&self, changes: Vec<AppSeries>) {
        if let Some(platform) = self.metrics.get() {
            platform.send(ToPlatform::Measured(changes));
        }
    }

    fn send(&self, frame: ToPlatform) {
        if let Some(Some(platform)) = self.platform.get() {
            platform.send(frame);
        }
    }

    /// A request has ended. `slot` is its place on the platform.
    pub(super) fn request_ended(&self, slot: Option<u64>, context: &Context) {
        let models = context.take_generated();
        if models.is_empty() {
            return;
        }
        match (slot, self.platform.get()) {
            (Some(slot), Some(_)) => self.send(ToPlatform::Generated(GeneratedFrame { slot, models })),
            (_, Some(_)) => {}
            (_, None) => context.clone().sync_scope(|| {
                models.iter().for_each(|(model, of)| tracing::info!("{model}: {}", of.line()));
            }),
        }
    }

    /// How far the start of this worker has come.
    pub(crate) fn loading(&self, text: &str) {
        match self.platform.get() {
            Some(_) => self.send(ToPlatform::Loading(flash_protocol::cut(text.to_owned()))),
            None => tracing::info!("{text}"),
        }
    }

    /// A value that `#[init]` reports: text as it is, anything else as JSON.
    pub(super) fn loading_value(&self, value: &RawJson) {
        match serde_json::from_str::<String>(value.get()) {
            Ok(text) => self.loading(&text),
            Err(_) => self.loading(value.get()),
        }
    }

    /// An answer of a model goes from one stage to the next; without one it is not there.
    #[cfg(feature = "openai")]
    pub(crate) fn moved(&self, model: &str, from: Option<Stage>, to: Option<Stage>) {
        let mut loads = self.loads.lock();
        if !loads.contains_key(model) {
            loads.insert(model.to_owned(), ModelLoad::default());
        }
        let Some(load) = loads.get_mut(model) else { return };
        let count = |load: &mut ModelLoad, stage, change: i32| {
            let count = match stage {
                Stage::Waits => &mut load.waiting,
                Stage::Runs => &mut load.running,
            };
            *count = count.saturating_add_signed(change);
        };
        if let Some(from) = from {
            count(load, from, -1);
        }
        if let Some(to) = to {
            count(load, to, 1);
        }
        drop(loads);
        self.changed.notify_one();
    }

    /// Tells the platform what the models have to do, when that changed. Runs until it is dropped.
    pub(super) async fn send_loads(&self) {
        loop {
            self.changed.notified().await;
            let loads = self.loads.lock().clone();
            self.send(ToPlatform::Models(loads));
            tokio::time::sleep(BETWEEN_LOADS).await;
        }
    }

    /// A model cannot be used any more; the first reason stays.
    #[cfg(feature = "openai")]
    pub(crate) fn broke(&self, reason: &str) {
        self.broken.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    /// Waits until a model is broken.
    pub(super) async fn broken(&self) -> String {
        let mut broken = self.broken.subscribe();
        loop {
            if let Some(reason) = broken.borrow_and_update().clone() {
                return reason;
            }
            if broken.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

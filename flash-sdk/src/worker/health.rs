//! Asks the values of this worker whether they are healthy, and has the worker replaced when one is not, or when a model
//! has said that it is broken.
//!
//! The Flash platform replaces a worker that reports itself. Any other platform starts a new worker when this one
//! ends, so there it stops taking work and ends.
use std::{convert::Infallible, sync::OnceLock, time::Duration};

use flash_protocol::wire::exchange::{ToPlatform, UnhealthyFrame, Writer};
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{
    lifecycles::{Lifecycles, within_no_call},
    reports::reports,
    shutdown::Shutdown,
};
use crate::descriptor::{HealthCheck, Lifecycle};

/// Failed checks in a row that make a worker unhealthy.
const FAILURES: u32 = 2;
/// How long an answer may take; none within this time is a failure.
const LIMIT: Duration = Duration::from_secs(10);

/// What is known of this worker's health, and who is told.
#[derive(Default)]
pub(super) struct Health {
    platform: OnceLock<Writer<ToPlatform>>,
    /// Why the worker ends itself.
    problem: OnceLock<String>,
}

impl Health {
    /// From now on the platform is told.
    pub(super) fn report_to(&self, platform: Writer<ToPlatform>) {
        // A worker connects once.
        let _ = self.platform.set(platform);
    }

    /// Why the worker ends itself; `None` if it ends for another reason.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.get().map(String::as_str)
    }

    /// Watches, from the moment when the values are made until the worker stops.
    pub(super) async fn watch(&self, lifecycles: &Lifecycles, shutdown: &Shutdown) -> Infallible {
        lifecycles.made().await;
        let checks =
            lifecycles.iter().filter_map(|value| Some(until_unhealthy(value, value.health.as_ref()?)));
        let mut checks: FuturesUnordered<_> = checks.collect();
        tokio::select! {
            Some(problem) = checks.next() => self.act(problem, shutdown),
            reason = reports().broken() => self.act(reason, shutdown),
            () = shutdown.requested() => {}
        }
        std::future::pending().await
    }

    fn act(&self, reason: String, shutdown: &Shutdown) {
        match self.platform.get() {
            // If the connection is broken, the worker ends anyway.
            Some(platform) => {
                platform.send(ToPlatform::Unhealthy(UnhealthyFrame { reason }));
            }
            None => {
                let _ = self.problem.set(reason);
                shutdown.request();
            }
        }
    }
}

/// Asks again and again. Returns what is wrong after enough failures in a row.
async fn until_unhealthy(value: &'static Lifecycle, check: &'static HealthCheck) -> String {
    let mut failed = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(check.every_seconds)).await;
        let Err(reason) = answer(check).await else {
            failed = 0;
            continue;
        };
        failed += 1;
        tracing::warn!("`#[health]` of `{}` failed ({failed} of {FAILURES}): {reason}", value.name);
        if failed == FAILURES {
            return format!("`#[health]` of `{}` failed {FAILURES} times in a row: {reason}", value.name);
        }
    }
}

async fn answer(check: &HealthCheck) -> Result<(), String> {
    match tokio::time::timeout(LIMIT, within_no_call(check.ask)).await {
        Ok(outcome) => outcome.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use flash_protocol::Error;
    use tokio::time::Instant;

    use super::*;

    const FINE: fn() -> futures_util::future::BoxFuture<'static, flash_protocol::Result<()>> =
        || Box::pin(async { Ok(()) });

    #[tokio::test(start_paused = true)]
    async fn only_failures_in_a_row_count() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        static VALUE: Lifecycle = Lifecycle {
            name: "Model",
            needs_model: false,
            init: FINE,
            exit: None,
            health: Some(HealthCheck {
                every_seconds: 5,
                ask: || {
                    let asked = ASKED.fetch_add(1, Ordering::SeqCst);
                    Box::pin(async move { if asked == 1 { Ok(()) } else { Err(Error::handler("no GPU")) } })
                },
            }),
        };
        let began = Instant::now();
        let reason = until_unhealthy(&VALUE, VALUE.health.as_ref().unwrap()).await;
        assert!(reason.starts_with("`#[health]` of `Model` failed 2 times in a row:"), "{reason}");
        assert!(reason.contains("no GPU"), "{reason}");
        // Failed, healthy, failed, failed.
        assert_eq!(ASKED.load(Ordering::SeqCst), 4);
        assert_eq!(began.elapsed().as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_and_a_panic_are_failures() {
        static SILENT: HealthCheck =
            HealthCheck { every_seconds: 1, ask: || Box::pin(std::future::pending()) };
        assert_eq!(answer(&SILENT).await.unwrap_err(), "no answer within 10 s");
        static PANICS: HealthCheck =
            HealthCheck { every_seconds: 1, ask: || Box::pin(async { panic!("gone") }) };
        assert!(answer(&PANICS).await.unwrap_err().contains("gone"));
    }
}

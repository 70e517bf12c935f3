//! Heartbeats: tell the platform that this process is alive, and which jobs it runs.
//!
//! They run on a separate thread and runtime, because user code may block every async thread without being dead.
//! Whatever stops the whole process also stops the heartbeats.
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::settings::{Heartbeats, Runpod};
use crate::http_client::http_client;

/// Running heartbeats. They end when this is dropped.
pub(super) struct Heartbeat {
    _alive: DropGuard,
}

impl Heartbeat {
    /// Starts them. `jobs` returns the running jobs and is called from another thread.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(super) fn start(
        heartbeats: &Heartbeats,
        jobs: impl Fn() -> Vec<String> + Send + 'static,
    ) -> Result<Self, String> {
        let ended = CancellationToken::new();
        let alive = ended.clone().drop_guard();
        let heartbeats = heartbeats.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("could not start a runtime for heartbeats: {error}"))?;
        // Not joined: it ends with the token or the process, and has nothing to finish.
        std::thread::Builder::new()
            .name("flash-heartbeat".to_owned())
            .spawn(move || runtime.block_on(ended.run_until_cancelled(beat(&heartbeats, jobs))))
            .map_err(|error| format!("could not start a thread for heartbeats: {error}"))?;
        Ok(Self { _alive: alive })
    }
}

async fn beat(heartbeats: &Heartbeats, jobs: impl Fn() -> Vec<String>) {
    // A separate client, because connections belong to the runtime that opened them.
    let client = client(&heartbeats.url);
    let mut tick = tokio::time::interval(heartbeats.interval);
    // After a pause, one heartbeat is enough.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let request = client
            .get(url(&heartbeats.url, &jobs()))
            .header("content-type", "application/json")
            .header("authorization", &heartbeats.key)
            .timeout(limit(heartbeats.interval));
        // Status and body do not matter. If heartbeats are missing, the platform acts.
        if let Err(error) = request.send().await {
            tracing::debug!("a heartbeat failed: {:#}", flash_protocol::Error::from(error.without_url()));
        }
    }
}

fn limit(interval: Duration) -> Duration {
    interval * 2
}

fn client(url: &str) -> reqwest::Client {
    // A local platform needs neither certificates, which take time to load, nor a proxy.
    let neighbour =
        url.starts_with("http://").then(|| flash_http::client().tls_certs_only([]).no_proxy().build().ok());
    neighbour.flatten().unwrap_or_else(http_client)
}

fn url(ping: &str, jobs: &[String]) -> String {
    let version = concat!("runpod_version=flash-", env!("CARGO_PKG_VERSION"));
    let ping = match jobs {
        [] => ping.to_owned(),
        jobs => Runpod::with(ping, &format!("job_id={}", jobs.join("%2C"))),
    };
    Runpod::with(&ping, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_jobs_are_named_in_a_heartbeat() {
        let none = url("http://h/ping/w?gpu=x", &[]);
        assert!(none.starts_with("http://h/ping/w?gpu=x&runpod_version=flash-"), "{none}");
        let two = url("http://h/ping/w", &["a".to_owned(), "b".to_owned()]);
        assert!(two.starts_with("http://h/ping/w?job_id=a%2Cb&runpod_version="), "{two}");
    }
}

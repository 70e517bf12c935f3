//! The end of the service: whether it would interrupt anybody, and its order.
use std::time::Duration;

use super::{costs, host::Host};

/// Whether ending now would interrupt nobody.
pub(super) async fn has_nothing_to_lose(host: &Host) -> bool {
    for running in host.all() {
        let serves = running.platform().is_some_and(|platform| {
            let overview = platform.overview();
            overview.live.is_some() || !overview.draining.is_empty()
        });
        let key = running.stored.key;
        // An environment that should be live counts as if it were, and so does one whose state is unknown.
        let should_serve =
            async || !matches!(host.ask(move |database| database.live_number(key)).await, Ok(None));
        if serves || running.is_changing() || should_serve().await {
            return false;
        }
    }
    true
}

/// Stops everything: running work gets its drain time, jobs and releases stay for the next start.
pub(super) async fn stop(host: &Host) {
    host.closing.cancel();
    host.tasks.close();
    let all = host.all();
    futures_util::future::join_all(all.iter().map(|running| running.stop())).await;
    for running in &all {
        costs::record(host, running).await;
        running.close_logs().await;
    }
    // Running changes notice that their platform has ended.
    let _ = tokio::time::timeout(Duration::from_secs(5), host.tasks.wait()).await;
    host.machine.end(Duration::from_secs(5)).await;
}

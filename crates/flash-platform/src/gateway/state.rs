//! What handlers need of the platform.
use std::sync::Arc;

use flash_logs::LogStore;
use flash_protocol::ErrorKind;
use http::StatusCode;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{access_control::AccessControl, dashboard_state::Dashboard, error::Refusal, keys::Access};
use crate::{
    counters::Posts,
    meter::Billing,
    pool::PoolContext,
    queue::Budget,
    release::Release,
    releases::{Expected, Releases},
    supervisor::{Isolation, Pods},
    traces::Traces,
};

/// See the module.
pub(crate) struct GatewayState {
    pub releases: Arc<Releases>,
    pub(super) access_control: AccessControl,
    pub(super) billing: Billing,
    /// What its pages show beside the releases.
    pub(super) dashboard: Dashboard,
    /// The log that clients may read, if they may.
    pub(super) readable_log: Option<LogStore>,
    /// The memory that jobs may use.
    pub(super) budget: Budget,
    /// Knows the GPUs, for metrics.
    pub(super) isolation: Isolation,
    /// Pods that may join.
    pub(super) pods: Pods,
    /// What became of webhooks, for metrics.
    pub(super) posts: Arc<Posts>,
    /// What outlives the answer to a request, and is waited for at the end.
    pub(super) tasks: TaskTracker,
    /// Where spans go, if anywhere.
    pub(super) traces: Option<Traces>,
    /// The platform stops: no new work.
    pub(super) closing: CancellationToken,
}

impl GatewayState {
    /// The state beside pools with this context.
    pub(crate) fn new(
        context: &PoolContext,
        releases: Arc<Releases>,
        access: Access,
        readable_log: Option<LogStore>,
        dashboard: Dashboard,
        posts: Arc<Posts>,
    ) -> Self {
        Self {
            releases,
            posts,
            dashboard,
            access_control: AccessControl::new(access, context.log.clone()),
            readable_log,
            billing: context.billing.clone(),
            budget: context.queues.budget.clone(),
            isolation: context.isolation.clone(),
            pods: context.pods.clone(),
            tasks: context.tasks.clone(),
            traces: context.queues.traces.clone(),
            closing: context.closing.clone(),
        }
    }

    /// Logs failed attempts of clients that have not been logged yet.
    pub(crate) fn log_refused(&self) {
        self.access_control.log_rest();
    }

    /// The live release; 503 if there is none or the platform is stopping.
    pub(super) fn live(&self) -> Result<Arc<Release>, Refusal> {
        if self.closing.is_cancelled() {
            let message = "flash is stopping and accepts no new work";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::NoWorker, message));
        }
        self.releases.live().ok_or_else(|| self.nothing_live())
    }

    /// The answer while no release is live.
    pub(super) fn nothing_live(&self) -> Refusal {
        if self.releases.expected() == Expected::Restored {
            let message = "the environment is being restored; try again";
            return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::NoWorker, message).after(1);
        }
        let is_empty = self.access_control.is_of_environment() && !self.releases.is_starting();
        let message = match is_empty {
            true => "nothing is deployed in this environment",
            false => "the app has not started yet",
        };
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::NoWorker, message)
    }
}

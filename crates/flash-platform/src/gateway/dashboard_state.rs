//! What the dashboard shows beside the releases, and who is logged in.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use flash_dashboard::{
    Sessions,
    view::{ShownRelease, WayBack},
};
use flash_logs::LogStore;
use flash_protocol::catalogue::NanoDollars;

use super::keys::KeyHash;
use crate::{build_state::BuildState, history::History, hops::now_ms, schedule::Schedules};

/// What the dashboard shows of the place where the app runs.
#[derive(Clone)]
pub struct DashboardOptions {
    /// What the place is called, such as `flash run` or `production`.
    pub place: String,
    /// The log that it shows; without, it has no page for one.
    pub log: Option<LogStore>,
    /// The command that shows the costs of earlier days, where they are kept.
    pub cost_command: Option<String>,
    /// What was spent on each day, where that is kept.
    pub daily_costs: Option<Arc<dyn DailyCosts>>,
    /// The releases, where there is a history of them; without, the dashboard has no page for them.
    pub releases: Option<Arc<dyn ReleaseHistory>>,
    /// Whether inputs and outputs of jobs are hidden. The owner may change it at any time.
    pub hides_values: Arc<AtomicBool>,
}

/// What was spent on each day, as it is kept beyond the end of a platform.
pub trait DailyCosts: Send + Sync {
    /// Of the latest days on which something was spent, the latest first. Blocks.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    fn latest(&self) -> Result<Vec<DailyCost>, String>;
}

/// What was spent on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailyCost {
    /// Its start in UTC, in milliseconds since 1970.
    pub day_ms: u64,
    /// The bills of worker types, by name.
    pub workers: Vec<(String, NanoDollars)>,
}

/// The releases of an environment, and the way back to one. Whoever owns them checks all that is asked for.
#[async_trait]
pub trait ReleaseHistory: Send + Sync {
    /// The latest ones, the newest first.
    ///
    /// # Errors
    /// Why they cannot be read, for people.
    async fn latest(&self) -> Result<Vec<ShownRelease>, String>;

    /// What going back to a release would change now.
    ///
    /// # Errors
    /// Why it cannot be gone back to, for people.
    async fn way_back(&self, to: u64) -> Result<WayBack, String>;

    /// Begins to go back to a release. It goes on when this returns, whether anybody waits or not: the list of releases
    /// says how it ended.
    ///
    /// # Errors
    /// Why it was refused, for people: the release cannot be gone back to, another one is live than when the plan was
    /// shown, or callers would break and that was not allowed.
    async fn roll_back(&self, wanted: Rollback) -> Result<(), String>;
}

/// A rollback that somebody has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollback {
    /// The release to go back to.
    pub to: u64,
    /// The release that was live when its plan was shown; `None`: none was.
    pub base: Option<u64>,
    /// Whether callers may break.
    pub allow_breaking: bool,
}

/// See the module.
pub(crate) struct Dashboard {
    pub(super) options: DashboardOptions,
    pub(super) schedules: Arc<Schedules>,
    pub(super) history: Arc<History>,
    pub(super) build_state: Arc<BuildState>,
    /// Each with the hash of the key that opened it: a session ends when its key is revoked.
    pub(super) sessions: Sessions<KeyHash>,
    /// When the platform started, in milliseconds since 1970.
    pub(super) started_ms: u64,
}

impl Dashboard {
    /// Without sessions.
    pub(crate) fn new(
        options: DashboardOptions,
        schedules: Arc<Schedules>,
        history: Arc<History>,
        build_state: Arc<BuildState>,
    ) -> Self {
        let sessions = Sessions::default();
        Self { options, schedules, history, build_state, sessions, started_ms: now_ms() }
    }

    /// Whether inputs and outputs of jobs are hidden now.
    pub(super) fn hides_values(&self) -> bool {
        self.options.hides_values.load(Ordering::Relaxed)
    }
}

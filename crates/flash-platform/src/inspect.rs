//! What callers see of a platform and change beside its releases: its state, limits of workers, schedules, and whether
//! the latest changes run.
use jiff::Timestamp;

use super::{
    overview::{JobMemory, Overview, type_overview},
    platform::Platform,
    pool::WorkerLimits,
    release::Release,
    schedule::{ScheduleError, ScheduleOverview},
};

impl Platform {
    /// Its current activity.
    pub fn overview(&self) -> Overview {
        let live = self.shared.releases.live();
        let workers = live.iter().flat_map(|live| live.pools()).map(|pool| type_overview(pool)).collect();
        let is_live = |release: &Release| live.as_ref().is_some_and(|live| live.number == release.number);
        let releases = self.shared.releases.live_and_past();
        let draining = releases.iter().filter(|release| !is_live(release) && !release.is_over());
        let mut draining: Vec<u64> = draining.map(|release| release.number).collect();
        draining.sort_unstable_by(|one, other| other.cmp(one));
        let budget = &self.shared.context.queues.budget;
        let job_memory = JobMemory { held_bytes: budget.held() as u64, limit_bytes: budget.limit() as u64 };
        Overview {
            live: live.as_ref().map(|live| live.number),
            workers,
            draining,
            job_memory: Some(job_memory),
            set_aside: self.shared.set_aside,
            gpus: Vec::new(),
        }
    }

    /// Its current activity, and that of the GPUs. It asks their driver, which takes part of a second.
    pub async fn overview_with_gpus(&self) -> Overview {
        let gpus = self.shared.context.isolation.gpu_overview().await;
        Overview { gpus, ..self.overview() }
    }

    /// Sets the limits of a worker type's workers in the live release, beside its own; `None` ends that. The next
    /// release begins with its own. Without such a worker type, nothing happens.
    pub fn set_limits(&self, worker_type: &str, limits: Option<WorkerLimits>) {
        if let Some(pool) = self.shared.releases.live().and_then(|live| live.pool(worker_type).cloned()) {
            pool.set_limits(limits);
        }
    }

    /// The scheduled functions of the live release.
    pub fn schedules(&self) -> Vec<ScheduleOverview> {
        self.shared.schedules.overview(Timestamp::now())
    }

    /// Runs a scheduled function now, besides its times. Returns the ID of its job, which is stored.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub async fn run_schedule(&self, function: &str) -> Result<String, ScheduleError> {
        self.shared.schedules.run_now(function, Timestamp::now()).await
    }

    /// Pauses or resumes a scheduled function. Times that pass while it is paused get no run, also later.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub fn set_schedule_paused(&self, function: &str, paused: bool) -> Result<(), ScheduleError> {
        self.shared.schedules.set_paused(function, paused, Timestamp::now())
    }

    /// The latest changes of the app run, or why they do not: for the dashboard.
    pub fn set_build_problem(&self, problem: Option<&str>) {
        self.shared.build_state.set(problem);
    }
}

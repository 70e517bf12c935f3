//! What the pages show, as plain data. Times are milliseconds since 1970, amounts billionths of a dollar.
mod costs;
mod pages;
mod releases;

use std::time::Duration;

pub use costs::{Costs, DayCost, FunctionCost, TypeCost};
pub use pages::Page;
pub use releases::{ChangeLine, ShownChanges, ShownRelease, ShownState, WayBack};

/// What every page has around its content.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// The app; `None` while nothing is live.
    pub app: Option<String>,
    /// Where it runs, such as `flash run` or the name of an environment.
    pub place: String,
    /// The number of the live release.
    pub release: Option<u64>,
    /// The pages that have something to show.
    pub pages: Vec<Page>,
    /// Whether there is a session to log out of.
    pub has_session: bool,
    /// Why the latest changes do not run.
    pub build_problem: Option<BuildProblem>,
    /// Now.
    pub now_ms: u64,
}

/// A build of hot reload that failed. The version before it serves.
#[derive(Debug, Clone)]
pub struct BuildProblem {
    /// When.
    pub time_ms: u64,
    /// What the compiler said, or whatever else was the reason.
    pub text: String,
}

/// The state of everything.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Why nothing is served, if so.
    pub down: Option<String>,
    /// When this process took up the live release.
    pub since_ms: Option<u64>,
    /// Releases that still finish work.
    pub draining: Vec<u64>,
    /// By name.
    pub workers: Vec<WorkerType>,
    /// Since the platform started, in billionths of a dollar.
    pub cost: u64,
    /// The price of all workers that run now, per hour.
    pub cost_per_hour: u64,
    /// The latest problems, the newest first.
    pub problems: Vec<Problem>,
    /// The last 15 minutes; empty right after the start.
    pub curves: Vec<Chart>,
    /// A command that calls the app, for when nothing has happened yet.
    pub example: Option<String>,
}

/// A worker type.
#[derive(Debug, Clone, Default)]
pub struct WorkerType {
    /// As in the app.
    pub name: String,
    /// Such as `CPU cpu3g-2-8`.
    pub compute: String,
    /// How few and how many workers it may have.
    pub limits: (u32, u32),
    /// Its workers by state.
    pub counts: Counts,
    /// What the one that has been starting the longest does, or waits for.
    pub loading: Option<String>,
    /// Jobs or requests that wait.
    pub waiting: u64,
    /// Jobs or requests that workers have.
    pub running: u64,
    /// Calls that ended, per second, over the last minute.
    pub per_second: f64,
    /// Over the latest calls.
    pub latency: Option<Latency>,
    /// Since the platform started.
    pub completed: u64,
    /// Over the same time.
    pub failed: u64,
    /// Over the same time, in billionths of a dollar; `None` without a price.
    pub cost: Option<u64>,
}

/// Workers by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// With work.
    pub busy: u32,
    /// Ready, without work.
    pub idle: u32,
    /// Not ready yet.
    pub starting: u32,
    /// Ending.
    pub stopping: u32,
    /// Down because of repeated crashes.
    pub unhealthy: u32,
    /// Delayed for a moment after a crash.
    pub throttled: u32,
}

/// How long calls took, from their arrival to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Half of them at most.
    pub p50: Duration,
    /// 95 of 100 at most.
    pub p95: Duration,
    /// 99 of 100 at most.
    pub p99: Duration,
    /// How many calls that is of.
    pub calls: usize,
}

/// Something that went wrong.
#[derive(Debug, Clone)]
pub struct Problem {
    /// When.
    pub time_ms: u64,
    /// Where.
    pub worker_type: String,
    /// What.
    pub message: String,
    /// The request, if there was one.
    pub request_id: Option<String>,
}

/// Curves over time.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows, with its unit.
    pub title: &'static str,
    /// What its values are.
    pub values: Values,
    /// Of its points, in order.
    pub times_ms: Vec<u64>,
    /// One for each worker type.
    pub curves: Vec<Curve>,
}

/// What the values of curves are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Numbers of things: whole ones.
    Counts,
    /// Any numbers.
    Rates,
}

/// One curve.
#[derive(Debug, Clone)]
pub struct Curve {
    /// The worker type.
    pub name: String,
    /// For each time; `None` where it did not exist.
    pub values: Vec<Option<f64>>,
}

/// How far a job or request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It waits for a worker, or for its next attempt.
    Waiting,
    /// A worker has it.
    Running,
    /// It has a result.
    Completed,
    /// It has an error.
    Failed,
    /// Its client stopped it.
    Cancelled,
    /// It took too long.
    TimedOut,
}

impl State {
    /// All, in the order of a request's life.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Running, Self::Completed, Self::Failed, Self::Cancelled, Self::TimedOut];

    /// Its name in addresses, and in style sheets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed-out",
        }
    }

    /// The reverse of [`State::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it stays so.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// One call on one worker, of a request that may have several.
#[derive(Debug, Clone)]
pub struct Hop {
    /// The worker type.
    pub worker_type: String,
    /// The function; `None` for a program's own paths.
    pub function: Option<String>,
    /// The worker, once there is one.
    pub worker: Option<String>,
    /// The job; `None` for a request to a route.
    pub job: Option<String>,
    /// How far it is.
    pub state: State,
    /// When it arrived.
    pub began_ms: u64,
    /// How long it waited for a worker, until now if it still does.
    pub waited: Duration,
    /// The part of that in which its worker started.
    pub starting: Duration,
    /// How long it ran, until now if it still does.
    pub ran: Duration,
    /// In billionths of a dollar.
    pub cost: u64,
    /// Why it has no result.
    pub error: Option<String>,
    /// The status of HTTP that a route answered with.
    pub answered: Option<u16>,
}

/// One request: all hops that have its ID.
#[derive(Debug, Clone)]
pub struct RequestRow {
    /// Its ID.
    pub id: String,
    /// Its first hop.
    pub first: Hop,
    /// How many hops it has.
    pub hops: usize,
    /// Of all hops, in billionths of a dollar.
    pub cost: u64,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Part of an ID of a request or job.
    pub id: String,
    /// Part of the name of a function.
    pub function: String,
    /// The state of its first hop.
    pub state: Option<State>,
}

/// The latest requests.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// What was asked for.
    pub filter: RequestFilter,
    /// Those of this page, the latest first.
    pub rows: Vec<RequestRow>,
    /// From 1.
    pub page: usize,
    /// How many are on the pages before this one.
    pub before: usize,
    /// Whether there are older ones that fit.
    pub has_more: bool,
    /// The functions of the app, for the search.
    pub functions: Vec<String>,
    /// A command that calls the app.
    pub example: Option<String>,
}

/// One request with everything that is known of it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its ID.
    pub id: String,
    /// In order of their beginning.
    pub hops: Vec<RequestHop>,
    /// In order.
    pub lines: Vec<LogLine>,
}

/// A hop with what can be done to it.
#[derive(Debug, Clone)]
pub struct RequestHop {
    /// What it is.
    pub hop: Hop,
    /// Whether inputs and outputs are hidden here.
    pub hides_values: bool,
    /// Its input as JSON, cut; `None` where it is not kept, or hidden.
    pub input: Option<Value>,
    /// Its output as JSON, cut; `None` where there is none, it is not kept, or it is hidden.
    pub output: Option<Value>,
    /// Whether it can be cancelled.
    pub can_cancel: bool,
    /// Whether it can run again with the same input.
    pub can_retry: bool,
    /// What to begin with when it runs again with another input; `None` for a hop that takes no jobs.
    pub run_again: Option<String>,
}

impl RequestHop {
    /// Whether there is nothing to show of what went in and came out, though nothing is hidden.
    pub(crate) fn keeps_nothing(&self) -> bool {
        !self.hides_values && self.input.is_none() && self.output.is_none()
    }
}

/// JSON text.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its beginning.
    pub text: String,
    /// All of its bytes.
    pub bytes: usize,
}

/// A line of the log.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// When.
    pub time_ms: u64,
    /// Whose worker printed it, or `platform`.
    pub worker_type: String,
    /// Which one.
    pub worker: Option<String>,
    /// For which request.
    pub request_id: Option<String>,
    /// How serious it is.
    pub level: Level,
    /// Whether Flash says it about a worker.
    pub is_of_platform: bool,
    /// What.
    pub text: String,
}

/// How serious a line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Level {
    /// A detail.
    Debug,
    /// A normal event.
    #[default]
    Info,
    /// Of stderr, or a warning.
    Warn,
    /// A failure.
    Error,
}

impl Level {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// The log.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    /// The filters, as written: a worker or worker type, a request, a level, a regular expression.
    pub worker: String,
    /// See [`Logs::worker`].
    pub request: String,
    /// See [`Logs::worker`].
    pub level: String,
    /// See [`Logs::worker`].
    pub search: String,
    /// Why the filters do not work.
    pub problem: Option<String>,
    /// The latest, in order.
    pub lines: Vec<LogLine>,
    /// Names of worker types, for the filter.
    pub worker_types: Vec<String>,
}

/// The workers of one type.
#[derive(Debug, Clone, Default)]
pub struct WorkersOfType {
    /// The type.
    pub name: String,
    /// Such as `CPU cpu3g-2-8`.
    pub compute: String,
    /// Those that live, the oldest first, then those that have ended, the latest first.
    pub workers: Vec<Worker>,
}

/// One worker.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its ID.
    pub id: String,
    /// The release that it belongs to.
    pub release: u64,
    /// What it does.
    pub state: WorkerState,
    /// When its start began.
    pub started_ms: u64,
    /// When it was ready for the first time.
    pub ready_ms: Option<u64>,
    /// When it ended, and how.
    pub ended: Option<(u64, String)>,
    /// What it has now.
    pub running: usize,
    /// What it says that it does while it starts.
    pub loading: Option<String>,
    /// What it takes of the machine; `None` where that is not known, as of a container.
    pub usage: Option<Usage>,
    /// The last lines of its stderr.
    pub last_lines: Vec<String>,
}

/// What the processes of a worker take of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// How many cores they kept busy, over the last seconds.
    pub cores: f64,
    /// Resident memory, with what they share.
    pub memory_bytes: u64,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// It has work.
    Busy,
    /// It is ready, without work.
    Idle,
    /// It is not ready yet.
    Starting,
    /// It is asked to end.
    Stopping,
    /// It has ended because it was asked to.
    Ended,
    /// It has ended by itself.
    Crashed,
}

/// Jobs without a result.
#[derive(Debug, Clone, Default)]
pub struct Failed {
    /// Jobs that killed their workers on each attempt.
    pub dead: Vec<FailedJob>,
    /// Jobs with an error, and those that timed out.
    pub failed: Vec<FailedJob>,
}

/// A job without a result.
#[derive(Debug, Clone)]
pub struct FailedJob {
    /// Its worker type.
    pub worker_type: String,
    /// Its ID.
    pub job: String,
    /// The request that it is of.
    pub request_id: Option<String>,
    /// Its function.
    pub function: Option<String>,
    /// When it ended.
    pub submitted_ms: u64,
    /// Attempts in all.
    pub attempts: u32,
    /// Why it has no result.
    pub error: String,
}

/// A scheduled function.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The function.
    pub function: String,
    /// Its worker type.
    pub worker_type: String,
    /// When, as in the code.
    pub when: String,
    /// Its next time.
    pub next_ms: Option<u64>,
    /// Whether its times pass without a run.
    pub is_paused: bool,
    /// Why it cannot run.
    pub problem: Option<String>,
    /// When its last run began, how it ended (`None` while that is not known), and the ID of its job.
    pub last: Option<LastRun>,
}

/// The last run of a schedule.
#[derive(Debug, Clone)]
pub struct LastRun {
    /// Its job.
    pub job: String,
    /// When it began.
    pub started_ms: u64,
    /// How far it is; `None` where that is not known any more.
    pub state: Option<State>,
}

/// Models and batches.
#[derive(Debug, Clone, Default)]
pub struct Models {
    /// By worker type and name.
    pub models: Vec<Model>,
    /// By worker type and function.
    pub batches: Vec<Batches>,
    /// Tokens per second over the last 15 minutes.
    pub curves: Vec<Chart>,
}

/// A model, since the platform started.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The worker type.
    pub worker_type: String,
    /// Its name.
    pub name: String,
    /// Answers that it generates now, and that wait.
    pub running: u32,
    /// See [`Model::running`].
    pub waiting: u32,
    /// Answers that ended.
    pub answers: u64,
    /// Tokens of prompts, and tokens that it generated.
    pub tokens: (u64, u64),
    /// Generated over the last minute, per second.
    pub per_second: f64,
    /// The mean time until the first token, and between two.
    pub first_token: Option<Duration>,
    /// See [`Model::first_token`].
    pub between_tokens: Option<Duration>,
}

/// The batches of a function, since the platform started. Sizes and times are means.
#[derive(Debug, Clone, Default)]
pub struct Batches {
    /// The worker type.
    pub worker_type: String,
    /// The function.
    pub function: String,
    /// Batches.
    pub batches: u64,
    /// Calls of a batch.
    pub size: f64,
    /// How long a call waits for its batch.
    pub wait: Duration,
    /// How long a batch runs.
    pub run: Duration,
}

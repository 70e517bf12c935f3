//! Scheduled functions of the live release: shown, run, paused.
use flash_platform::{Platform, ScheduleError, ScheduleOverview, ScheduleRun};
use flash_target::{EnvironmentId, Problem, ScheduledFunction, ScheduledRun, TargetError};
use flash_text::nearest;

use super::{
    host::Host,
    running::{RunState, Running},
};

/// All of them, in the order of the manifest.
pub(super) fn list(host: &Host, id: &EnvironmentId) -> Result<Vec<ScheduledFunction>, TargetError> {
    let running = host.find(id)?;
    Ok(platform(&running)?.schedules().into_iter().map(shown).collect())
}

/// Runs one now. Returns the ID of its job.
pub(super) async fn run(host: &Host, id: &EnvironmentId, function: &str) -> Result<String, TargetError> {
    let running = host.find(id)?;
    platform(&running)?.run_schedule(function).await.map_err(|error| problem(id, error))
}

/// Pauses or resumes one.
pub(super) fn pause(
    host: &Host,
    id: &EnvironmentId,
    function: &str,
    paused: bool,
) -> Result<(), TargetError> {
    let running = host.find(id)?;
    platform(&running)?.set_schedule_paused(function, paused).map_err(|error| problem(id, error))
}

fn platform(running: &Running) -> Result<Platform, TargetError> {
    match running.state() {
        RunState::Up { platform, .. } => Ok(platform),
        RunState::Down { reason } => {
            Err(TargetError::new(Problem::Failed, format!("{} is down: {reason}", running.stored.id)))
        }
    }
}

fn problem(id: &EnvironmentId, error: ScheduleError) -> TargetError {
    let message = error.to_string();
    match error {
        ScheduleError::NothingLive => TargetError::new(Problem::NothingLive, message)
            .hint(format!("deploy first: flash deploy send {}", id.name)),
        ScheduleError::Unknown { name, known } => {
            let near = nearest(&name, known.iter().map(String::as_str));
            let hint = match known.as_slice() {
                [] => "give a function one: #[remote(schedule = \"0 3 * * *\")]".to_owned(),
                known => format!("scheduled functions: {}", known.join(", ")),
            };
            TargetError::new(Problem::NotFound, format!("{message}{near}")).hint(hint)
        }
        ScheduleError::Refused { .. } => TargetError::of(Problem::Failed, error),
    }
}

fn shown(overview: ScheduleOverview) -> ScheduledFunction {
    let ScheduleOverview { function, worker, schedule, next_ms, is_paused, last, problem } = overview;
    ScheduledFunction {
        function,
        worker,
        schedule,
        next_ms: next_ms.map(since_1970),
        paused: is_paused,
        last: last.map(run_shown),
        problem,
    }
}

fn run_shown(run: ScheduleRun) -> ScheduledRun {
    let ScheduleRun { job, scheduled_ms, started_ms, ended, is_running } = run;
    ScheduledRun {
        job,
        scheduled_ms: scheduled_ms.map(since_1970),
        started_ms: since_1970(started_ms),
        running: is_running,
        ended,
    }
}

fn since_1970(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default()
}

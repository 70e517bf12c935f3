//! Runs the scheduled functions of the live release.
//!
//! No time runs twice: its job has a key that names the time, and the store gets the job before the record that the
//! time is dealt with. If the platform dies in between, the next one finds the job by its key.
use std::{collections::BTreeMap, sync::Arc};

use flash_logs::{LogLine, Sink};
use flash_protocol::{
    Schedule,
    wire::{RawJson, envelope::Envelope},
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    decide::{Decision, MAX_MISSED, Policy, decide},
    kept::{Cause, Kept, Progress, Run},
    overview::{ScheduleError, ScheduleOverview, ScheduleRun},
    timetable::Timetable,
};
use crate::{
    queue::{JobId, Origin, Queue, Store, StoredSchedule, Submission, SubmitError, Submitted},
    release::Release,
    releases::Releases,
};

/// The longest time between two checks: notices new releases, ends of runs and clocks that were set.
const PERIOD: SignedDuration = SignedDuration::from_secs(1);
/// A record further in the future than this was made with a wrong clock.
const WRONG_CLOCK: SignedDuration = SignedDuration::from_hours(24);

/// The schedules of a platform.
pub(crate) struct Schedules {
    releases: Arc<Releases>,
    store: Store,
    log: Sink,
    state: Mutex<State>,
    /// Somebody paused or resumed one.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Of all functions that had a schedule, also in other releases: one that comes back stays paused.
    kept: BTreeMap<String, Kept>,
    /// The release that `current` is of.
    release: Option<u64>,
    current: Vec<Scheduled>,
}

/// A scheduled function of the live release.
struct Scheduled {
    function: String,
    /// Without its type.
    name: String,
    worker: String,
    entry: Schedule,
    timetable: Result<Timetable, String>,
    /// Why the last time got no job.
    trouble: Option<String>,
}

impl Scheduled {
    fn policy(&self) -> Policy {
        Policy { missed: self.entry.missed, overlap: self.entry.overlap }
    }

    fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        self.timetable.as_ref().ok()?.next_after(time)
    }

    /// The key of the job for this time.
    fn key(&self, time: Timestamp) -> String {
        format!("schedule:{}:{time}", self.function)
    }
}

impl Schedules {
    /// With what an earlier platform stored.
    pub(crate) fn new(
        releases: Arc<Releases>,
        store: Store,
        log: Sink,
        stored: Vec<StoredSchedule>,
    ) -> Arc<Self> {
        let readable = |StoredSchedule { function, state }| match serde_json::from_str(&state) {
            Ok(kept) => Some((function, kept)),
            Err(error) => {
                let text = format!("the stored state of the schedule of `{function}` is damaged: {error}");
                log(LogLine::system("platform", None, text));
                None
            }
        };
        let kept = stored.into_iter().filter_map(readable).collect();
        let state = Mutex::new(State { kept, ..State::default() });
        Arc::new(Self { releases, store, log, state, changed: Notify::new() })
    }

    /// Submits what is due until the platform stops.
    pub(crate) async fn run(self: Arc<Self>, closing: CancellationToken) {
        loop {
            let now = Timestamp::now();
            let next = self.tick(now);
            let wait = next.duration_since(now).clamp(SignedDuration::ZERO, PERIOD).unsigned_abs();
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Submits what is due. Returns when to look again at the latest.
    pub(super) fn tick(&self, now: Timestamp) -> Timestamp {
        let latest = now + PERIOD;
        let Some(release) = self.releases.live() else { return latest };
        let mut state = self.state.lock();
        self.follow(&mut state, &release, now);
        let State { kept, current, .. } = &mut *state;
        let next = current.iter_mut().filter_map(|scheduled| {
            let kept = kept.get_mut(&scheduled.function)?;
            self.advance(&release, scheduled, kept, now);
            scheduled.next_after(now)
        });
        next.min().unwrap_or(latest).min(latest)
    }

    /// Takes over the schedules of a release that has become live.
    fn follow(&self, state: &mut State, release: &Release, now: Timestamp) {
        if state.release == Some(release.number) {
            return;
        }
        let is_first = state.release.replace(release.number).is_none();
        let scheduled = release.manifest.functions.iter().filter_map(|function| {
            let entry = function.settings.schedule.clone()?;
            let timetable = Timetable::parse(&entry.cron, &entry.timezone).map_err(|error| error.to_string());
            Some(Scheduled {
                function: function.call_name(),
                name: function.name.clone(),
                worker: function.worker.clone(),
                entry,
                timetable,
                trouble: None,
            })
        });
        state.current = scheduled.collect();
        for scheduled in &state.current {
            let old = state.kept.get(&scheduled.function);
            let goes_on = old.is_some_and(|kept| kept.is_of(&scheduled.entry));
            if !goes_on {
                let new = match old {
                    Some(old) => old.with(&scheduled.entry, now),
                    None => Kept::from_now(&scheduled.entry, now),
                };
                self.keep(&scheduled.function, &new);
                state.kept.insert(scheduled.function.clone(), new);
            }
            if is_first || !goes_on {
                let is_paused = state.kept.get(&scheduled.function).is_some_and(|kept| kept.is_paused);
                self.say(scheduled, announcement(scheduled, is_paused, now));
            }
        }
    }

    fn advance(&self, release: &Release, scheduled: &mut Scheduled, kept: &mut Kept, now: Timestamp) {
        let before = kept.clone();
        self.look_at_last(kept);
        if kept.handled_until() > now + WRONG_CLOCK {
            kept.handle_until(now);
        }
        if !kept.is_paused
            && let Ok(timetable) = &scheduled.timetable
        {
            let (policy, until) = (scheduled.policy(), kept.handled_until());
            let decision = decide(timetable, policy, until, kept.is_running(), now);
            match self.carry_out(release, scheduled, kept, &decision, now) {
                Ok(()) => scheduled.trouble = None,
                // Tried again at the next check.
                Err(reason) if scheduled.trouble.as_ref() != Some(&reason) => {
                    self.say(scheduled, format!("its job is not accepted: {reason}"));
                    scheduled.trouble = Some(reason);
                }
                Err(_) => {}
            }
        }
        if *kept != before {
            self.keep(&scheduled.function, kept);
        }
    }

    fn carry_out(
        &self,
        release: &Release,
        scheduled: &Scheduled,
        kept: &mut Kept,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(), String> {
        for time in &decision.fires {
            let job = submit_once(release, scheduled, *time)?;
            kept.handle_until(*time);
            let cause = Cause::Time(time.as_millisecond());
            kept.last = Some(started(scheduled, job, cause, now));
        }
        if let Some(until) = decision.handled_until {
            kept.handle_until(until);
        }
        if decision.missed > 0 {
            let bound = if decision.missed > MAX_MISSED { "at least " } else { "" };
            let times = if decision.missed == 1 { "time" } else { "times" };
            self.say(scheduled, format!("missed {bound}{} {times}: not made up for", decision.missed));
        }
        if decision.overlapping > 0 {
            let job = kept.last.as_ref().map(|run| format!(" (job {})", run.job)).unwrap_or_default();
            self.say(scheduled, format!("left out a run: the one before{job} has not ended"));
        }
        Ok(())
    }

    /// Notes the end of the last run.
    fn look_at_last(&self, kept: &mut Kept) {
        let Some(run) = kept.last.as_mut().filter(|run| run.progress == Progress::Open) else { return };
        let job = JobId::parse(&run.job);
        let queues = self.releases.live_and_past();
        let found = job.and_then(|job| {
            queues.iter().rev().find_map(|release| release.pool(&run.worker)?.queue()?.peek(job))
        });
        run.progress = match found {
            Some(job) if job.status.is_final() => Progress::Ended(job.status),
            Some(_) => Progress::Open,
            None => Progress::Gone,
        };
    }

    fn keep(&self, function: &str, kept: &Kept) {
        let state = serde_json::to_string(kept).expect("numbers and text always serialise");
        self.store.keep_schedule(StoredSchedule { function: function.to_owned(), state });
    }

    fn say(&self, scheduled: &Scheduled, text: String) {
        let text = format!("schedule of {}: {text}", scheduled.function);
        (self.log)(LogLine::system(&scheduled.worker, None, text));
    }

    /// All of the live release, in the order of the manifest.
    pub(crate) fn overview(&self, now: Timestamp) -> Vec<ScheduleOverview> {
        let Some(release) = self.releases.live() else { return Vec::new() };
        let mut state = self.state.lock();
        self.follow(&mut state, &release, now);
        let State { kept, current, .. } = &mut *state;
        let view = |scheduled: &Scheduled| {
            let kept = kept.get_mut(&scheduled.function)?;
            self.look_at_last(kept);
            let problem = scheduled.timetable.as_ref().err().or(scheduled.trouble.as_ref()).cloned();
            let next = scheduled.next_after(now).filter(|_| !kept.is_paused);
            Some(ScheduleOverview {
                function: scheduled.function.clone(),
                worker: scheduled.worker.clone(),
                schedule: scheduled.entry.clone(),
                next_ms: next.map(Timestamp::as_millisecond),
                is_paused: kept.is_paused,
                last: kept.last.as_ref().map(shown),
                problem,
            })
        };
        current.iter().filter_map(view).collect()
    }

    /// Runs a function now, whether or not it is paused or running. Returns the ID of its job.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub(crate) async fn run_now(&self, name: &str, now: Timestamp) -> Result<String, ScheduleError> {
        let release = self.releases.live().ok_or(ScheduleError::NothingLive)?;
        let (function, queue, submitted) = {
            let mut state = self.state.lock();
            self.follow(&mut state, &release, now);
            let State { kept, current, .. } = &mut *state;
            let scheduled = find(current, name)?;
            let function = scheduled.function.clone();
            let refused = |reason| ScheduleError::Refused { name: function.clone(), reason };
            let queue = queue_of(&release, scheduled).map_err(refused)?.clone();
            let submitted =
                queue.submit(submission(scheduled, None)).map_err(|error| refused(error.to_string()))?;
            if let Some(kept) = kept.get_mut(&function) {
                kept.last = Some(started(scheduled, submitted.id, Cause::Asked, now));
                self.keep(&function, kept);
            }
            (function, queue, submitted)
        };
        match queue.stored(&submitted).await {
            Ok(()) => Ok(submitted.id.to_string()),
            Err(error) => Err(ScheduleError::Refused { name: function, reason: error.to_string() }),
        }
    }

    /// Pauses or resumes a function. Times that pass while it is paused get no run.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub(crate) fn set_paused(&self, name: &str, paused: bool, now: Timestamp) -> Result<(), ScheduleError> {
        let release = self.releases.live().ok_or(ScheduleError::NothingLive)?;
        let mut state = self.state.lock();
        self.follow(&mut state, &release, now);
        let State { kept, current, .. } = &mut *state;
        let scheduled = find(current, name)?;
        if let Some(kept) = kept.get_mut(&scheduled.function)
            && kept.is_paused != paused
        {
            kept.is_paused = paused;
            kept.handle_until(now);
            self.keep(&scheduled.function, kept);
            self.say(scheduled, announcement(scheduled, paused, now));
        }
        self.changed.notify_one();
        Ok(())
    }
}

/// By the name that calls use, or by that of the method alone.
fn find<'a>(current: &'a [Scheduled], name: &str) -> Result<&'a Scheduled, ScheduleError> {
    let mut named = current.iter().filter(|scheduled| scheduled.function == name || scheduled.name == name);
    named.next().ok_or_else(|| ScheduleError::Unknown {
        name: name.to_owned(),
        known: current.iter().map(|scheduled| scheduled.function.clone()).collect(),
    })
}

fn announcement(scheduled: &Scheduled, is_paused: bool, now: Timestamp) -> String {
    match (&scheduled.timetable, scheduled.next_after(now)) {
        (Err(problem), _) => format!("it never runs: {problem}"),
        (Ok(_), None) => format!("it never runs: `{}` names no time", scheduled.entry.cron),
        (Ok(_), Some(_)) if is_paused => "paused".to_owned(),
        (Ok(_), Some(next)) => format!("next at {}", in_zone(next, &scheduled.entry.timezone)),
    }
}

fn in_zone(time: Timestamp, zone: &str) -> String {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    time.to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

fn started(scheduled: &Scheduled, job: JobId, cause: Cause, now: Timestamp) -> Run {
    Run {
        worker: scheduled.worker.clone(),
        job: job.to_string(),
        cause,
        started_ms: now.as_millisecond(),
        progress: Progress::Open,
    }
}

fn shown(run: &Run) -> ScheduleRun {
    ScheduleRun {
        job: run.job.clone(),
        scheduled_ms: match run.cause {
            Cause::Time(time) => Some(time),
            Cause::Asked => None,
        },
        started_ms: run.started_ms,
        ended: match run.progress {
            Progress::Ended(status) => Some(status),
            Progress::Open | Progress::Gone => None,
        },
        is_running: run.progress == Progress::Open,
    }
}

/// The queue that takes the jobs of a function.
fn queue_of<'a>(release: &'a Release, scheduled: &Scheduled) -> Result<&'a Arc<Queue>, String> {
    let queue = release.pool(&scheduled.worker).and_then(|pool| pool.queue());
    queue.ok_or_else(|| format!("worker type `{}` takes no jobs", scheduled.worker))
}

/// A job for a run.
fn submission(scheduled: &Scheduled, key: Option<String>) -> Submission {
    let envelope = Envelope { function: Some(scheduled.function.clone().into()), ..Envelope::default() };
    Submission { idempotency_key: key, ..Submission::new(Origin::Run, no_arguments(), envelope) }
}

/// Submits the job for a time; if the time has one already, returns that.
fn submit_once(release: &Release, scheduled: &Scheduled, time: Timestamp) -> Result<JobId, String> {
    match queue_of(release, scheduled)?.submit(submission(scheduled, Some(scheduled.key(time)))) {
        Ok(Submitted { id, .. }) | Err(SubmitError::KeyInUse(id)) => Ok(id),
        Err(error) => Err(error.to_string()),
    }
}

fn no_arguments() -> RawJson {
    serde_json::value::to_raw_value(&serde_json::Map::new()).expect("an empty object always serialises")
}

#[cfg(test)]
mod tests;

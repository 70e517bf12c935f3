//! A worker from the queue's view: slots, and a way to hand over jobs.
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::{
    Lifetime,
    catalogue::NanoDollars,
    wire::{
        Payload,
        envelope::Envelope,
        exchange::{JobFrame, StopFrame, ToWorker, Writer},
    },
};
use tokio::sync::oneshot;

use super::{id::JobId, limits::Limits, wait_queue::Occupancy};
use crate::{
    meter::{Account, ChargedTo, CostShare},
    traces,
};

/// A polling worker posts nothing for a stopped job: its next poll shows that it has released it. The official worker
/// checks once a second whether it needs work.
const UNTIL_NEXT_POLL: Duration = Duration::from_millis(1500);

/// A job for a worker.
#[derive(Debug)]
pub(crate) struct LeasedJob {
    pub id: JobId,
    pub attempt: u32,
    /// Its worker gets no other job at the same time.
    pub alone: bool,
    pub execution_timeout: Duration,
    pub envelope: Envelope,
    /// Only a worker reads the result, and it reads attachments.
    pub takes_attachments: bool,
    pub input: Payload,
    /// Where a polling worker should store large results, from the client.
    pub s3_config: Option<String>,
}

impl LeasedJob {
    /// Gives the worker the span of its attempt, if the job's trace is sampled.
    pub(super) fn begin_span(&mut self) {
        if let Some(parent) = self.envelope.traceparent.as_ref().filter(|parent| parent.is_sampled()) {
            self.envelope.traceparent =
                Some(traces::attempt_of(traces::key_of(&self.id), self.attempt, parent));
        }
    }
}

/// How jobs get to a worker.
pub(crate) enum DeliveryMode {
    /// Pushed over the exchange.
    Exchange(Writer<ToWorker>),
    /// The same, to a worker that says what its jobs weigh in their batch.
    WeighingExchange(Writer<ToWorker>),
    /// Fetched by long polls.
    Polling,
}

enum Channel {
    Exchange(Writer<ToWorker>),
    Polling { poll: Option<Poll>, stop_poll: Option<oneshot::Sender<Vec<JobId>>>, to_stop: Vec<JobId> },
}

struct Poll {
    wanted: usize,
    answer: oneshot::Sender<Vec<LeasedJob>>,
}

/// An attempt that occupies a slot.
struct Leased {
    job: JobId,
    attempt: u32,
    /// No other may join it.
    alone: bool,
    /// When it was asked to stop.
    stopping: Option<Instant>,
    /// The worker says what it weighs.
    weighed: bool,
    cost_share: CostShare,
}

pub(super) struct Consumer {
    channel: Channel,
    account: Account,
    lifetime: Lifetime,
    /// Functions whose jobs share the time of their batch by cost; none if the worker does not say what they weigh.
    weighed: Arc<BTreeSet<String>>,
    slots: usize,
    leased: Vec<Leased>,
    idle_since: Option<Instant>,
    draining: bool,
}

impl Consumer {
    pub(super) fn new(mode: DeliveryMode, slots: u32, account: Account, limits: &Limits) -> Self {
        let weighed = match &mode {
            DeliveryMode::WeighingExchange(_) => limits.weighed.clone(),
            DeliveryMode::Exchange(_) | DeliveryMode::Polling => Arc::default(),
        };
        let channel = match mode {
            DeliveryMode::Exchange(frames) | DeliveryMode::WeighingExchange(frames) => {
                Channel::Exchange(frames)
            }
            DeliveryMode::Polling => Channel::Polling { poll: None, stop_poll: None, to_stop: Vec::new() },
        };
        Self {
            channel,
            account,
            lifetime: limits.lifetime,
            weighed,
            slots: slots.max(1) as usize,
            leased: Vec::new(),
            idle_since: Some(Instant::now()),
            draining: false,
        }
    }

    pub(super) fn drain(&mut self) {
        self.draining = true;
        // A pending poll is answered with nothing, so that the worker can leave at once.
        if let Channel::Polling { poll, stop_poll, .. } = &mut self.channel {
            poll.take();
            stop_poll.take();
        }
    }

    /// Whether it will have further jobs.
    pub(super) fn takes_jobs(&self) -> bool {
        !self.draining
    }

    /// How many jobs it may have at the same time.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn has_free_slot(&self) -> bool {
        let open = match &self.channel {
            Channel::Exchange(_) => true,
            Channel::Polling { poll, .. } => poll.as_ref().is_some_and(|poll| !poll.answer.is_closed()),
        };
        let shares = !self.leased.iter().any(|leased| leased.alone);
        open && shares && !self.draining && self.leased.len() < self.slots
    }

    /// Whether it may have a job that must be alone.
    pub(super) fn occupancy(&self) -> Occupancy {
        if self.leased.is_empty() { Occupancy::Empty } else { Occupancy::Shared }
    }

    /// How many jobs it can have at this moment.
    pub(super) fn wanted(&self) -> usize {
        let free = match self.lifetime {
            Lifetime::ManyJobs => self.slots.saturating_sub(self.leased.len()),
            Lifetime::OneJob => 1,
        };
        match &self.channel {
            Channel::Exchange(_) => free,
            Channel::Polling { poll, .. } => poll.as_ref().map_or(0, |poll| poll.wanted.min(free)),
        }
    }

    /// The jobs that a poll for this many jobs shows as released.
    #[must_use]
    pub(super) fn freed_by_poll(&mut self, wanted: u32) -> Vec<(JobId, CostShare)> {
        if !matches!(self.channel, Channel::Polling { .. }) {
            return Vec::new();
        }
        // A worker that asks for more jobs than it has free slots has released the jobs that it was asked to stop.
        let asked = self.leased.len() + wanted.max(1) as usize;
        self.release_stopped(asked.saturating_sub(self.slots))
    }

    /// Registers a poll for jobs; `false` for a worker that gets none any more.
    pub(super) fn poll(&mut self, wanted: u32, answer: oneshot::Sender<Vec<LeasedJob>>) -> bool {
        match &mut self.channel {
            Channel::Polling { poll, .. } if !self.draining => {
                *poll = Some(Poll { wanted: wanted.max(1) as usize, answer });
                // The concurrency of other programs is what they ask for.
                self.slots = self.slots.max(self.leased.len() + wanted.max(1) as usize);
                true
            }
            _ => false,
        }
    }

    pub(super) fn poll_stops(&mut self, answer: oneshot::Sender<Vec<JobId>>) {
        if let Channel::Polling { stop_poll, to_stop, .. } = &mut self.channel {
            if to_stop.is_empty() {
                *stop_poll = Some(answer);
            } else {
                // Fails if the poller has disconnected; it will ask again.
                let _ = answer.send(std::mem::take(to_stop));
            }
        }
    }

    /// Hands jobs over; returns them if the worker is gone.
    pub(super) fn give(&mut self, jobs: Vec<LeasedJob>) -> Result<(), Vec<LeasedJob>> {
        let weighed = self.weighed.clone();
        let is_weighed = |job: &LeasedJob| {
            !weighed.is_empty() && job.envelope.function.as_deref().is_some_and(|own| weighed.contains(own))
        };
        let given: Vec<(JobId, u32, bool, bool)> =
            jobs.iter().map(|job| (job.id, job.attempt, job.alone, is_weighed(job))).collect();
        match &mut self.channel {
            Channel::Exchange(frames) => {
                if frames.is_closed() {
                    return Err(jobs);
                }
                for job in jobs {
                    // A connection that closes in this moment detaches the worker, which re-queues the job.
                    let weighed = is_weighed(&job);
                    frames.send(ToWorker::Job(frame_of(job, weighed)));
                }
            }
            Channel::Polling { poll, .. } => match poll.take() {
                Some(poll) => poll.answer.send(jobs)?,
                None => return Err(jobs),
            },
        }
        let account = &self.account;
        let lease = |(job, attempt, alone, weighed)| Leased {
            job,
            attempt,
            alone,
            stopping: None,
            weighed,
            cost_share: if weighed { account.begin_waiting() } else { account.begin() },
        };
        self.leased.extend(given.into_iter().map(lease));
        self.idle_since = None;
        if self.lifetime == Lifetime::OneJob {
            // Here and not when the job ends, because the next job is dispatched at that moment.
            self.draining = true;
        }
        Ok(())
    }

    /// A batch of these jobs begins, each an attempt with its cost. Those that the worker no longer has, or that are not
    /// weighed, are left out.
    pub(super) fn weigh(&mut self, batch: &HashMap<(JobId, u32), u64>) {
        let weighed = self.leased.iter_mut().filter(|leased| leased.weighed);
        let mut found: Vec<(&mut CostShare, u64)> = weighed
            .filter_map(|leased| {
                let cost = batch.get(&(leased.job, leased.attempt))?;
                Some((&mut leased.cost_share, *cost))
            })
            .collect();
        self.account.weigh(&mut found);
    }

    /// Asks the worker to stop an attempt. Returns its cost so far; the rest follows when the worker releases it.
    pub(super) fn stop(&mut self, job: JobId, attempt: u32, charged_to: &ChargedTo<'_>) -> NanoDollars {
        let mut share = NanoDollars(0);
        let running = self.leased.iter_mut().find(|leased| leased.job == job && leased.attempt == attempt);
        if let Some(running) = running {
            running.stopping.get_or_insert_with(Instant::now);
            share = running.cost_share.charge(charged_to);
        }
        match &mut self.channel {
            Channel::Exchange(frames) => {
                frames.send(ToWorker::Stop(StopFrame { id: job.to_string(), attempt }));
            }
            Channel::Polling { stop_poll, to_stop, .. } => {
                to_stop.push(job);
                if let Some(answer) = stop_poll.take()
                    && let Err(unsent) = answer.send(std::mem::take(to_stop))
                {
                    *to_stop = unsent;
                }
            }
        }
        share
    }

    /// The worker is done with an attempt, or with all of the job if it does not say which. Returns its cost; `None`
    /// if the worker did not have it.
    pub(super) fn release(
        &mut self,
        job: JobId,
        attempt: Option<u32>,
        charged_to: Option<&ChargedTo<'_>>,
    ) -> Option<NanoDollars> {
        let mut share = None;
        self.leased.retain_mut(|leased| {
            if leased.job != job || attempt.is_some_and(|attempt| leased.attempt != attempt) {
                return true;
            }
            let sum: &mut NanoDollars = share.get_or_insert_default();
            sum.0 = sum.0.saturating_add(leased.cost_share.end(charged_to).0);
            false
        });
        if self.leased.is_empty() && share.is_some() {
            self.idle_since = Some(Instant::now());
        }
        share
    }

    /// The uncharged cost of a running attempt.
    pub(super) fn so_far(&self, job: JobId, attempt: u32) -> Option<NanoDollars> {
        let leased = self.leased.iter().find(|leased| leased.job == job && leased.attempt == attempt)?;
        Some(leased.cost_share.so_far().amount)
    }

    /// How long it has held a stopped job, if longer than the grace time.
    pub(super) fn stuck_for(&mut self, now: Instant, grace: Duration) -> Option<Duration> {
        let stopping = self.leased.iter().filter_map(|leased| leased.stopping).min()?;
        let stopping_for = Some(now.saturating_duration_since(stopping)).filter(|time| *time > grace)?;
        match &mut self.channel {
            Channel::Polling { poll, .. } if stopping_for <= grace + UNTIL_NEXT_POLL => {
                // Answers with no job, so that it polls again, which shows what it still runs.
                poll.take();
                None
            }
            _ => Some(stopping_for),
        }
    }

    /// It has released this many of the jobs that it was asked to stop, the earliest first.
    #[must_use]
    pub(super) fn release_stopped(&mut self, count: usize) -> Vec<(JobId, CostShare)> {
        let mut stopping: Vec<Instant> = self.leased.iter().filter_map(|leased| leased.stopping).collect();
        if stopping.is_empty() {
            return Vec::new();
        }
        stopping.sort_unstable();
        let until = stopping.get(count).copied();
        let is_released = |leased: &mut Leased| match (leased.stopping, until) {
            (None, _) => false,
            (Some(since), Some(until)) => since < until,
            (Some(_), None) => true,
        };
        let freed =
            self.leased.extract_if(.., is_released).map(|leased| (leased.job, leased.cost_share)).collect();
        if self.leased.is_empty() {
            self.idle_since = Some(Instant::now());
        }
        freed
    }

    /// Whether it was asked to stop an attempt that it still holds.
    pub(super) fn is_stopping(&self) -> bool {
        self.leased.iter().any(|leased| leased.stopping.is_some())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.leased.is_empty()
    }

    pub(super) fn busy(&self) -> usize {
        self.leased.len()
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    pub(super) fn leased(&self) -> impl Iterator<Item = JobId> {
        self.leased.iter().map(|leased| leased.job)
    }

    pub(super) fn only_leased(&self) -> Option<JobId> {
        match self.leased.as_slice() {
            [only] => Some(only.job),
            _ => None,
        }
    }

    pub(super) fn into_leased(self) -> Vec<(JobId, CostShare)> {
        self.leased.into_iter().map(|leased| (leased.job, leased.cost_share)).collect()
    }
}

fn frame_of(job: LeasedJob, weighed: bool) -> JobFrame {
    let LeasedJob {
        id,
        attempt,
        alone: _,
        execution_timeout,
        envelope,
        takes_attachments,
        input,
        s3_config: _,
    } = job;
    JobFrame {
        id: id.to_string(),
        attempt,
        timeout_ms: u64::try_from(execution_timeout.as_millis()).unwrap_or(u64::MAX),
        envelope,
        takes_attachments,
        weighed,
        input,
    }
}

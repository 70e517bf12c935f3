//! What the cloud has: endpoints with their workers and jobs, templates, lines of logs.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value, json};

use super::{
    faults::{Call, Faults},
    logs::Lines,
    workers::Running,
};

#[derive(Default)]
pub struct State {
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Their workers are still to be ended, which takes a while.
    pub deleted: Vec<Endpoint>,
    pub templates: BTreeMap<String, Map<String, Value>>,
    /// By worker; they stay when it is gone.
    pub lines: BTreeMap<String, Lines>,
    /// What `{{ RUNPOD_SECRET_NAME }}` stands for.
    pub secrets: BTreeMap<String, String>,
    /// Ids of network volumes, with their data centres.
    pub volumes: BTreeMap<String, String>,
    /// Ids of registry credentials.
    pub registries: BTreeSet<String>,
    /// Records of `/v2/billing/serverless`.
    pub billing: Vec<Value>,
    /// Parts of references of images that never become ready.
    pub broken_images: Vec<String>,
    pub faults: Faults,
    pub calls: Vec<Call>,
    pub violations: Vec<String>,
    next: u64,
}

impl State {
    /// An id that nothing else has.
    pub fn id(&mut self, of: &str) -> String {
        self.next += 1;
        format!("{of}{:06}", self.next)
    }
}

pub struct Endpoint {
    /// As REST shows it, `requestUrls` apart.
    pub shown: Map<String, Value>,
    pub version: u64,
    /// Newest last.
    pub releases: Vec<Value>,
    pub workers: Vec<Worker>,
    pub jobs: BTreeMap<String, Job>,
    pub queue: VecDeque<String>,
    /// Requests to a load-balanced endpoint that were not answered yet.
    pub requests: usize,
    pub ended: Counts,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub completed: u64,
    pub failed: u64,
    pub retried: u64,
}

impl Endpoint {
    pub fn new(shown: Map<String, Value>) -> Self {
        Self {
            shown,
            version: 1,
            releases: Vec::new(),
            workers: Vec::new(),
            jobs: BTreeMap::new(),
            queue: VecDeque::new(),
            requests: 0,
            ended: Counts::default(),
        }
    }

    pub fn is_queue(&self) -> bool {
        self.shown["type"] == "QUEUE"
    }

    pub fn env(&self) -> BTreeMap<String, String> {
        let env = self.shown["env"].as_object();
        let entries = env.into_iter().flatten();
        entries.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
    }

    fn limit(&self, name: &str) -> Option<u64> {
        self.shown["workers"][name].as_u64()
    }

    pub fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.limit("idleTimeout").unwrap_or(10))
    }

    /// How many workers there should be for what is to be done.
    pub fn wanted(&self) -> usize {
        let demand = match self.is_queue() {
            true => self.queue.len() + self.workers.iter().map(|worker| worker.jobs.len()).sum::<usize>(),
            false => self.requests,
        };
        let each = self.shown["scaling"]["requestCount"].as_u64().unwrap_or(1).max(1);
        let demand = (demand as u64).div_ceil(each);
        let (min, max) = (self.limit("min").unwrap_or(0), self.limit("max").unwrap_or(3));
        usize::try_from(demand.max(min).min(max)).unwrap()
    }

    pub fn most(&self) -> usize {
        usize::try_from(self.limit("max").unwrap_or(3)).unwrap()
    }

    pub fn worker(&mut self, id: &str) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.id == id)
    }

    /// Of `GET …/workers`.
    pub fn summary(&self) -> Value {
        let count = |status: &str| self.workers.iter().filter(|worker| worker.status() == status).count();
        json!({
            "running": count("RUNNING"),
            "idle": count("IDLE"),
            "initializing": count("INITIALIZING"),
            "throttled": count("THROTTLED"),
            "unhealthy": count("UNHEALTHY"),
            "total": self.workers.len(),
        })
    }

    /// Of the queue host's `health`.
    pub fn health(&self) -> Value {
        let summary = self.summary();
        let in_progress = self.jobs.values().filter(|job| job.status == "IN_PROGRESS").count();
        json!({
            "jobs": {
                "completed": self.ended.completed,
                "failed": self.ended.failed,
                "inProgress": in_progress,
                "inQueue": self.queue.len(),
                "retried": self.ended.retried,
            },
            "workers": {
                "idle": summary["idle"],
                "initializing": summary["initializing"],
                "ready": summary["idle"].as_u64().unwrap() + summary["running"].as_u64().unwrap(),
                "running": summary["running"],
                "throttled": summary["throttled"],
                "unhealthy": summary["unhealthy"],
            },
        })
    }
}

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Initializing,
    Ready,
    Unhealthy { since: Instant },
}

pub struct Worker {
    pub id: String,
    pub version: u64,
    pub image: String,
    pub started: SystemTime,
    pub stage: Stage,
    pub jobs: BTreeSet<String>,
    /// That it answers at the moment.
    pub requests: usize,
    pub idle_since: Instant,
    /// Nothing, where workers are only played.
    pub running: Option<Box<dyn Running>>,
    /// Of its server, if it is load-balanced.
    pub port: Option<u16>,
    /// What it says in `Authorization`, as it is.
    pub key: String,
    /// How often somebody looked while it was not ready.
    pub looks: u32,
    /// Jobs that it should stop.
    pub to_stop: Vec<String>,
    /// It takes nothing any more.
    pub is_leaving: bool,
}

impl Worker {
    pub fn status(&self) -> &'static str {
        match self.stage {
            Stage::Initializing => "INITIALIZING",
            Stage::Unhealthy { .. } => "UNHEALTHY",
            Stage::Ready if self.jobs.is_empty() && self.requests == 0 => "IDLE",
            Stage::Ready => "RUNNING",
        }
    }

    pub fn is_busy(&self) -> bool {
        !self.jobs.is_empty() || self.requests > 0
    }

    pub fn shown(&self, latest: u64) -> Value {
        json!({
            "id": self.id,
            "status": self.status(),
            "isStale": self.version < latest,
            "version": self.version,
            "gpuCount": 0,
            "image": self.image,
            "uptimeSeconds": self.started.elapsed().map_or(0, |elapsed| elapsed.as_secs()),
            "gpuTypeId": null,
            "dataCenterId": "EU-RO-1",
            "startedAt": timestamp(self.started),
        })
    }
}

/// A job, as its submitter and its worker know it.
pub struct Job {
    pub status: &'static str,
    /// What a worker is given, its id apart.
    pub body: Map<String, Value>,
    pub output: Option<Value>,
    pub error: Option<Value>,
    /// Chunks that nobody has read yet.
    pub stream: Vec<Value>,
    pub worker: Option<String>,
    pub submitted: Instant,
    pub picked: Option<Instant>,
    pub ended: Option<Instant>,
    pub retries: u32,
}

impl Job {
    pub fn new(body: Map<String, Value>) -> Self {
        Self {
            status: "IN_QUEUE",
            body,
            output: None,
            error: None,
            stream: Vec::new(),
            worker: None,
            submitted: Instant::now(),
            picked: None,
            ended: None,
            retries: 0,
        }
    }

    pub fn is_final(&self) -> bool {
        !matches!(self.status, "IN_QUEUE" | "IN_PROGRESS")
    }

    pub fn shown(&self, id: &str) -> Value {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap();
        let mut shown = fields(json!({ "id": id, "status": self.status }));
        if let Some(picked) = self.picked {
            shown.insert("delayTime".to_owned(), milliseconds(picked - self.submitted).into());
            shown.insert("workerId".to_owned(), json!(self.worker));
            if let Some(ended) = self.ended {
                shown.insert("executionTime".to_owned(), milliseconds(ended - picked).into());
            }
        }
        if self.retries > 0 {
            shown.insert("retries".to_owned(), self.retries.into());
        }
        for (name, value) in [("output", &self.output), ("error", &self.error)] {
            if let Some(value) = value {
                shown.insert(name.to_owned(), value.clone());
            }
        }
        shown.into()
    }
}

pub fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("not an object: {other}"),
    }
}

/// RFC 3339.
pub fn timestamp(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap().to_string()
}

//! The exchange: one connection between a Flash worker and the Flash platform, instead of polling.
//!
//! Runpod and its workers do not use it. A worker with the exchange's URL in its environment variables sends `GET`
//! with `Upgrade: flash-exchange`. After `101`, both sides send frames: the length in four bytes, big endian, then
//! that many bytes of JSON. The platform pushes jobs; results and calls to other functions come back on the same
//! connection, so a hop costs one write and one read on each side. When the connection ends, so do the worker's
//! leases.
//!
//! A frame whose [`Payload`] has attachments is longer: the highest bit of the length is set, and after the length
//! follow the length of a head and the head (JSON: the mark of references, the length of each attachment), the length
//! of the frame's JSON and the JSON, and the attachments. Both sides say in [`ATTACHMENTS_HEADER`] that they read such
//! frames; for another, attachments are base64 within the JSON.
//!
//! Frames of which there are many have a short form without JSON around their payload: the second highest bit of the
//! length is set. Both sides say in the same header that they read it. Only then does the platform send requests to
//! routes as frames.
mod connection;
mod fields;
mod short;

use std::{collections::BTreeMap, fmt, net::IpAddr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    app_metrics::AppSeries,
    batch::BatchRun,
    generation::{GenerationsByModel, ModelLoad},
};

use super::{
    Payload,
    envelope::Envelope,
    job::{JobObject, Policy},
};
pub use connection::{
    Decoding, EndedBy, FrameFormat, Queued, Reader, Writer, queue, read, serve, serve_decoding,
};
pub use fields::Fields;
pub use short::Frame;

/// The protocol name in the `Upgrade` header.
pub const PROTOCOL: &str = "flash-exchange";

/// A longer frame is refused and ends the connection: a 20 MB result with room for its head.
pub const MAX_FRAME_BYTES: usize = 32 * 1024 * 1024;

/// A larger result or argument fails its job or call: the provider's payload limit.
pub const MAX_RESULT_BYTES: usize = 20_000_000;

/// In the request and in the answer `101`: this side reads frames with attachments. With the value [`READS_SHORT`], also
/// those in their short form.
pub const ATTACHMENTS_HEADER: &str = "x-flash-attachments";

/// See [`ATTACHMENTS_HEADER`].
pub const READS_SHORT: &str = "2";

/// A longer body is not sent in a frame, so that those behind it do not wait: the request, or the answer, goes over HTTP.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Tells a worker the slot of the request that it serves.
pub const SLOT_HEADER: &str = "x-flash-slot";

/// In the answer `101`: the value is a key, which each request over HTTP to the worker's port has in
/// [`WORKER_KEY_HEADER`], so the worker refuses those without it. It is for nothing else.
pub const SENDS_KEY_HEADER: &str = "x-flash-sends-key";

/// See [`SENDS_KEY_HEADER`].
pub const WORKER_KEY_HEADER: &str = "x-flash-worker-key";

/// In an answer: a thread of the request still runs, so its slot is not free after the last byte.
pub const HELD_HEADER: &str = "x-flash-held";

/// In the answer `101`: the platform takes [`ToPlatform::Generated`], [`ToPlatform::Models`] and
/// [`ToPlatform::Loading`]. With the value [`TAKES_METRICS`], also [`ToPlatform::Measured`].
pub const REPORTS_HEADER: &str = "x-flash-reports";

/// See [`REPORTS_HEADER`].
pub const TAKES_METRICS: &str = "2";

/// In an answer: models worked for the request, and [`ToPlatform::Generated`] says what they did.
pub const GENERATED_HEADER: &str = "x-flash-generated";

/// Platform to worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Run this job.
    Job(JobFrame),
    /// Stop this attempt, which was cancelled or ran too long. Its end must still be reported, to free the slot.
    Stop(StopFrame),
    /// No more jobs will come; finish and exit. It means the same as SIGTERM, which the Flash platform sends instead.
    Drain,
    /// The end of a call that this worker made.
    Reply(ReplyFrame),
    /// Nobody waits for the request in this slot any more. Report when nothing of it runs.
    Release(u64),
    /// A chunk of a call that this worker made with a window.
    CallChunk(CallChunkFrame),
    /// A request to a route. Only in its short form. [`ToWorker::Release`] cancels it.
    #[serde(skip)]
    Request(RequestFrame),
}

/// Worker to platform.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToPlatform {
    /// The worker is initialised and ready for jobs or, if it is load-balanced, for requests.
    Ready(ReadyFrame),
    /// A job ended.
    Done(DoneFrame),
    /// One chunk of a streaming job.
    Chunk(OutputFrame),
    /// Progress of a job.
    Progress(OutputFrame),
    /// A call to a function of another worker type.
    Call(CallFrame),
    /// The caller no longer waits for this call.
    Abandon(u64),
    /// Nothing of the request in this slot runs any more.
    Released(u64),
    /// Chunks of a call were read, so that the platform may send more.
    ChunksRead(ChunksReadFrame),
    /// A check of the worker found that it is not healthy: it wants to be replaced.
    Unhealthy(UnhealthyFrame),
    /// A batch begins. Only of jobs that came with [`JobFrame::weighed`].
    Batch(BatchFrame),
    /// What models did for a request that ended. Only if the platform takes it: [`REPORTS_HEADER`].
    Generated(GeneratedFrame),
    /// What the worker's models have to do now, all of them. Only if the platform takes it: [`REPORTS_HEADER`].
    Models(BTreeMap<String, ModelLoad>),
    /// What the worker is doing while it gets ready, in words. Only if the platform takes it: [`REPORTS_HEADER`].
    Loading(String),
    /// What has changed of the app's own metrics. Only if the platform takes it: [`TAKES_METRICS`].
    Measured(Vec<AppSeries>),
    /// The answer to a request. Only in its short form.
    #[serde(skip)]
    Answer(AnswerFrame),
    /// The answer to a request is to be fetched over HTTP.
    Parked(ParkedFrame),
    /// The worker is ending and has not begun with the request in this slot.
    NotTaken(u64),
}

/// More header fields than this are not sent in a frame. HTTP libraries refuse more, too.
pub const MAX_FIELDS: usize = 100;

/// A request to a route.
#[derive(PartialEq, Eq)]
pub struct RequestFrame {
    /// The slot that it has on the worker until its answer has ended.
    pub slot: u64,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Its headers.
    pub headers: Fields,
    /// Its body, at most [`MAX_BODY_BYTES`].
    pub body: Bytes,
}

impl fmt::Debug for RequestFrame {
    /// Without what may be secret: the query, values of headers and the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next();
        f.debug_struct("RequestFrame")
            .field("slot", &self.slot)
            .field("method", &self.method)
            .field("path", &path.unwrap_or_default())
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// The answer to a request.
#[derive(PartialEq, Eq)]
pub struct AnswerFrame {
    /// The slot of the request.
    pub slot: u64,
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Fields,
    /// Its body, at most [`MAX_BODY_BYTES`].
    pub body: Bytes,
}

impl fmt::Debug for AnswerFrame {
    /// As that of a request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerFrame")
            .field("slot", &self.slot)
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// An answer that is too long for a frame, or without a length.
#[derive(Debug, Serialize, Deserialize)]
pub struct ParkedFrame {
    /// The slot of the request.
    pub slot: u64,
    /// `GET` of this path on the worker's port is answered by it, once.
    pub path: String,
}

/// A job for a worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobFrame {
    /// The job's id.
    pub id: String,
    /// The attempt, from 1. Results contain it, so that a late result of a lost attempt can be refused.
    pub attempt: u32,
    /// Maximum milliseconds to run.
    pub timeout_ms: u64,
    /// What the call inherits.
    pub envelope: Envelope,
    /// Whether the result and the chunks may have attachments, because only another worker reads them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_attachments: bool,
    /// Whether the worker should say what the job weighs in its batch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub weighed: bool,
    /// The function's input.
    pub input: Payload,
}

/// Jobs that run together from now on, and share the cost of that time.
#[derive(Debug, Serialize, Deserialize)]
pub struct BatchFrame {
    /// Those that are still there.
    pub jobs: Vec<BatchedJob>,
}

/// A job in a batch.
#[derive(Debug, Serialize, Deserialize)]
pub struct BatchedJob {
    /// The job's id.
    pub id: String,
    /// The attempt that runs.
    pub attempt: u32,
    /// What it weighs among the others, from 1. All of them 0: they wait again, because their batch failed.
    pub cost: u64,
}

/// The attempt to stop.
#[derive(Debug, Serialize, Deserialize)]
pub struct StopFrame {
    /// The job's id.
    pub id: String,
    /// The attempt.
    pub attempt: u32,
}

/// A worker is ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReadyFrame {
    /// Jobs or requests that it runs at once.
    pub max_concurrency: u32,
    /// The port of a load-balanced worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_port: Option<u16>,
    /// The address of that port, if it is not the loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_host: Option<IpAddr>,
    /// Whether it answers [`ToWorker::Release`]; workers of earlier versions do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub releases_slots: bool,
    /// Whether it sends [`ToPlatform::Batch`]; workers of earlier versions do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub weighs_batches: bool,
}

/// A worker is not healthy.
#[derive(Debug, Serialize, Deserialize)]
pub struct UnhealthyFrame {
    /// What its check found, for the log.
    pub reason: String,
}

/// What models did for a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct GeneratedFrame {
    /// Its slot.
    pub slot: u64,
    /// By model.
    pub models: GenerationsByModel,
}

/// The end of a job.
#[derive(Debug, Serialize, Deserialize)]
pub struct DoneFrame {
    /// The job's id.
    pub id: String,
    /// The attempt that ended.
    pub attempt: u32,
    /// The result, unless it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Payload>,
    /// The error text, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Microseconds that it ran.
    pub ran_us: u64,
    /// If it ran in a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRun>,
    /// What models did for it.
    #[serde(default, skip_serializing_if = "GenerationsByModel::is_empty")]
    pub generated: GenerationsByModel,
}

/// A chunk or progress of a running job.
#[derive(Debug, Serialize, Deserialize)]
pub struct OutputFrame {
    /// The job's id.
    pub id: String,
    /// The attempt that runs.
    pub attempt: u32,
    /// The chunk or progress. Only chunks have attachments, and only with [`JobFrame::takes_attachments`].
    pub output: Payload,
}

/// A call to a function on another worker type.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallFrame {
    /// A number chosen by the worker; the reply contains it.
    pub call: u64,
    /// The worker type to call.
    pub worker: String,
    /// What the call inherits.
    pub envelope: Envelope,
    /// The function's input.
    pub input: Payload,
    /// Limits of its job. A platform of an earlier version ignores them.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
    /// Send the chunks as they come, and not more than this before some are read. A platform of an earlier version
    /// ignores it: then the reply has the list of all chunks as output. Otherwise it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Whether chunks may have attachments. Workers of earlier versions do not say so, and read only JSON.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attached_chunks: bool,
}

/// A chunk of a call, in the order in which they were made.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallChunkFrame {
    /// The number of the call.
    pub call: u64,
    /// The chunk.
    pub chunk: Payload,
}

/// The reader of a call has read chunks.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChunksReadFrame {
    /// The number of the call.
    pub call: u64,
    /// The sum of their [`window_share`]s.
    pub share: u32,
}

/// How much of a window a chunk takes: its bytes, but at most half of the window, so that each chunk fits. A reader
/// reports what it has read once it is half a window.
pub fn window_share(chunk: &Payload, window: u32) -> u32 {
    u32::try_from(chunk.weight()).unwrap_or(u32::MAX).min(window / 2)
}

/// The end of a call.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReplyFrame {
    /// The number of the call.
    pub call: u64,
    /// The job in its final state, or the refusal.
    pub result: ReplyResult,
    /// The job's result if it has attachments. Then the job object has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<Payload>,
}

/// How a call ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyResult {
    /// The job ended, with or without an error.
    Job(JobObject),
    /// No job was created.
    Refused(crate::error::WireError),
}

//! The short form of frames of which there are many: their fields in a fixed order, and the payload as it is, up to the
//! end of the frame. Texts have their length before them, in four bytes, numbers eight bytes, all big endian.
//!
//! A frame that has more than the common fields is JSON, as all frames are for a side that does not read this form. The
//! form has no room for new fields: another one gets another value of [`super::ATTACHMENTS_HEADER`].
use std::io;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    AnswerFrame, CallFrame, DoneFrame, Fields, JobFrame, MAX_BODY_BYTES, MAX_FIELDS, ReplyFrame, ReplyResult,
    RequestFrame, ToPlatform, ToWorker,
};
use crate::{
    GenerationsByModel,
    wire::{
        Payload,
        envelope::Envelope,
        identity::{FunctionName, RequestId, TraceParent},
        job::{JobObject, JobStatus, Policy},
    },
};

/// A frame of one direction.
pub trait Frame: Serialize + DeserializeOwned {
    /// Appends the short form. `false`, with nothing appended, for a frame that has none.
    fn append_short(&self, to: &mut Vec<u8>) -> bool;

    /// Reads the short form.
    ///
    /// # Errors
    /// If the bytes are not one.
    fn read_short(bytes: &[u8]) -> io::Result<Self>;
}

const JOB: u8 = 1;
const REPLY: u8 = 2;
const REQUEST: u8 = 3;

const CALL: u8 = 1;
const DONE: u8 = 2;
const ANSWER: u8 = 3;

impl Frame for ToWorker {
    fn append_short(&self, to: &mut Vec<u8>) -> bool {
        match self {
            Self::Job(JobFrame { id, attempt, timeout_ms, envelope, takes_attachments, weighed, input })
                if !input.has_attachments() =>
            {
                let mut head = Head::begin(to, JOB);
                head.text(id);
                head.number(u64::from(*attempt));
                head.number(*timeout_ms);
                head.flag(*takes_attachments);
                head.flag(*weighed);
                head.envelope(envelope);
                head.rest(input.text().get().as_bytes());
                true
            }
            Self::Reply(ReplyFrame { call, result: ReplyResult::Job(job), attached: None }) => {
                append_result(to, *call, job)
            }
            Self::Request(RequestFrame { slot, method, target, headers, body }) => {
                let mut head = Head::begin(to, REQUEST);
                head.number(*slot);
                head.text(method);
                head.text(target);
                head.fields(headers);
                head.rest(body);
                true
            }
            _ => false,
        }
    }

    fn read_short(bytes: &[u8]) -> io::Result<Self> {
        let (kind, mut head) = Rest::begin(bytes)?;
        match kind {
            JOB => Ok(Self::Job(JobFrame {
                id: head.text()?.to_owned(),
                attempt: head.small()?,
                timeout_ms: head.number()?,
                takes_attachments: head.flag()?,
                weighed: head.flag()?,
                envelope: head.envelope()?,
                input: head.payload()?,
            })),
            REPLY => {
                let (call, id) = (head.number()?, head.text()?.to_owned());
                let mut job = JobObject::new(id, JobStatus::Completed);
                job.delay_time = head.maybe(Rest::number)?;
                job.execution_time = head.maybe(Rest::number)?;
                job.cost_nano_dollars = head.maybe(Rest::number)?;
                job.retries = head.maybe(Rest::small)?;
                // As in JSON: an empty one is none.
                job.worker_id = head.maybe(Rest::text)?.filter(|id| !id.is_empty()).map(str::to_owned);
                job.output = Some(head.json()?);
                Ok(Self::Reply(ReplyFrame { call, result: ReplyResult::Job(job), attached: None }))
            }
            REQUEST => Ok(Self::Request(RequestFrame {
                slot: head.number()?,
                method: head.text()?.to_owned(),
                target: head.text()?.to_owned(),
                headers: head.fields()?,
                body: head.body()?,
            })),
            _ => Err(malformed()),
        }
    }
}

/// A reply of a job that has a result, as most have.
fn append_result(to: &mut Vec<u8>, call: u64, job: &JobObject) -> bool {
    let JobObject {
        cost_nano_dollars,
        delay_time,
        error: None,
        execution_time,
        id,
        next_attempt: None,
        output: Some(output),
        retries,
        status: JobStatus::Completed,
        worker_id,
    } = job
    else {
        return false;
    };
    let mut head = Head::begin(to, REPLY);
    head.number(call);
    head.text(id);
    for number in [delay_time, execution_time, cost_nano_dollars] {
        head.maybe(number.as_ref(), |head, number| head.number(*number));
    }
    head.maybe(retries.as_ref(), |head, retries| head.number(u64::from(*retries)));
    head.maybe(worker_id.as_deref(), Head::text);
    head.rest(output.get().as_bytes());
    true
}

impl Frame for ToPlatform {
    fn append_short(&self, to: &mut Vec<u8>) -> bool {
        match self {
            Self::Call(CallFrame {
                call,
                worker,
                envelope,
                input,
                policy,
                window: None,
                attached_chunks,
            }) if policy.is_default() && !input.has_attachments() => {
                let mut head = Head::begin(to, CALL);
                head.number(*call);
                head.text(worker);
                head.flag(*attached_chunks);
                head.envelope(envelope);
                head.rest(input.text().get().as_bytes());
                true
            }
            Self::Done(DoneFrame {
                id,
                attempt,
                output: Some(output),
                error: None,
                ran_us,
                batch: None,
                generated,
            }) if generated.is_empty() && !output.has_attachments() => {
                let mut head = Head::begin(to, DONE);
                head.text(id);
                head.number(u64::from(*attempt));
                head.number(*ran_us);
                head.rest(output.text().get().as_bytes());
                true
            }
            Self::Answer(AnswerFrame { slot, status, headers, body }) => {
                let mut head = Head::begin(to, ANSWER);
                head.number(*slot);
                head.number(u64::from(*status));
                head.fields(headers);
                head.rest(body);
                true
            }
            _ => false,
        }
    }

    fn read_short(bytes: &[u8]) -> io::Result<Self> {
        let (kind, mut head) = Rest::begin(bytes)?;
        match kind {
            CALL => Ok(Self::Call(CallFrame {
                call: head.number()?,
                worker: head.text()?.to_owned(),
                attached_chunks: head.flag()?,
                envelope: head.envelope()?,
                input: head.payload()?,
                policy: Policy::default(),
                window: None,
            })),
            DONE => Ok(Self::Done(DoneFrame {
                id: head.text()?.to_owned(),
                attempt: head.small()?,
                ran_us: head.number()?,
                output: Some(head.payload()?),
                error: None,
                batch: None,
                generated: GenerationsByModel::default(),
            })),
            ANSWER => Ok(Self::Answer(AnswerFrame {
                slot: head.number()?,
                status: u16::try_from(head.number()?).map_err(|_| malformed())?,
                headers: head.fields()?,
                body: head.body()?,
            })),
            _ => Err(malformed()),
        }
    }
}

/// Writes the fields of a frame.
struct Head<'a>(&'a mut Vec<u8>);

impl<'a> Head<'a> {
    fn begin(to: &'a mut Vec<u8>, kind: u8) -> Self {
        to.push(kind);
        Self(to)
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // A frame is shorter than that, or it is refused.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn maybe<T: ?Sized>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn envelope(&mut self, envelope: &Envelope) {
        let Envelope { function, request_id, traceparent, deadline_ms, depth, fan_out, retries } = envelope;
        self.maybe(function.as_deref(), Self::text);
        self.maybe(request_id.as_deref(), Self::text);
        self.maybe(traceparent.as_deref(), Self::text);
        self.maybe(deadline_ms.as_ref(), |head, deadline| head.number(*deadline));
        self.number(u64::from(*depth));
        self.flag(*fan_out);
        self.maybe(retries.as_ref(), |head, retries| head.number(u64::from(*retries)));
    }

    fn fields(&mut self, fields: &Fields) {
        self.number(fields.0.len() as u64);
        for (name, value) in &fields.0 {
            self.text(name);
            self.bytes(value);
        }
    }

    fn rest(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Reads the fields of a frame, in their order.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn begin(bytes: &'a [u8]) -> io::Result<(u8, Self)> {
        let (kind, rest) = bytes.split_first().ok_or_else(malformed)?;
        Ok((*kind, Self(rest)))
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    fn flag(&mut self) -> io::Result<bool> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(malformed()),
        }
    }

    fn number(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn small(&mut self) -> io::Result<u32> {
        u32::try_from(self.number()?).map_err(|_| malformed())
    }

    fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn text(&mut self) -> io::Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| malformed())
    }

    fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    fn envelope(&mut self) -> io::Result<Envelope> {
        Ok(Envelope {
            function: self.maybe(Self::text)?.map(FunctionName::new),
            // As in JSON: one that is not valid is as good as none.
            request_id: self.maybe(Self::text)?.and_then(RequestId::parse),
            traceparent: self.maybe(Self::text)?.and_then(TraceParent::parse),
            deadline_ms: self.maybe(Self::number)?,
            depth: self.small()?,
            fan_out: self.flag()?,
            retries: self.maybe(Self::small)?,
        })
    }

    fn fields(&mut self) -> io::Result<Fields> {
        let count = usize::try_from(self.number()?).ok().filter(|count| *count <= MAX_FIELDS);
        let count = count.ok_or_else(malformed)?;
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            fields.push((self.text()?.into(), Bytes::copy_from_slice(self.bytes()?)));
        }
        Ok(Fields(fields))
    }

    /// The rest, which is a body.
    fn body(&mut self) -> io::Result<Bytes> {
        let body = std::mem::take(&mut self.0);
        if body.len() > MAX_BODY_BYTES { Err(malformed()) } else { Ok(Bytes::copy_from_slice(body)) }
    }

    /// The rest, which must be JSON.
    fn json(&mut self) -> io::Result<Box<RawValue>> {
        let text = std::str::from_utf8(std::mem::take(&mut self.0)).map_err(|_| malformed())?;
        RawValue::from_string(text.to_owned()).map_err(io::Error::from)
    }

    fn payload(&mut self) -> io::Result<Payload> {
        self.json().map(Payload::from)
    }
}

fn malformed() -> io::Error {
    io::Error::other("a frame in its short form does not have the fields that it should have")
}

#[cfg(test)]
mod tests;

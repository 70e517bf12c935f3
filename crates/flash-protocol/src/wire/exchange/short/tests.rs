use super::*;
use crate::{batch::BatchRun, wire::exchange::StopFrame};

fn payload(text: &str) -> Payload {
    RawValue::from_string(text.to_owned()).unwrap().into()
}

fn envelope() -> Envelope {
    Envelope {
        function: Some(FunctionName::new("Model::run")),
        request_id: RequestId::parse("r-1"),
        traceparent: Some(TraceParent::random()),
        deadline_ms: Some(u64::MAX),
        depth: 3,
        fan_out: true,
        retries: Some(0),
    }
}

fn to_worker() -> Vec<ToWorker> {
    let job = |envelope| JobFrame {
        id: "job-1".to_owned(),
        attempt: 2,
        timeout_ms: 600_000,
        envelope,
        takes_attachments: true,
        weighed: false,
        input: payload(r#"{"text":"ä\n"}"#),
    };
    let mut result = JobObject::new("job-2", JobStatus::Completed);
    (result.delay_time, result.execution_time) = (Some(0), Some(7));
    (result.retries, result.worker_id) = (Some(1), Some("w".to_owned()));
    result.output = Some(RawValue::from_string("[1, 2]".to_owned()).unwrap());
    let headers = vec![("accept".into(), "*/*".into()), ("x-bytes".into(), vec![0xff, 0x80].into())];
    vec![
        ToWorker::Job(job(envelope())),
        ToWorker::Job(job(Envelope::default())),
        ToWorker::Reply(ReplyFrame { call: 9, result: ReplyResult::Job(result), attached: None }),
        ToWorker::Request(RequestFrame {
            slot: 4,
            method: "POST".to_owned(),
            target: "/a/b?c=d".to_owned(),
            headers: Fields(headers),
            body: vec![0, 1, 0xff].into(),
        }),
    ]
}

fn to_platform() -> Vec<ToPlatform> {
    vec![
        ToPlatform::Call(CallFrame {
            call: 1,
            worker: "w".to_owned(),
            envelope: envelope(),
            input: payload("null"),
            policy: Policy::default(),
            window: None,
            attached_chunks: true,
        }),
        ToPlatform::Done(DoneFrame {
            id: "job".to_owned(),
            attempt: 1,
            output: Some(payload("\"x\"")),
            error: None,
            ran_us: 12,
            batch: None,
            generated: GenerationsByModel::default(),
        }),
        ToPlatform::Answer(AnswerFrame {
            slot: 4,
            status: 204,
            headers: Fields(vec![("content-type".into(), "text/plain".into())]),
            body: Bytes::new(),
        }),
    ]
}

/// Both forms, where there are two, say the same.
fn assert_the_same<T: Frame + std::fmt::Debug>(frames: Vec<T>) {
    for frame in frames {
        let mut bytes = Vec::new();
        assert!(frame.append_short(&mut bytes), "{frame:?}");
        let read = T::read_short(&bytes).unwrap();
        let mut again = Vec::new();
        assert!(read.append_short(&mut again));
        assert_eq!((format!("{read:?}"), again), (format!("{frame:?}"), bytes));
        if let Ok(json) = serde_json::to_string(&frame) {
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
    }
}

#[test]
fn a_frame_in_its_short_form_says_all_that_it_has() {
    assert_the_same(to_worker());
    assert_the_same(to_platform());
}

#[test]
fn whatever_part_is_missing_or_wrong_is_an_error() {
    fn cut<T: Frame>(frames: Vec<T>) {
        for frame in frames {
            let mut bytes = Vec::new();
            frame.append_short(&mut bytes);
            // Neither panics nor makes room for what a wrong length promises; what is cut off a body is not seen here.
            for end in 0..bytes.len() {
                let _ = T::read_short(&bytes[..end]);
            }
            for place in 0..bytes.len() {
                let mut wrong = bytes.clone();
                wrong[place] = 0xff;
                let _ = T::read_short(&wrong);
            }
            assert!(T::read_short(&bytes[..9]).is_err());
            assert!(T::read_short(&[]).is_err());
            assert!(T::read_short(&[0]).is_err());
        }
    }
    cut(to_worker());
    cut(to_platform());
}

#[test]
fn a_payload_that_is_not_json_is_an_error() {
    let mut bytes = Vec::new();
    to_platform().remove(1).append_short(&mut bytes);
    bytes.truncate(bytes.len() - 1);
    let error = ToPlatform::read_short(&bytes).unwrap_err();
    assert!(error.to_string().contains("EOF"), "{error}");
}

#[test]
fn a_frame_with_more_than_the_common_fields_has_no_short_form() {
    let mut bytes = Vec::new();
    let mut all = to_platform();
    let ToPlatform::Done(done) = &mut all[1] else { unreachable!() };
    done.batch = Some(BatchRun::default());
    assert!(!all[1].append_short(&mut bytes));
    let ToPlatform::Call(call) = &mut all[0] else { unreachable!() };
    call.policy.low_priority = true;
    assert!(!all[0].append_short(&mut bytes));
    assert!(!ToWorker::Stop(StopFrame { id: String::new(), attempt: 1 }).append_short(&mut bytes));
    assert!(bytes.is_empty());
}

#[test]
fn a_frame_with_too_much_of_something_is_an_error() {
    let answer = |fields: usize, bytes: usize| {
        let field = |_| (Box::<str>::from("x"), Bytes::from_static(b"1"));
        let headers = Fields((0..fields).map(field).collect());
        let frame = AnswerFrame { slot: 1, status: 200, headers, body: vec![0; bytes].into() };
        let mut short = Vec::new();
        ToPlatform::Answer(frame).append_short(&mut short);
        ToPlatform::read_short(&short).is_ok()
    };
    assert!(answer(MAX_FIELDS, MAX_BODY_BYTES));
    assert!(!answer(MAX_FIELDS + 1, 0) && !answer(0, MAX_BODY_BYTES + 1));
}

#[test]
fn what_a_request_says_is_in_no_log() {
    let ToWorker::Request(mut request) = to_worker().remove(3) else { unreachable!() };
    (request.target, request.body) = ("/path?key=secret".to_owned(), Bytes::from_static(b"secret"));
    let shown = format!("{request:?}");
    assert!(shown.contains("/path") && !shown.contains("secret"), "{shown}");
}

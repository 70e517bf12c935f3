//! A job from submission to its end.
use flash_protocol::wire::{
    Payload, base64,
    exchange::{ReplyFrame, ReplyResult},
    payload,
};

use super::*;

#[tokio::test]
async fn a_worker_with_batches_is_filled_before_the_next_one_gets_any() {
    let bench = Bench::with(Limits { batch: Some(2), ..Limits::default() });
    let workers = ["a", "b"].map(|id| FakeWorker::attach(&bench, id, 4));
    let jobs: Vec<JobId> = (0..6).map(|at| bench.run(&at.to_string())).collect();
    let on = |jobs: &[JobId]| {
        workers.each_ref().map(|worker| {
            let held = bench.jobs_on(&worker.id);
            jobs.iter().filter(|job| held.iter().any(|(own, _)| own == *job)).count()
        })
    };
    let mut batches = [on(&jobs[..2]), on(&jobs[2..4])];
    batches.sort_unstable();
    assert_eq!(batches, [[0, 2], [2, 0]], "a batch for each");
    let rest = on(&jobs[4..]);
    assert!(rest == [0, 2] || rest == [2, 0], "then the next batch gathers on one of them: {rest:?}");
}

#[tokio::test]
async fn a_job_waits_for_a_worker_and_ends_with_its_result() {
    let queue = queue();
    let id = queue.run("1");
    assert_eq!(status(&queue, id), InQueue);
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let frame = worker.job().await;
    assert_eq!(
        (frame.id.as_str(), frame.attempt, frame.input.text().get()),
        (id.to_string().as_str(), 1, "1")
    );
    assert_eq!(status(&queue, id), InProgress);
    assert!(worker.finish(&queue, &frame));
    let object = queue.peek(id).unwrap();
    assert_eq!((object.status, object.output.unwrap().get()), (Completed, "\"done\""));
    assert!(object.worker_id.is_some() && object.delay_time.is_some() && object.execution_time.is_some());
}

#[tokio::test]
async fn a_worker_gets_no_more_jobs_than_it_has_slots() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    for _ in 0..3 {
        queue.run("{}");
    }
    let (first, _second) = (worker.job().await, worker.job().await);
    assert_eq!((queue.load().waiting, queue.load().running), (1, 2));
    worker.finish(&queue, &first);
    worker.job().await;
    assert_eq!(queue.load().waiting, 0);
}

#[tokio::test]
async fn a_worker_of_a_task_gets_one_job_and_no_other() {
    let queue = Bench::with(Limits { lifetime: flash_protocol::Lifetime::OneJob, ..Limits::default() });
    let (first, second) = (queue.run("1"), queue.run("2"));
    let mut worker = FakeWorker::attach(&queue, "w", 8);
    let frame = worker.job().await;
    assert_eq!((id_of(&frame), status(&queue, second)), (first, InQueue), "however many slots it says");
    assert!(worker.finish(&queue, &frame));
    assert_eq!((status(&queue, first), status(&queue, second)), (Completed, InQueue));
    // One that dies with its job leaves it to a fresh one.
    let mut dies = FakeWorker::attach(&queue, "dies", 1);
    assert_eq!(id_of(&dies.job().await), second);
    queue.detach(&dies.id, "killed");
    let mut last = FakeWorker::attach(&queue, "last", 1);
    let frame = last.job().await;
    assert_eq!((id_of(&frame), frame.attempt), (second, 2));
    assert!(last.finish(&queue, &frame));
}

#[tokio::test]
async fn a_lost_job_goes_to_another_worker_and_the_late_result_is_refused() {
    let queue = queue();
    let id = queue.run("{}");
    let mut first = FakeWorker::attach(&queue, "first", 1);
    let lost = first.job().await;
    queue.detach(&"first".into(), "gone");
    let mut second = FakeWorker::attach(&queue, "second", 1);
    let again = second.job().await;
    assert_eq!((again.id.as_str(), again.attempt), (lost.id.as_str(), 2));
    assert!(!first.finish(&queue, &lost), "the first attempt's lease is over");
    assert_eq!(status(&queue, id), InProgress);
    assert!(second.finish(&queue, &again));
    assert!(!second.finish(&queue, &again), "a result counts once");
    assert_eq!(queue.peek(id).unwrap().retries, Some(1));
}

#[tokio::test]
async fn a_job_that_kills_its_workers_fails_with_the_reason() {
    let queue = Bench::with(Limits { max_attempts: 2, ..Limits::default() });
    let id = queue.run("{}");
    for name in ["a", "b"] {
        FakeWorker::attach(&queue, name, 1).job().await;
        queue.detach(&name.into(), "killed by SIGSEGV");
    }
    let error = queue.peek(id).unwrap().error.unwrap();
    assert_eq!(status(&queue, id), Failed);
    assert!(error.contains("2 attempts") && error.contains("SIGSEGV"), "{error}");
    assert_eq!(queue.ends.lock().len(), 1, "told once");
    assert!(queue.is_idle());
}

#[tokio::test]
async fn a_retried_job_is_safe_from_the_end_of_its_stopped_attempt() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    let short = Submission { execution_timeout: Some(Duration::from_secs(1)), ..job("{}") };
    let id = queue.submit(short).unwrap().id;
    let stopped = worker.job().await;
    queue.advance(Duration::from_secs(2));
    queue.end_overdue();
    assert!(matches!(worker.frame().await, ToWorker::Stop(frame) if frame.attempt == 1));
    queue.retry(id).unwrap();
    let again = worker.job().await;
    assert_eq!((again.id.as_str(), again.attempt), (stopped.id.as_str(), 2));
    assert!(!worker.finish(&queue, &stopped), "the first attempt winds down now");
    assert_eq!((status(&queue, id), queue.load().consumers[0].1), (InProgress, 1));
    assert!(worker.finish(&queue, &again));
    assert_eq!(queue.retry(id), Err(ChangeError::NotFailed));
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let queue = Bench::with(Limits { max_waiting: 2, ..Limits::default() });
    queue.run("{}");
    queue.run("{}");
    assert_eq!(queue.submit(job("{}")).unwrap_err().to_string(), "2 jobs are already waiting");
    assert_eq!(queue.purge().await, 2);
    queue.run("{}");
}

#[tokio::test]
async fn a_cancelled_job_stops_on_its_worker_and_keeps_the_slot_until_it_lets_go() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.run("{}");
    let running = worker.job().await;
    let waiting = queue.run("{}");
    queue.cancel(id).unwrap();
    assert_eq!(status(&queue, id), Cancelled);
    assert!(matches!(worker.frame().await, ToWorker::Stop(stopped) if stopped.id == running.id));
    assert_eq!(status(&queue, waiting), InQueue, "the slot is not free yet");
    assert!(!worker.finish(&queue, &running), "a cancelled job stays cancelled");
    assert_eq!(worker.job().await.id, waiting.to_string());
    assert_eq!(queue.cancel(id), Err(ChangeError::Ended));
    assert_eq!(queue.cancel(JobId::of_run()), Err(ChangeError::Unknown));
}

#[tokio::test]
async fn a_job_over_its_time_is_stopped_and_a_worker_that_holds_on_is_named() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let short = Submission { execution_timeout: Some(Duration::from_secs(10)), ..job("{}") };
    let id = queue.submit(short).unwrap().id;
    let running = worker.job().await;
    queue.advance(Duration::from_secs(9));
    queue.end_overdue();
    assert_eq!(status(&queue, id), InProgress);
    queue.advance(Duration::from_secs(2));
    queue.end_overdue();
    assert_eq!(status(&queue, id), TimedOut);
    let error = queue.peek(id).unwrap().error.unwrap();
    assert_eq!(
        flash_protocol::wire::job::ErrorText::parse(&error).worker_id.as_deref(),
        Some("w"),
        "{error}"
    );
    assert!(matches!(worker.frame().await, ToWorker::Stop(_)));
    let later = Instant::now() + Duration::from_secs(1);
    assert!(matches!(queue.stuck(later).as_slice(), [Stuck { worker, .. }] if &**worker == "w"));
    assert!(!worker.finish(&queue, &running), "it lets go, which frees the slot and changes nothing else");
    assert!(queue.stuck(later).is_empty());
}

#[tokio::test]
async fn a_job_whose_neighbour_had_to_be_killed_does_not_pay_for_it() {
    let queue = Bench::with(Limits { max_attempts: 1, ..Limits::default() });
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    let (stuck, innocent) = (queue.run("1"), queue.run("2"));
    worker.job().await;
    worker.job().await;
    queue.cancel(stuck).unwrap();
    queue.detach(&"w".into(), "killed by SIGKILL");
    assert_eq!((status(&queue, stuck), status(&queue, innocent)), (Cancelled, InQueue));
    let mut next = FakeWorker::attach(&queue, "v", 1);
    let again = next.job().await;
    assert_eq!((id_of(&again), again.attempt), (innocent, 2));
    queue.detach(&"v".into(), "killed by SIGSEGV");
    assert_eq!(status(&queue, innocent), Failed, "this death is its own");
}

#[tokio::test]
async fn a_long_error_is_short_in_the_log_and_whole_for_the_client() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.run("{}");
    let job = worker.job().await;
    let error = "ä".repeat(1_000_000);
    queue.finish(&worker.id, id, Some(job.attempt), Outcome::Failed(error.clone()), None);
    assert_eq!(queue.peek(id).unwrap().error, Some(error));
    let logged = queue.ends.lock()[0].error.clone().unwrap();
    assert!(logged.len() < 4200 && logged.ends_with("(2000000 bytes; `status` has all of it)"), "{logged}");
}

#[tokio::test]
async fn a_job_that_its_client_left_is_let_go_unless_somebody_hears_of_it() {
    let waited = |queue: &Bench, told: Option<&str>| {
        let (end, _) = oneshot::channel();
        let webhook = told.map(str::to_owned);
        let waiter = Some(Waiter::Client(end));
        let job = Submission::new(Origin::RunSync, json("{}"), Envelope::default());
        queue.submit(Submission { waiter, webhook, ..job }).unwrap().id
    };
    let queue = queue();
    let (left, told, asked_for) =
        (waited(&queue, None), waited(&queue, Some("http://127.0.0.1:1/")), queue.run("{}"));
    for id in [left, told, asked_for] {
        queue.abandon(id, Abandoned::RunsOn);
    }
    let seen = [left, told, asked_for].map(|id| status(&queue, id));
    assert_eq!(seen, [Cancelled, InQueue, InQueue]);
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    assert_eq!(id_of(&worker.job().await), told, "the one that was left never starts");
    for (abandoned, expected) in [(Abandoned::RunsOn, InProgress), (Abandoned::Stops, Cancelled)] {
        let queue = super::queue();
        let id = waited(&queue, None);
        let mut worker = FakeWorker::attach(&queue, "w", 1);
        let job = worker.job().await;
        queue.abandon(id, abandoned);
        assert_eq!(status(&queue, id), expected);
        if expected == Cancelled {
            assert!(matches!(worker.frame().await, ToWorker::Stop(frame) if frame.id == job.id));
        }
        // Late events change nothing.
        worker.finish(&queue, &job);
        queue.abandon(id, Abandoned::Stops);
        assert!(status(&queue, id).is_final());
    }
}

#[tokio::test]
async fn low_priority_comes_last_and_is_counted_apart() {
    let queue = queue();
    let low = queue.submit(Submission { low_priority: true, ..job("1") }).unwrap().id;
    let normal = queue.run("2");
    let load = queue.load();
    assert_eq!((load.waiting, load.low_priority), (1, 1));
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    assert_eq!((id_of(&worker.job().await), id_of(&worker.job().await)), (normal, low));
}

#[tokio::test]
async fn who_waits_is_told_when_no_worker_starts_and_who_does_not_stays() {
    let queue = queue();
    let (end, ended) = oneshot::channel();
    let waited = Submission { waiter: Some(Waiter::Client(end)), origin: Origin::RunSync, ..job("{}") };
    let waited = queue.submit(waited).unwrap().id;
    let stays = queue.run("{}");
    queue.fail_waiting(&WireError::new(ErrorKind::NoWorker, "exit code 1"));
    assert_eq!(ended.await.unwrap().status, Failed);
    assert_eq!((status(&queue, waited), status(&queue, stays)), (Failed, InQueue));
}

#[tokio::test]
async fn a_stream_is_drained_and_ends_with_the_rest() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.run("{}");
    let frame = worker.job().await;
    queue.chunk(&worker.id, id, json("1").into());
    let first = queue.stream(id, Duration::from_secs(600)).await.unwrap().unwrap();
    assert_eq!((first.status, first.chunks.len()), (InProgress, 1));
    let held = tokio::spawn({
        let queue = queue.queue.clone();
        async move { queue.stream(id, Duration::from_secs(600)).await.unwrap().unwrap() }
    });
    queue.chunk(&worker.id, id, json("2").into());
    let second = held.await.unwrap();
    assert_eq!(second.chunks[0].text().get(), "2");
    queue.chunk(&worker.id, id, json("3").into());
    worker.finish(&queue, &frame);
    let last = queue.stream(id, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((last.status, last.chunks.len()), (Completed, 1));
}

#[tokio::test]
async fn attempts_on_workers_that_were_ended_on_purpose_do_not_count() {
    let queue = queue();
    let id = queue.run("{}");
    for attempt in 1..=5 {
        let mut worker = FakeWorker::attach(&queue, "w", 1);
        assert_eq!(worker.job().await.attempt, attempt, "each has a number of its own");
        queue.detach_stopped(&worker.id, "killed for another job");
        assert_eq!(status(&queue, id), InQueue);
    }
    for _ in 0..3 {
        let mut worker = FakeWorker::attach(&queue, "w", 1);
        worker.job().await;
        queue.detach(&worker.id, "exit code 1");
    }
    assert_eq!(status(&queue, id), Failed);
}

#[tokio::test]
async fn attachments_go_from_worker_to_worker_and_are_base64_for_everybody_else() {
    let bytes = bytes::Bytes::from(vec![7; 5000]);
    let text = format!("\"{}\"", base64::encode(&bytes));
    let with_attachment = || {
        let text = || payload::attach(&bytes).unwrap();
        Payload::collect(|| serde_json::value::to_raw_value(&text())).unwrap()
    };
    for (format, expected) in [(FrameFormat::Attachments, true), (FrameFormat::Json, false)] {
        let queue = queue();
        let (mut worker, frames) = FakeWorker::connect("w", format);
        queue.attach(&worker.id, DeliveryMode::Exchange(frames), 1, Account::free());
        let (mut caller, frames) = FakeWorker::connect("caller", format);
        let call = Submission::new(Origin::Call, with_attachment(), Envelope::default());
        queue.submit(Submission { waiter: Some(Waiter::Call { call: 7, frames }), ..call }).unwrap();
        let job = worker.job().await;
        assert_eq!((job.takes_attachments, job.input.has_attachments()), (expected, expected));
        assert_eq!(job.input.to_json().get(), text);
        let outcome = Outcome::Completed(with_attachment());
        queue.finish(&worker.id, id_of(&job), Some(job.attempt), outcome, None);
        let ToWorker::Reply(ReplyFrame { call: 7, result: ReplyResult::Job(object), attached }) =
            caller.frame().await
        else {
            panic!("not the reply");
        };
        assert_eq!((attached.is_some(), object.output.is_some()), (expected, !expected));
        let output = attached.map_or_else(|| object.output.unwrap(), Payload::into_json);
        assert_eq!(output.get(), text);

        // A client reads the result of this one, so its worker encodes it.
        let id = queue.run("1");
        let job = worker.job().await;
        assert!(!job.takes_attachments);
        let outcome = Outcome::Completed(with_attachment());
        queue.finish(&worker.id, id, Some(job.attempt), outcome, None);
        assert_eq!(queue.peek(id).unwrap().output.unwrap().get(), text);
    }
}

//! Streams: accepted chunks are never dropped, and COMPLETED means that nothing is missing.
use flash_protocol::wire::{Payload, PayloadList, base64, payload};

use super::*;

/// More chunks than may wait.
const MANY: usize = 10_020;

fn list(numbers: std::ops::Range<usize>) -> String {
    format!("{:?}", numbers.collect::<Vec<_>>())
}

async fn fetched(queue: &Queue, id: JobId) -> Vec<String> {
    let news = queue.stream(id, Duration::ZERO).await.unwrap().unwrap();
    news.chunks.iter().map(|chunk| chunk.to_json().get().to_owned()).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn completed(output: &str) -> Outcome {
    Outcome::Completed(json(output).into())
}

/// A job that a worker runs.
async fn streaming(queue: &Bench) -> (FakeWorker, JobFrame, JobId) {
    let mut worker = FakeWorker::attach(queue, "w", 1);
    let id = queue.run("{}");
    let job = worker.job().await;
    (worker, job, id)
}

#[tokio::test]
async fn chunks_past_the_bound_come_out_of_the_result_in_their_order() {
    let queue = queue();
    let (worker, job, id) = streaming(&queue).await;
    for number in 0..MANY {
        queue.chunk(&worker.id, id, json(&number.to_string()).into());
    }
    assert_eq!(fetched(&queue, id).await, numbers(0..10_000));
    // There is room again: what comes now must wait for what was refused.
    queue.chunk(&worker.id, id, json(&MANY.to_string()).into());
    assert!(fetched(&queue, id).await.is_empty());
    queue.finish(&worker.id, id, Some(job.attempt), completed(&list(0..MANY + 1)), None);
    assert_eq!(fetched(&queue, id).await, numbers(10_000..MANY + 1));
    assert_eq!(status(&queue, id), Completed);
    assert!(fetched(&queue, id).await.is_empty(), "each once");
}

#[tokio::test]
async fn a_job_whose_refused_chunks_are_nowhere_fails_and_keeps_what_it_returned() {
    // As the official worker posts them: nothing, a part, something else.
    for output in ["[]", &list(0..10_000), "{\"tokens\":10020}", "null"] {
        let queue = queue();
        let (worker, job, id) = streaming(&queue).await;
        for number in 0..MANY {
            queue.chunk(&worker.id, id, json(&number.to_string()).into());
        }
        let reported = queue.finish(&worker.id, id, Some(job.attempt), completed(output), None);
        assert_eq!(reported, Reported::Accepted);
        let object = queue.peek(id).unwrap();
        assert_eq!((object.status, object.output.unwrap().get()), (Failed, output));
        assert!(object.error.unwrap().contains("chunk 10001 and later chunks were refused"));
        assert_eq!(fetched(&queue, id).await.len(), 10_000);
    }
}

#[tokio::test]
async fn a_stream_within_its_bounds_completes_whatever_the_job_returns() {
    for output in ["[]", "[1]", "7"] {
        let queue = queue();
        let (worker, job, id) = streaming(&queue).await;
        for number in 0..10_000 {
            queue.chunk(&worker.id, id, json(&number.to_string()).into());
        }
        queue.finish(&worker.id, id, Some(job.attempt), completed(output), None);
        assert_eq!((status(&queue, id), fetched(&queue, id).await.len()), (Completed, 10_000));
    }
}

#[tokio::test]
async fn chunks_are_bounded_in_bytes_and_by_the_budget_too() {
    let queue = Bench::holding(Limits::default(), Budget::of(400_000));
    let (worker, job, id) = streaming(&queue).await;
    let chunk = format!("\"{}\"", "x".repeat(100_000));
    for _ in 0..5 {
        queue.chunk(&worker.id, id, json(&chunk).into());
    }
    queue.finish(&worker.id, id, Some(job.attempt), completed("[]"), None);
    assert_eq!((status(&queue, id), fetched(&queue, id).await.len()), (Failed, 4));
    let queue = super::queue();
    let (worker, job, id) = streaming(&queue).await;
    let chunk = format!("\"{}\"", "x".repeat(8_000_000));
    for _ in 0..10 {
        queue.chunk(&worker.id, id, json(&chunk).into());
    }
    queue.finish(&worker.id, id, Some(job.attempt), completed("[]"), None);
    assert_eq!((status(&queue, id), fetched(&queue, id).await.len()), (Failed, 8));
}

#[tokio::test]
async fn a_caller_that_reads_the_chunks_gets_those_that_are_left_with_the_end() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let (ends, end) = oneshot::channel();
    let call = Submission::new(Origin::Call, json("{}"), Envelope::default());
    let id = queue
        .submit(Submission { waiter: Some(Waiter::Stream { end: ends, reads_attachments: false }), ..call })
        .unwrap()
        .id;
    let job = worker.job().await;
    for number in 0..5 {
        queue.chunk(&worker.id, id, json(&number.to_string()).into());
    }
    let part = queue.stream_part(id, Duration::ZERO, 2).await.unwrap().unwrap();
    assert_eq!((part.attempt, part.chunks.len()), (1, 2));
    let large = queue.stream_part(id, Duration::ZERO, 0).await.unwrap().unwrap();
    assert_eq!(large.chunks.len(), 1, "one chunk always fits");
    queue.finish(&worker.id, id, Some(job.attempt), completed(&list(0..5)), None);
    let StreamEnd { job, attempt, chunks } = end.await.unwrap();
    let left: Vec<_> = chunks.iter().map(|chunk| chunk.text().get()).collect();
    assert_eq!((job.status, job.output.is_none(), attempt), (Completed, true, 1));
    assert_eq!(left, ["3", "4"]);
    assert!(queue.peek(id).is_none(), "its only reader has it all");
}

#[tokio::test]
async fn chunks_keep_their_attachments_for_a_worker_that_reads_them_and_for_nobody_else() {
    let bytes = bytes::Bytes::from(vec![7; 5000]);
    let text = format!("\"{}\"", base64::encode(&bytes));
    let chunk = || {
        let text = || payload::attach(&bytes).unwrap();
        Payload::collect(|| serde_json::value::to_raw_value(&text())).unwrap()
    };
    for reads_attachments in [true, false] {
        let queue = queue();
        let mut worker = FakeWorker::attach(&queue, "w", 1);
        let (ends, end) = oneshot::channel();
        let waiter = Waiter::Stream { end: ends, reads_attachments };
        let call = Submission::new(Origin::Call, json("{}"), Envelope::default());
        let id = queue.submit(Submission { waiter: Some(waiter), ..call }).unwrap().id;
        let job = worker.job().await;
        assert_eq!(job.takes_attachments, reads_attachments, "a worker that is not asked encodes them");
        queue.chunk(&worker.id, id, chunk());
        let part = queue.stream_part(id, Duration::ZERO, usize::MAX).await.unwrap().unwrap();
        assert!(part.chunks[0].has_attachments() && part.chunks[0].weight() < 5100);
        assert_eq!(part.chunks[0].to_json().get(), text);
        queue.chunk(&worker.id, id, chunk());
        queue.finish(&worker.id, id, Some(job.attempt), completed("[]"), None);
        assert_eq!(end.await.unwrap().chunks[0].to_json().get(), text);
    }
}

#[tokio::test]
async fn refused_chunks_with_attachments_come_out_of_the_result_as_base64() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let (ends, end) = oneshot::channel();
    let waiter = Waiter::Stream { end: ends, reads_attachments: true };
    let call = Submission::new(Origin::Call, json("{}"), Envelope::default());
    let id = queue.submit(Submission { waiter: Some(waiter), ..call }).unwrap().id;
    let job = worker.job().await;
    let bytes = bytes::Bytes::from(vec![7; 5000]);
    let chunk = || {
        let text = || payload::attach(&bytes).unwrap();
        Payload::collect(|| serde_json::value::to_raw_value(&text())).unwrap()
    };
    let mut all = PayloadList::default();
    for _ in 0..MANY + 2 {
        all.push(&chunk());
        queue.chunk(&worker.id, id, chunk());
    }
    queue.finish(&worker.id, id, Some(job.attempt), Outcome::Completed(all.finish()), None);
    let chunks = end.await.unwrap().chunks;
    assert_eq!(chunks.len(), MANY + 2);
    let last = chunks.last().unwrap();
    assert_eq!(last.to_json().get(), format!("\"{}\"", base64::encode(&bytes)));
    assert!(chunks[0].has_attachments() && !last.has_attachments());
}

#[tokio::test(start_paused = true)]
async fn who_posts_a_chunk_goes_at_the_pace_of_the_client() {
    const HOLD: Duration = Duration::from_secs(30);
    let queue = queue();
    let (worker, job, id) = streaming(&queue).await;
    assert!(fetched(&queue, id).await.is_empty(), "a client follows the stream");
    for number in 0..10_000 {
        let offered = queue.offer_chunk(&worker.id, id, json(&number.to_string()).into(), HOLD).await;
        assert_eq!(offered, Offered::Taken);
    }
    let (offered, first) =
        tokio::join!(queue.offer_chunk(&worker.id, id, json("10000").into(), HOLD), fetched(&queue, id));
    assert_eq!((offered, first), (Offered::Taken, numbers(0..10_000)));
    assert_eq!(fetched(&queue, id).await, ["10000"]);
    queue.finish(&worker.id, id, Some(job.attempt), completed("[]"), None);
    assert_eq!(status(&queue, id), Completed);
}

#[tokio::test(start_paused = true)]
async fn who_posts_a_chunk_that_nobody_fetches_is_refused_and_all_later_ones() {
    const HOLD: Duration = Duration::from_secs(30);
    let queue = queue();
    let (worker, _job, id) = streaming(&queue).await;
    let began = tokio::time::Instant::now();
    for number in 0..10_000 {
        queue.chunk(&worker.id, id, json(&number.to_string()).into());
    }
    let offer = |text: &'static str| queue.offer_chunk(&worker.id, id, json(text).into(), HOLD);
    assert_eq!(offer("1").await, Offered::Refused);
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody ever fetched: there is nothing to wait for");
    assert_eq!(fetched(&queue, id).await.len(), 10_000);
    assert_eq!(offer("2").await, Offered::Refused, "a stream has no gap");
    // The same with a client that stopped fetching.
    queue.detach(&worker.id, "gone");
    let mut worker = FakeWorker::attach(&queue, "v", 1);
    worker.job().await;
    for number in 0..10_000 {
        queue.chunk(&worker.id, id, json(&number.to_string()).into());
    }
    assert_eq!(queue.offer_chunk(&worker.id, id, json("3").into(), HOLD).await, Offered::Refused);
    assert_eq!(began.elapsed(), HOLD);
    queue.cancel(id).unwrap();
    assert_eq!(queue.offer_chunk(&worker.id, id, json("4").into(), HOLD).await, Offered::NotRunning);
}

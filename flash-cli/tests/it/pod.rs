//! The role of a pod's first process: it starts workers as the platform says, and tells what becomes of them. Here the platform
//! is the test, and there is no pod around it.
use std::process::Stdio;

use flash_protocol::wire::pod::{ChildEnd, ChildSignal, FromPod, OutputStream, PodEvent, StartChild, ToPod};
use futures_util::{SinkExt as _, StreamExt as _};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::support::{SOON, descendants, until};

const KEY: &str = "key-of-the-pod";
/// A worker with these variables asks for jobs in vain until it is asked to end.
const IDLE: [(&str, &str); 3] = [
    ("FLASH_WORKER", "guarded"),
    ("RUNPOD_WEBHOOK_GET_JOB", "http://127.0.0.1:9/job-take/$ID?gpu="),
    ("RUNPOD_WEBHOOK_POST_OUTPUT", "http://127.0.0.1:9/job-done/$RUNPOD_POD_ID/$ID?gpu="),
];

/// A first process, and the platform's end of its connection.
struct Pod {
    process: Child,
    frames: Framed<BufReader<TcpStream>, LengthDelimitedCodec>,
}

impl Pod {
    async fn join() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/pods/one", listener.local_addr().unwrap());
        let process = Command::new(crate::worker_protocol::binary())
            .env("FLASH_ROLE", "pod")
            .env("FLASH_POD_URL", url)
            .env("FLASH_POD_KEY", KEY)
            .env_remove("FLASH_EXCHANGE_URL")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stream, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            match line.trim() {
                "" => break,
                line => head.push(line.to_lowercase()),
            }
        }
        assert_eq!(head[0], "get /pods/one http/1.1");
        for header in [format!("authorization: {KEY}"), "upgrade: flash-pod".to_owned()] {
            assert!(head.contains(&header), "{head:?}");
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: flash-pod\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        Self { process, frames: Framed::new(stream, LengthDelimitedCodec::new()) }
    }

    async fn send(&mut self, frame: ToPod) {
        self.frames.send(frame.encode()).await.unwrap();
    }

    async fn start(&mut self, child: u64, environment: &[(&str, &str)]) {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.send(ToPod::Start(StartChild { child, environment: environment.collect() })).await;
    }

    /// The next frame; `None` if the connection has ended.
    async fn next(&mut self) -> Option<FromPod> {
        let frame = tokio::time::timeout(SOON, self.frames.next()).await.expect("a frame in time");
        Some(FromPod::decode(&frame?.ok()?.freeze()).unwrap())
    }

    /// The next event, and the output until then.
    async fn event(&mut self) -> (PodEvent, String, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.next().await.expect("an event") {
                FromPod::Output { to: OutputStream::Stdout, bytes, .. } => stdout.extend(bytes),
                FromPod::Output { to: OutputStream::Stderr, bytes, .. } => stderr.extend(bytes),
                FromPod::Event(event) => {
                    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                    return (event, text(stdout), text(stderr));
                }
            }
        }
    }

    /// Waits until the worker with the variables [`IDLE`] has asked for a job: then it listens for signals.
    async fn asks_for_jobs(&mut self) {
        let asks = async {
            let mut seen = String::new();
            while !seen.contains("could not take a job") {
                match self.next().await {
                    Some(FromPod::Output { bytes, .. }) => seen += &String::from_utf8_lossy(&bytes),
                    other => panic!("{other:?} after: {seen}"),
                }
            }
        };
        tokio::time::timeout(SOON, asks).await.expect("a worker that asks for jobs");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id().unwrap()).unwrap())
    }

    async fn exit(mut self) -> Option<i32> {
        tokio::time::timeout(SOON, self.process.wait()).await.unwrap().unwrap().code()
    }
}

#[tokio::test]
async fn one_worker_after_the_other_runs_in_the_same_pod() {
    let mut pod = Pod::join().await;
    // A worker that prints what the app is, and ends.
    pod.start(1, &[("FLASH_ROLE", "describe")]).await;
    assert_eq!(pod.event().await.0, PodEvent::Started { child: 1 });
    let (event, stdout, stderr) = pod.event().await;
    assert_eq!(event, PodEvent::Ended { child: 1, end: ChildEnd::Code(0) }, "{stderr}");
    let manifest: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(manifest["app"]["name"], "fixture-app", "the whole of more than one frame");
    // One without work: its code and its last words arrive.
    pod.start(2, &[("FLASH_WORKER", "guarded")]).await;
    assert_eq!(pod.event().await.0, PodEvent::Started { child: 2 });
    let (event, _, stderr) = pod.event().await;
    assert_eq!(event, PodEvent::Ended { child: 2, end: ChildEnd::Code(2) });
    assert!(stderr.contains("FLASH_EXCHANGE_URL"), "{stderr}");
    // The platform ends the pod.
    pod.send(ToPod::Leave).await;
    assert_eq!(pod.next().await, None);
    assert_eq!(pod.exit().await, Some(0));
}

#[tokio::test]
async fn signals_reach_the_worker_that_is_meant_and_no_second_one_starts_beside_it() {
    let mut pod = Pod::join().await;
    pod.start(1, &IDLE).await;
    assert_eq!(pod.event().await.0, PodEvent::Started { child: 1 });
    pod.start(2, &IDLE).await;
    pod.send(ToPod::Signal { child: 7, signal: ChildSignal::Kill }).await;
    match pod.event().await.0 {
        PodEvent::NotStarted { child: 2, reason } => assert_eq!(reason, "worker 1 has not ended"),
        other => panic!("{other:?}"),
    }
    pod.send(ToPod::Signal { child: 1, signal: ChildSignal::Kill }).await;
    assert_eq!(pod.event().await.0, PodEvent::Ended { child: 1, end: ChildEnd::Signal(9) });
    // The next one is asked to end, and does.
    pod.start(3, &IDLE).await;
    assert_eq!(pod.event().await.0, PodEvent::Started { child: 3 });
    pod.asks_for_jobs().await;
    pod.send(ToPod::Signal { child: 3, signal: ChildSignal::Terminate }).await;
    assert_eq!(pod.event().await.0, PodEvent::Ended { child: 3, end: ChildEnd::Code(0) });
    pod.send(ToPod::Leave).await;
    assert_eq!(pod.exit().await, Some(0));
}

#[tokio::test]
async fn the_node_ends_the_pod_and_the_worker_finishes_first() {
    let mut pod = Pod::join().await;
    pod.start(1, &IDLE).await;
    assert_eq!(pod.event().await.0, PodEvent::Started { child: 1 });
    pod.asks_for_jobs().await;
    kill(pod.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(pod.event().await.0, PodEvent::Stopping);
    assert_eq!(pod.event().await.0, PodEvent::Ended { child: 1, end: ChildEnd::Code(0) });
    assert_eq!(pod.next().await, None);
    assert_eq!(pod.exit().await, Some(0));
    // Between two workers, at once.
    let mut pod = Pod::join().await;
    pod.start(1, &[("FLASH_ROLE", "describe")]).await;
    assert_eq!(pod.event().await.0, PodEvent::Started { child: 1 });
    assert_eq!(pod.event().await.0, PodEvent::Ended { child: 1, end: ChildEnd::Code(0) });
    kill(pod.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(pod.event().await.0, PodEvent::Stopping);
    assert_eq!(pod.exit().await, Some(0));
}

#[tokio::test]
async fn without_the_platform_the_worker_and_the_pod_end() {
    let mut pod = Pod::join().await;
    pod.start(1, &IDLE).await;
    assert_eq!(pod.event().await.0, PodEvent::Started { child: 1 });
    let [worker] = descendants(pod.pid().as_raw())[..] else { panic!("one worker") };
    // Its variables are the platform's, and not the key of the pod.
    // The kernel shows them a moment after the program has begun.
    let variables = until("its variables", SOON, async || {
        let variables = std::fs::read(format!("/proc/{worker}/environ")).unwrap();
        if variables.is_empty() { Err("none".to_owned()) } else { Ok(variables) }
    });
    let variables = variables.await;
    let has = |text: &str| variables.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has("FLASH_WORKER=guarded") && !has(KEY) && !has("FLASH_POD_URL"));
    let Pod { process, frames } = pod;
    drop(frames);
    let code = tokio::time::timeout(SOON, process.wait_with_output()).await.unwrap().unwrap().status.code();
    assert_eq!(code, Some(2));
    assert!(kill(Pid::from_raw(worker), None).is_err(), "the worker is gone with it");
}

//! The connection to the first process of a pod: brings it the worker's variables and signals, and takes the worker's output
//! and end from it.
use std::{io, os::unix::process::ExitStatusExt as _, process::ExitStatus, time::Duration};

use bytes::Bytes;
use flash_protocol::wire::pod::{
    ChildEnd, ChildNumber, ChildSignal, FromPod, MAX_FRAME_BYTES, OutputStream, PodEvent, PodWork,
    StartChild, ToPod,
};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::sync::mpsc;
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    sync::CancellationToken,
};

use super::{
    super::output::{Carried, Line, OnLine, Source, Work},
    awaited::{AwaitedPod, Stream},
};

/// The worker of a pod. One pod has one of them.
const CHILD: ChildNumber = 1;
/// How long the pod may take to read the request to end.
const LEAVE: Duration = Duration::from_secs(5);

type Frames = Framed<Box<dyn Stream>, LengthDelimitedCodec>;

/// How the connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The worker has ended, and the pod was asked to end.
    Worker(ExitStatus),
    /// The pod could not start it.
    NotStarted(String),
    /// The pod has closed the connection, or sent something that cannot be read.
    Lost,
}

/// See the module.
pub(super) struct Connection {
    pub(super) pod: AwaitedPod,
    /// Cancelled when it has joined.
    pub(super) joined: CancellationToken,
    pub(super) environment: Vec<(String, String)>,
    pub(super) signals: mpsc::UnboundedReceiver<ChildSignal>,
    pub(super) output: Carried,
    /// For what is told of the pod itself.
    pub(super) on_line: OnLine,
}

impl Connection {
    /// Waits for the pod, starts the worker in it, and ends with the worker or the connection.
    pub(super) async fn run(self) -> End {
        let Self { mut pod, joined, environment, mut signals, output, on_line } = self;
        let stream = pod.joined().await;
        joined.cancel();
        drop(pod);
        let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME_BYTES).new_codec();
        let (mut to_pod, from_pod) = Framed::new(stream, codec).split();
        let start = ToPod::Start(StartChild { child: CHILD, environment });
        if send(&mut to_pod, &start).await.is_err() {
            return End::Lost;
        }
        let signalling = async {
            while let Some(signal) = signals.recv().await {
                // Where it fails, the reading side sees the end of the connection.
                let _ = send(&mut to_pod, &ToPod::Signal { child: CHILD, signal }).await;
            }
            std::future::pending().await
        };
        let end = tokio::select! {
            end = read(from_pod, output, &on_line) => end,
            never = signalling => match never {},
        };
        if !matches!(end, End::Lost) {
            // If it does not read it, it ends with the connection.
            let _ = tokio::time::timeout(LEAVE, send(&mut to_pod, &ToPod::Leave)).await;
        }
        end
    }
}

async fn send(sink: &mut SplitSink<Frames, Bytes>, frame: &ToPod) -> io::Result<()> {
    sink.send(frame.encode()).await
}

/// Reads until the worker has ended, and its last line is out. All of its output comes before its end.
async fn read(mut frames: SplitStream<Frames>, mut output: Carried, on_line: &OnLine) -> End {
    let end = read_all(&mut frames, &mut output, on_line).await;
    output.end().await;
    end
}

async fn read_all(frames: &mut SplitStream<Frames>, output: &mut Carried, on_line: &OnLine) -> End {
    loop {
        let Some(Ok(frame)) = frames.next().await else { return End::Lost };
        match FromPod::decode(&frame.freeze()) {
            Ok(FromPod::Output { child: CHILD, to, bytes }) => output.write(source(to), bytes.into()).await,
            Ok(FromPod::Event(PodEvent::Work { child: CHILD, to, work })) => {
                let work = work.map(|PodWork { request_id, job_id }| Work { request_id, job_id });
                output.work_is(source(to), work).await;
            }
            Ok(FromPod::Event(PodEvent::Ended { child: CHILD, end })) => return End::Worker(status(end)),
            Ok(FromPod::Event(PodEvent::NotStarted { child: CHILD, reason })) => {
                return End::NotStarted(reason);
            }
            Ok(FromPod::Event(PodEvent::Stopping)) => {
                // The worker has got SIGTERM already, and says itself that it takes no more work.
                let text =
                    "its pod is told to end: it was deleted or evicted, or its node is drained".to_owned();
                on_line(Line { source: Source::Stderr, text, work: None });
            }
            Ok(FromPod::Event(_) | FromPod::Output { .. }) => {}
            Err(_) => return End::Lost,
        }
    }
}

fn source(stream: OutputStream) -> Source {
    match stream {
        OutputStream::Stdout => Source::Stdout,
        OutputStream::Stderr => Source::Stderr,
    }
}

/// As the system would have told it.
fn status(end: ChildEnd) -> ExitStatus {
    match end {
        ChildEnd::Code(code) => ExitStatus::from_raw((code & 0xff) << 8),
        ChildEnd::Signal(signal) => ExitStatus::from_raw(signal & 0x7f),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::io::DuplexStream;

    use super::{super::awaited::Pods, *};

    struct FirstProcess(Framed<DuplexStream, LengthDelimitedCodec>);

    impl FirstProcess {
        async fn next(&mut self) -> Option<ToPod> {
            let frame = self.0.next().await?.ok()?;
            Some(ToPod::decode(&frame).unwrap())
        }

        async fn send(&mut self, frame: FromPod) {
            self.0.send(frame.encode()).await.unwrap();
        }
    }

    struct Joined {
        first_process: FirstProcess,
        signals: mpsc::UnboundedSender<ChildSignal>,
        lines: Arc<Mutex<Vec<Line>>>,
        end: tokio::task::JoinHandle<End>,
    }

    async fn joined() -> Joined {
        let pods = Pods::default();
        let pod = pods.expect("w".to_owned(), "key".to_owned());
        let lines = Arc::<Mutex<Vec<Line>>>::default();
        let sink = lines.clone();
        let on_line: OnLine = Arc::new(move |line| sink.lock().push(line));
        let output = Carried::new(on_line.clone()).unwrap();
        let (signals, received) = mpsc::unbounded_channel();
        let environment = vec![("A".to_owned(), "1".to_owned())];
        let joined = CancellationToken::new();
        let connection =
            Connection { pod, joined, environment: environment.clone(), signals: received, output, on_line };
        let end = tokio::spawn(connection.run());
        let (near, far) = tokio::io::duplex(1 << 16);
        pods.join("w", Box::new(near));
        let mut first_process = FirstProcess(Framed::new(far, LengthDelimitedCodec::new()));
        let start = ToPod::Start(StartChild { child: CHILD, environment });
        assert_eq!(first_process.next().await, Some(start));
        Joined { first_process, signals, lines, end }
    }

    fn printed(child: ChildNumber, text: &'static [u8]) -> FromPod {
        FromPod::Output { child, to: OutputStream::Stdout, bytes: Bytes::from_static(text) }
    }

    #[tokio::test]
    async fn a_worker_gets_its_signals_and_its_output_comes_before_its_end() {
        let Joined { mut first_process, signals, lines, end } = joined().await;
        first_process.send(FromPod::Event(PodEvent::Started { child: CHILD })).await;
        signals.send(ChildSignal::Terminate).unwrap();
        let signal = ToPod::Signal { child: CHILD, signal: ChildSignal::Terminate };
        assert_eq!(first_process.next().await, Some(signal));
        let work = PodWork { request_id: "req".to_owned(), job_id: None };
        let is_of_work = PodEvent::Work { child: CHILD, to: OutputStream::Stdout, work: Some(work.clone()) };
        first_process.send(printed(CHILD, b"one\n")).await;
        first_process.send(FromPod::Event(is_of_work)).await;
        first_process.send(printed(CHILD, b"tw")).await;
        first_process.send(printed(CHILD + 1, b"of another")).await;
        first_process.send(printed(CHILD, b"o")).await;
        first_process.send(FromPod::Event(PodEvent::Ended { child: CHILD, end: ChildEnd::Code(3) })).await;
        assert_eq!(first_process.next().await, Some(ToPod::Leave));
        let End::Worker(status) = end.await.unwrap() else { panic!("another end") };
        assert_eq!(status.code(), Some(3));
        let request = |line: &Line| line.work.as_ref().map(|work| work.request_id.clone());
        let lines: Vec<_> = lines.lock().iter().map(|line| (line.text.clone(), request(line))).collect();
        assert_eq!(lines, [("one".to_owned(), None), ("two".to_owned(), Some(work.request_id))]);
    }

    #[tokio::test]
    async fn a_pod_that_cannot_start_the_worker_says_why() {
        let Joined { mut first_process, end, .. } = joined().await;
        let reason = "Cannot allocate memory".to_owned();
        first_process.send(FromPod::Event(PodEvent::NotStarted { child: CHILD, reason })).await;
        assert!(matches!(end.await.unwrap(), End::NotStarted(reason) if reason.contains("memory")));
    }

    #[tokio::test]
    async fn that_the_cluster_ends_a_pod_is_said() {
        let Joined { mut first_process, end, lines, .. } = joined().await;
        first_process.send(FromPod::Event(PodEvent::Stopping)).await;
        drop(first_process);
        assert!(matches!(end.await.unwrap(), End::Lost));
        let said: Vec<_> = lines.lock().iter().map(|line| line.text.clone()).collect();
        assert!(matches!(said.as_slice(), [only] if only.contains("told to end")), "{said:?}");
    }

    #[tokio::test]
    async fn rubbish_and_a_closed_connection_end_it() {
        let Joined { mut first_process, end, .. } = joined().await;
        first_process.0.send(Bytes::from_static(b"\x07rubbish")).await.unwrap();
        assert!(matches!(end.await.unwrap(), End::Lost));
        let Joined { first_process, end, .. } = joined().await;
        drop(first_process);
        assert!(matches!(end.await.unwrap(), End::Lost));
    }

    #[test]
    fn an_end_reads_as_that_of_a_process() {
        assert_eq!(status(ChildEnd::Signal(9)).signal(), Some(9));
        assert_eq!(
            (status(ChildEnd::Code(0)).success(), status(ChildEnd::Code(255)).code()),
            (true, Some(255))
        );
    }
}

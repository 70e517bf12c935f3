//! Output that comes over a connection, whose frames say what it is for.
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    attribution::Piece,
    line::{OnLine, Source, Work},
    lines::{self, LastLines, Printer},
};

/// Pieces that wait for the thread that makes lines of them.
const WAITING_PIECES: usize = 32;

/// The output of a worker elsewhere, to be written to.
pub(crate) struct Carried {
    streams: [Stream; 2],
    pieces: mpsc::Sender<(Source, Piece)>,
    queued: Arc<AtomicUsize>,
    last: LastLines,
    /// Answered when all lines are out.
    printed: oneshot::Receiver<()>,
}

#[derive(Default)]
struct Stream {
    work: Option<Work>,
    /// Whether the last line is incomplete.
    is_within_line: bool,
}

impl Carried {
    /// Its lines go to `on_line`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn new(on_line: OnLine) -> io::Result<Self> {
        let (last, queued) = (LastLines::default(), Arc::<AtomicUsize>::default());
        let (pieces, waiting) = mpsc::channel(WAITING_PIECES);
        let printer = Arc::new(Mutex::new(Printer::new(on_line, last.clone())));
        let printed = lines::print_all(printer, waiting, queued.clone())?;
        Ok(Self { streams: Default::default(), pieces, queued, last, printed })
    }

    /// The last lines of stderr, now and later.
    pub(crate) fn last(&self) -> LastLines {
        self.last.clone()
    }

    /// What is written from now on is for this work. An incomplete line of the work before ends here.
    pub(crate) async fn work_is(&mut self, source: Source, work: Option<Work>) {
        let stream = &mut self.streams[source as usize];
        let before = std::mem::replace(&mut stream.work, work);
        if before.is_some() && stream.is_within_line {
            stream.is_within_line = false;
            self.send(source, Piece { bytes: Vec::new(), work: before, ends_work: true, is_last: false })
                .await;
        }
    }

    /// Waits for room, so a worker that prints faster than its lines are stored waits too.
    pub(crate) async fn write(&mut self, source: Source, bytes: Vec<u8>) {
        let stream = &mut self.streams[source as usize];
        let Some(last) = bytes.last() else { return };
        stream.is_within_line = *last != b'\n';
        let work = stream.work.clone();
        self.send(source, Piece { bytes, work, ends_work: false, is_last: false }).await;
    }

    /// There is no more. Waits until all lines are out.
    pub(crate) async fn end(mut self) {
        for source in [Source::Stdout, Source::Stderr] {
            let work = self.streams[source as usize].work.take();
            self.send(source, Piece { bytes: Vec::new(), work, ends_work: false, is_last: true }).await;
        }
        drop(self.pieces);
        let _ = self.printed.await;
    }

    async fn send(&self, source: Source, piece: Piece) {
        self.queued.fetch_add(1, Ordering::AcqRel);
        // Fails if its thread has panicked.
        let _ = self.pieces.send((source, piece)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::Line;

    fn work(id: &str) -> Option<Work> {
        Some(Work { request_id: id.to_owned(), job_id: None })
    }

    #[tokio::test]
    async fn lines_are_of_the_work_that_their_stream_names() {
        let lines = Arc::<Mutex<Vec<(String, Option<String>)>>>::default();
        let sink = lines.clone();
        let on_line = Arc::new(move |Line { text, work, .. }| {
            sink.lock().push((text, work.map(|work: Work| work.request_id)));
        });
        let mut output = Carried::new(on_line).unwrap();
        let last = output.last();
        output.write(Source::Stdout, b"start\n".to_vec()).await;
        output.work_is(Source::Stdout, work("one")).await;
        output.write(Source::Stdout, b"a\nincom".to_vec()).await;
        output.write(Source::Stdout, b"plete".to_vec()).await;
        output.work_is(Source::Stdout, work("two")).await;
        output.write(Source::Stdout, b"b\n".to_vec()).await;
        output.work_is(Source::Stdout, None).await;
        output.write(Source::Stdout, b"rest".to_vec()).await;
        output.write(Source::Stderr, b"why\n".to_vec()).await;
        output.end().await;
        let told = |text: &str, work: Option<&str>| (text.to_owned(), work.map(str::to_owned));
        let mut lines = std::mem::take(&mut *lines.lock());
        // Streams are not ordered with each other.
        lines.sort_by_key(|(text, _)| text == "why");
        assert_eq!(
            lines,
            [
                told("start", None),
                told("a", Some("one")),
                told("incomplete", Some("one")),
                told("b", Some("two")),
                told("rest", None),
                told("why", None),
            ]
        );
        assert_eq!(last.lock().iter().cloned().collect::<Vec<_>>(), ["why"]);
    }
}

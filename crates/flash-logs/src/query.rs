//! Finds lines and follows the log.
//!
//! The end of the log is read once, at the start. The tail is everything before it, and following covers everything
//! after it, so nothing is lost in between. The last lines are found from the end, block by block, so the cost
//! depends on what is read and not on the size of the log. Only the position of the first is remembered.
use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    num::NonZeroUsize,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use tokio::sync::mpsc;

use super::{
    line_buffer::LineBuffer,
    record::{LogRecord, Record, micros},
    search::{LogQuery, SearchError, Tail},
    segment::{self, BLOCK, Position, Segment},
    select::Filter,
};

/// Lines that a query has found.
pub type Records = BoxStream<'static, io::Result<LogRecord>>;

/// Lines handed over at once, and their bytes.
const BATCH_LINES: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;
/// Batches that wait for a slow reader.
const BATCHES: usize = 4;
/// The interval of checks whether the reader is still there.
const ABANDONED_LOOK: Duration = Duration::from_millis(500);
/// A clock that was set back by less than this hides no lines.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);
const READ_BUFFER: usize = 256 * 1024;

type Batch = io::Result<Vec<LogRecord>>;

/// Why a thread stops before it has read all.
enum Stop {
    /// The reader has gone away.
    Abandoned,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Starts the thread of a query.
pub(super) fn start(
    buffer: Arc<LineBuffer>,
    directory: PathBuf,
    query: &LogQuery,
) -> Result<Records, SearchError> {
    let filter = Filter::new(&query.select)?;
    let (batches, found) = mpsc::channel::<Batch>(BATCHES);
    let (tail, follow) = (query.tail, query.follow);
    let failed = batches.clone();
    let mut reader = Reader { directory, filter, batch: Vec::new(), batch_bytes: 0, batches };
    let run = move || {
        if let Err(Stop::Failed(error)) = reader.run(&buffer, tail, follow) {
            // A reader that has gone away does not need it.
            let _ = reader.batches.blocking_send(Err(error));
        }
    };
    // Ends when the stream is dropped, soon after.
    if let Err(error) = std::thread::Builder::new().name("flash-log-query".to_owned()).spawn(run) {
        let _ = failed.try_send(Err(error));
    }
    drop(failed);
    let batches = stream::unfold(found, async |mut found| Some((found.recv().await?, found)));
    let records = batches.flat_map(|batch| {
        stream::iter(match batch {
            Ok(records) => records.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    });
    Ok(records.boxed())
}

struct Reader {
    directory: PathBuf,
    filter: Filter,
    batch: Vec<LogRecord>,
    batch_bytes: usize,
    batches: mpsc::Sender<Batch>,
}

impl Reader {
    fn run(&mut self, buffer: &LineBuffer, tail: Tail, follow: bool) -> Result<(), Stop> {
        let end = buffer.settle().end;
        let segments = segment::list(&self.directory)?;
        self.learn_hops(&segments, end)?;
        let mut at = match tail {
            Tail::All => self.beginning(&segments, end),
            Tail::Last(count) => self.place_of_last(count, &segments, end)?,
            Tail::Nothing => end,
        };
        self.give(&mut at, end)?;
        if !follow {
            return Ok(());
        }
        self.filter.goes_on();
        loop {
            let written = buffer.wait_beyond(at, ABANDONED_LOOK);
            self.give(&mut at, written.end)?;
            if self.batches.is_closed() {
                return Err(Stop::Abandoned);
            }
            if written.closed {
                return Ok(());
            }
        }
    }

    /// Finds out where a job ran before returning lines, because its first lines may not contain it.
    fn learn_hops(&mut self, segments: &[Segment], end: Position) -> Result<(), Stop> {
        let Some(needle) = self.filter.job_needle() else { return Ok(()) };
        let mut at = self.beginning(segments, end);
        let (directory, batches) = (self.directory.clone(), self.batches.clone());
        read(&directory, &mut at, end, |line| {
            if needle.is_match(line)
                && let Some(record) = Record::parse(line)
            {
                self.filter.learn(&record);
            }
            if batches.is_closed() { Err(Stop::Abandoned) } else { Ok(()) }
        })?;
        self.filter.learned();
        Ok(())
    }

    /// The oldest line that may match.
    fn beginning(&self, segments: &[Segment], end: Position) -> Position {
        let first = segments.iter().find(|segment| !self.is_before(segment));
        first.map_or(end, |segment| Position::beginning_of(segment.number)).min(end)
    }

    /// Whether all of its lines are too old.
    fn is_before(&self, segment: &Segment) -> bool {
        let latest = segment.last_write.checked_add(CLOCK_SLACK).unwrap_or_else(SystemTime::now);
        self.filter.since_us().is_some_and(|since| micros(latest) < since)
    }

    /// The position where the last N matching lines begin.
    fn place_of_last(
        &mut self,
        count: NonZeroUsize,
        segments: &[Segment],
        end: Position,
    ) -> Result<Position, Stop> {
        let mut left = count.get();
        let mut place = end;
        for segment in segments.iter().rev().filter(|segment| segment.number <= end.segment) {
            if self.is_before(segment) {
                break;
            }
            let bytes = if segment.number == end.segment { end.offset } else { segment.bytes };
            match self.count_back(segment.number, bytes, &mut left) {
                Ok(Some(offset)) => return Ok(Position { segment: segment.number, offset }),
                Ok(None) => place = Position::beginning_of(segment.number),
                // So are all before it.
                Err(Stop::Failed(error)) if error.kind() == io::ErrorKind::NotFound => break,
                Err(stop) => return Err(stop),
            }
        }
        Ok(place)
    }

    /// Counts matching lines backwards from the end of a segment; returns the position of the last one that is
    /// `left`.
    fn count_back(&mut self, number: u64, bytes: u64, left: &mut usize) -> Result<Option<u64>, Stop> {
        let file = File::open(segment::path(&self.directory, number))?;
        let mut unread = bytes;
        // The end of a line whose beginning is in the block before.
        let mut rest: Vec<u8> = Vec::new();
        while unread > 0 {
            if self.batches.is_closed() {
                return Err(Stop::Abandoned);
            }
            let start = unread.saturating_sub(BLOCK as u64);
            let mut block = vec![0; usize::try_from(unread - start).unwrap_or(BLOCK)];
            file.read_exact_at(&mut block, start)?;
            block.append(&mut rest);
            let whole = match (start, block.iter().position(|byte| *byte == b'\n')) {
                (0, _) => 0,
                (_, Some(end)) if end + 1 < block.len() => end + 1,
                _ => block.len(),
            };
            let mut line_end = block.len();
            while line_end > whole {
                let before = block[whole..line_end - 1].iter().rposition(|byte| *byte == b'\n');
                let line_start = before.map_or(whole, |end| whole + end + 1);
                if self.filter.pass(&block[line_start..line_end]).is_some() {
                    *left -= 1;
                    if *left == 0 {
                        return Ok(Some(start + line_start as u64));
                    }
                }
                line_end = line_start;
            }
            block.truncate(whole);
            rest = block;
            unread = start;
        }
        Ok(None)
    }

    /// Returns matching lines in this range.
    fn give(&mut self, at: &mut Position, end: Position) -> Result<(), Stop> {
        let directory = self.directory.clone();
        read(&directory, at, end, |line| {
            if let Some(record) = self.filter.pass(line) {
                self.batch_bytes += line.len();
                self.batch.push(record.into_owned());
                if self.batch.len() >= BATCH_LINES || self.batch_bytes >= BATCH_BYTES {
                    return self.hand_over();
                }
            }
            if self.batches.is_closed() { Err(Stop::Abandoned) } else { Ok(()) }
        })?;
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<(), Stop> {
        self.batch_bytes = 0;
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.batches.blocking_send(Ok(batch)).map_err(|_| Stop::Abandoned)
    }
}

/// Reads complete lines in this range, across segments. Segments that were deleted meanwhile are skipped.
fn read(
    directory: &std::path::Path,
    at: &mut Position,
    end: Position,
    mut each: impl FnMut(&[u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    while *at < end {
        let is_last = at.segment == end.segment;
        match File::open(segment::path(directory, at.segment)) {
            Ok(mut file) => {
                // Only the last segment is still written; older ones end where their file ends.
                let bytes = if is_last { end.offset - at.offset } else { u64::MAX };
                file.seek(SeekFrom::Start(at.offset))?;
                read_lines(&mut BufReader::with_capacity(READ_BUFFER, file.take(bytes)), &mut each)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_last => {}
            Err(error) => return Err(error.into()),
        }
        *at = if is_last { end } else { Position::beginning_of(at.segment + 1) };
    }
    Ok(())
}

fn read_lines(
    lines: &mut impl io::BufRead,
    each: &mut impl FnMut(&[u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        each(&line)?;
        line.clear();
    }
    Ok(())
}

//! The writer thread: writes segments one after the other, deletes the oldest, and retries after disk errors.
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{
    limits::LogLimits,
    line::LogStream,
    line_buffer::LineBuffer,
    record::{Record, micros},
    segment::{self, Position, Segment},
};

/// Between two looks at the age of segments.
const TICK: Duration = Duration::from_secs(60);
/// Collects single lines and writes them together, because one write per line would use all of the machine's time.
const GATHERING: Duration = Duration::from_millis(10);
/// Lines enough for a write.
const ENOUGH: usize = 64 * 1024;
/// The pause between two attempts after a disk error.
const RETRY: Duration = Duration::from_millis(250);
/// Frees a buffer that a burst has enlarged.
const KEPT_CAPACITY: usize = 4 << 20;

type Write = Box<dyn FnMut(&mut File, &[u8]) -> io::Result<usize> + Send>;
type Clock = Box<dyn Fn() -> SystemTime + Send>;
type Lived = Box<dyn Fn() -> Duration + Send>;

/// The machine's services that the writer uses.
pub(super) struct SystemServices {
    pub clock: Clock,
    /// How long it has had them.
    pub lived: Lived,
    pub write: Write,
}

/// A wrong clock at boot is corrected soon. Until then, nothing is deleted because of its age.
const TRUSTED_AFTER: Duration = Duration::from_secs(60 * 60);

impl Default for SystemServices {
    fn default() -> Self {
        let since = Instant::now();
        Self {
            clock: Box::new(SystemTime::now),
            lived: Box::new(move || since.elapsed()),
            write: Box::new(|file, bytes| file.write(bytes)),
        }
    }
}

/// When the age of segments is looked at: every [`TICK`], however many lines come.
struct AgeChecks {
    next: Instant,
}

impl AgeChecks {
    fn from(now: Instant) -> Self {
        Self { next: now + TICK }
    }

    /// How long until the next one.
    fn left(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Whether it is time, and if so, sets the next time one tick later.
    fn are_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            *self = Self::from(now);
        }
        due
    }
}

/// See the module.
pub(super) struct Writer {
    directory: PathBuf,
    limits: LogLimits,
    services: SystemServices,
    buffer: Arc<LineBuffer>,
    /// Before the one that is written, the oldest first.
    older: VecDeque<Segment>,
    current: Segment,
    file: File,
    /// The end of the last complete line of the current segment.
    whole: u64,
}

impl Writer {
    /// Finds the last segment, removes an incomplete line, and deletes old segments.
    pub(super) fn open(
        directory: &Path,
        limits: LogLimits,
        services: SystemServices,
        buffer: Arc<LineBuffer>,
    ) -> io::Result<Self> {
        let mut older = VecDeque::from(segment::list(directory)?);
        let (current, file) = match older.pop_back() {
            Some(last) => {
                let (file, bytes) = segment::reopen(directory, last.number)?;
                (Segment { bytes, ..last }, file)
            }
            None => {
                let current = Segment { number: 1, bytes: 0, last_write: (services.clock)() };
                (current, segment::create(directory, current.number)?)
            }
        };
        let whole = current.bytes;
        let mut writer =
            Self { directory: directory.to_owned(), limits, services, buffer, older, current, file, whole };
        writer.forget_old();
        writer.tell_end();
        Ok(writer)
    }

    /// Writes until the store is closed.
    pub(super) fn run(mut self) {
        let mut lines = Vec::new();
        let mut checks = AgeChecks::from(Instant::now());
        loop {
            if checks.are_due(Instant::now()) {
                self.forget_old();
            }
            lines.clear();
            lines.shrink_to(KEPT_CAPACITY);
            let Some(taken) = self.buffer.take(&mut lines, checks.left(Instant::now())) else { break };
            if let Some((count, cause)) = taken.lost {
                self.note_loss(count, &cause, &mut lines);
            }
            if lines.is_empty() {
                continue;
            }
            if !self.write_all(&lines) {
                break;
            }
            self.buffer.settled(taken.accepted);
            if lines.len() < ENOUGH {
                thread::sleep(GATHERING);
            }
        }
        self.buffer.ended();
    }

    /// Writes all of it, with retries as long as the disk fails. `false` if the store is closed meanwhile.
    fn write_all(&mut self, lines: &[u8]) -> bool {
        let mut rest = lines;
        let mut in_time = true;
        while !rest.is_empty() {
            match self.write_some(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if !in_time => return false,
                // Once more at the end: there may be room by now.
                Err(error) => in_time = self.buffer.failed(&error.to_string(), RETRY),
            }
        }
        true
    }

    /// Writes as many complete lines as the segment has room for, and at least one.
    fn write_some(&mut self, lines: &[u8]) -> io::Result<usize> {
        let is_between_lines = self.whole == self.current.bytes;
        if is_between_lines && self.current.bytes > 0 && self.room() < first_line(lines) as u64 {
            self.begin_segment()?;
        }
        let room = usize::try_from(self.room()).unwrap_or(usize::MAX);
        let chunk = match lines.get(..room) {
            None => lines,
            Some(fits) => match fits.iter().rposition(|byte| *byte == b'\n') {
                Some(last) => &lines[..=last],
                None => &lines[..first_line(lines)],
            },
        };
        let count = (self.services.write)(&mut self.file, chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if let Some(last) = chunk[..count].iter().rposition(|byte| *byte == b'\n') {
            self.whole = self.current.bytes + last as u64 + 1;
        }
        self.current.bytes += count as u64;
        self.current.last_write = (self.services.clock)();
        self.tell_end();
        Ok(count)
    }

    fn room(&self) -> u64 {
        self.limits.segment_bytes.saturating_sub(self.current.bytes)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.current.number + 1;
        self.file = segment::create(&self.directory, number)?;
        let next = Segment { number, bytes: 0, last_write: (self.services.clock)() };
        self.older.push_back(std::mem::replace(&mut self.current, next));
        self.whole = 0;
        self.tell_end();
        self.delete_beyond_limits();
        Ok(())
    }

    /// Deletes segments without new lines for too long, including the current one.
    fn forget_old(&mut self) {
        let is_between_lines = self.whole == self.current.bytes;
        if is_between_lines && self.current.bytes > 0 && self.is_old(&self.current) {
            // If the disk fails, it stays until the disk recovers.
            let _ = self.begin_segment();
        }
        self.delete_beyond_limits();
    }

    fn is_old(&self, segment: &Segment) -> bool {
        let age = (self.services.clock)().duration_since(segment.last_write);
        (self.services.lived)() >= TRUSTED_AFTER && age.is_ok_and(|age| age > self.limits.age)
    }

    fn delete_beyond_limits(&mut self) {
        // The current segment counts with its full size.
        let current = self.current.bytes.max(self.limits.segment_bytes);
        let mut total = self.older.iter().map(|segment| segment.bytes).sum::<u64>() + current;
        while let Some(oldest) = self.older.front()
            && (total > self.limits.total_bytes || self.is_old(oldest))
        {
            match fs::remove_file(segment::path(&self.directory, oldest.number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return,
                _ => {}
            }
            total -= oldest.bytes;
            self.older.pop_front();
        }
    }

    fn note_loss(&self, count: u64, cause: &str, lines: &mut Vec<u8>) {
        let said = if count == 1 { "1 line was lost".to_owned() } else { format!("{count} lines were lost") };
        let text = format!("{said}: {cause}");
        Record {
            time_us: micros((self.services.clock)()),
            release: None,
            worker_type: "platform".into(),
            worker: None,
            request_id: None,
            job_id: None,
            span: None,
            stream: LogStream::System,
            level: Some("ERROR".into()),
            text: text.into(),
        }
        .write(lines);
    }

    fn tell_end(&self) {
        self.buffer.moved(Position { segment: self.current.number, offset: self.whole });
    }
}

/// Bytes of the first line.
fn first_line(lines: &[u8]) -> usize {
    lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_looked_at_every_tick_however_often_lines_come() {
        let start = Instant::now();
        let mut checks = AgeChecks::from(start);
        let due = (0..=180).filter(|second| checks.are_due(start + Duration::from_secs(*second)));
        assert_eq!(due.collect::<Vec<_>>(), [60, 120, 180]);
        assert_eq!(checks.left(start + Duration::from_secs(200)), Duration::from_secs(40));
        assert_eq!(checks.left(start + Duration::from_secs(300)), Duration::ZERO);
    }
}

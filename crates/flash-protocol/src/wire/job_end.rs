//! The log line in which a worker reports the end of a job, if the Flash platform does not. It is parsed to estimate
//! the cost of calls.
use std::time::Duration;

use super::job::JobStatus;

/// A regular expression for such lines.
pub const PATTERN: &str = r"^\S+ (COMPLETED|FAILED) in [0-9.]+ ms";

/// Writes the line, such as `crunch COMPLETED in 1.97 ms`.
pub fn text(function: &str, status: JobStatus, ran: Duration) -> String {
    format!("{function} {} in {:.2} ms", status.as_str(), ran.as_secs_f64() * 1000.0)
}

/// The same of a job that ran in a batch, with its share of that time, by which it is charged: `crunch COMPLETED in 12.30 ms
/// (3.10 ms of a batch of 4)`.
pub fn text_in_batch(function: &str, status: JobStatus, ran: Duration, share: Duration, size: u32) -> String {
    let share = share.as_secs_f64() * 1000.0;
    format!("{} ({share:.3} ms of a batch of {size})", text(function, status, ran))
}

/// The function and the seconds that it is charged for: those that it ran, or its share of a batch; `None` for any other line.
pub fn read(line: &str) -> Option<(&str, f64)> {
    let (function, rest) = line.split_once(' ')?;
    let time = rest.strip_prefix("COMPLETED in ").or_else(|| rest.strip_prefix("FAILED in "))?;
    let (ran, rest) = time.split_once(" ms")?;
    let share = rest.strip_prefix(" (").and_then(|rest| rest.split_once(" ms of a batch of "));
    let milliseconds: f64 = share.map_or(ran, |(share, _)| share).parse().ok()?;
    (milliseconds.is_finite() && milliseconds >= 0.0).then_some((function, milliseconds / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let line = text("Sentiment::classify", JobStatus::Completed, Duration::from_micros(1_970));
        assert_eq!(line, "Sentiment::classify COMPLETED in 1.97 ms");
        assert_eq!(read(&line), Some(("Sentiment::classify", 0.001_97)));
        let failed = format!("{}: no such file", text("load", JobStatus::Failed, Duration::from_secs(2)));
        assert_eq!(read(&failed), Some(("load", 2.0)));
        let (ran, share) = (Duration::from_micros(12_300), Duration::from_micros(3_100));
        let line = text_in_batch("embed", JobStatus::Completed, ran, share, 4);
        assert_eq!(line, "embed COMPLETED in 12.30 ms (3.100 ms of a batch of 4)");
        assert_eq!(read(&line), Some(("embed", 0.0031)));
        for other in
            ["", "x", "x COMPLETED", "x COMPLETED in soon ms", "x COMPLETED in -1 ms", "x DONE in 1 ms"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}

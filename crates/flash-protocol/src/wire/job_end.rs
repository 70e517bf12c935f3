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

/// The function and the seconds that it ran; `None` for any other line.
pub fn read(line: &str) -> Option<(&str, f64)> {
    let (function, rest) = line.split_once(' ')?;
    let time = rest.strip_prefix("COMPLETED in ").or_else(|| rest.strip_prefix("FAILED in "))?;
    let milliseconds: f64 = time.split_once(" ms")?.0.parse().ok()?;
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
        for other in
            ["", "x", "x COMPLETED", "x COMPLETED in soon ms", "x COMPLETED in -1 ms", "x DONE in 1 ms"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}

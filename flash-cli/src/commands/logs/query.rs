//! Turns the arguments into a query. Rejects contradictions before anything is sent.
use std::num::NonZeroUsize;

use flash_target::{LogQuery, Selected, Tail, compile_search};
use jiff::{Timestamp, tz::TimeZone};

use super::arguments::LogsArguments;
use crate::{commands::time, exit::Failure};

/// The default number of lines.
const DEFAULT_LINES: NonZeroUsize = NonZeroUsize::new(100).expect("not 0");

/// The query. Errors are one line: what is wrong and what to do.
///
/// # Errors
/// When arguments contradict each other, and for an invalid time or regular expression.
pub(super) fn query(arguments: &LogsArguments, now: Timestamp, zone: &TimeZone) -> Result<LogQuery, Failure> {
    let at = |flag: &str, text: &Option<String>| {
        text.as_deref().map(|text| time::parse(flag, text, now, zone)).transpose()
    };
    if arguments.until.is_some() && arguments.follow {
        return Err(Failure::unusable("--until and --follow cannot be combined: leave one of them out"));
    }
    let (since, until) = (at("--since", &arguments.since)?, at("--until", &arguments.until)?);
    if since.is_some_and(|since| since > now) {
        return Err(Failure::unusable(
            "--since is in the future: give a past time, or --follow to see new lines",
        ));
    }
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        return Err(Failure::unusable("--since is not before --until, so no line can match: swap them"));
    }
    if let Some(search) = &arguments.search {
        compile_search(search).map_err(|error| {
            Failure::unusable(format!("{error}; write `\\` before a character to match it literally"))
        })?;
    }
    let select = Selected {
        worker: arguments.worker.clone(),
        request: arguments.request.clone(),
        job: arguments.job.clone(),
        release: arguments.release.map(Into::into),
        since_us: since.map(time::micros),
        until_us: until.map(time::micros),
        search: arguments.search.clone(),
        level: arguments.level,
        streams: arguments.stream.clone(),
    };
    Ok(LogQuery { tail: tail(arguments, &select)?, select, follow: arguments.follow })
}

fn tail(arguments: &LogsArguments, select: &Selected) -> Result<Tail, Failure> {
    let is_bounded = select.since_us.is_some() || select.request.is_some() || select.job.is_some();
    match arguments.lines.map(NonZeroUsize::new) {
        Some(Some(lines)) => Ok(Tail::Last(lines)),
        Some(None) if arguments.follow => Ok(Tail::Nothing),
        Some(None) => Err(Failure::unusable(
            "-n 0 shows no lines: add --follow to see new lines, or ask for at least one line",
        )),
        None if is_bounded => Ok(Tail::All),
        None => Ok(Tail::Last(DEFAULT_LINES)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use flash_target::{LogLevel, LogStream};

    use super::*;
    use crate::exit::FailureCode;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        logs: LogsArguments,
    }

    fn asked(arguments: &str) -> Result<LogQuery, Failure> {
        let words = std::iter::once("logs").chain(arguments.split_whitespace());
        let line = Line::try_parse_from(words).unwrap();
        query(&line.logs, "2026-11-23T12:00:00Z".parse().unwrap(), &TimeZone::UTC)
    }

    #[test]
    fn how_many_lines_follows_from_what_is_asked() {
        let tail = |arguments| asked(arguments).unwrap().tail;
        assert_eq!(tail("production"), Tail::Last(DEFAULT_LINES));
        assert_eq!(tail("production -f"), Tail::Last(DEFAULT_LINES));
        for all in ["--since 10m", "--request r1", "--job j1", "--since 1h -f"] {
            assert_eq!(tail(all), Tail::All, "{all}");
        }
        assert_eq!(tail("--since 10m -n 5"), Tail::Last(NonZeroUsize::new(5).unwrap()));
        assert_eq!(tail("-f -n 0"), Tail::Nothing);
    }

    #[test]
    fn every_flag_is_in_the_query() {
        let query = asked(
            "production --worker gpu --release 3 --since 2h --until 1h --search a+ --level warn --stream stdout \
             --stream system",
        );
        let hour = 3_600_000_000;
        let noon = time::micros("2026-11-23T12:00:00Z".parse().unwrap());
        let select = Selected {
            worker: Some("gpu".into()),
            release: Some(3),
            since_us: Some(noon - 2 * hour),
            until_us: Some(noon - hour),
            search: Some("a+".into()),
            level: Some(LogLevel::Warn),
            streams: vec![LogStream::Stdout, LogStream::System],
            ..Selected::default()
        };
        assert_eq!(query.unwrap(), LogQuery { select, tail: Tail::All, follow: false });
    }

    #[test]
    fn contradictions_are_refused_in_one_line() {
        let cases = [
            ("-f --until 1h", "--until and --follow cannot be combined"),
            ("--since 1h --until 2h", "--since is not before --until"),
            ("--since 2026-11-23T12:00:01Z", "--since is in the future"),
            ("-n 0", "-n 0 shows no line"),
            (
                "--search a(b",
                "the search `a(b` is not a valid regular expression: unclosed group at character 2",
            ),
            ("--since yesterday", "`--since yesterday` is not a valid time: write 90s"),
        ];
        for (arguments, refusal) in cases {
            let failure = asked(arguments).unwrap_err();
            assert_eq!(failure.code, FailureCode::Unusable, "{arguments}");
            assert!(failure.to_string().starts_with(refusal), "{failure}");
            assert_eq!(failure.to_string().lines().count(), 1, "{failure}");
        }
    }
}

//! Which tests took longest, from the report that cargo-nextest leaves.
use std::{fs::File, io::BufReader, path::Path, time::Duration};

use quick_junit::Report;

use crate::{failure::Failure, output, steps};

/// How many are listed.
const LISTED: usize = 10;

/// Prints the slowest tests of a run, and how long all of them took together.
///
/// # Errors
/// When the report cannot be read.
pub(crate) fn print(report: &Path) -> Result<(), Failure> {
    let file = File::open(report).map_err(Failure::at(report.display()))?;
    let report = Report::deserialize(BufReader::new(file)).map_err(Failure::at(report.display()))?;
    let (slowest, total) = slowest(&report);
    output::say("Slowest", &format!("tests, of {} of test time:", steps::text(total)));
    for (name, took) in slowest {
        output::say(&steps::text(took), &name);
    }
    Ok(())
}

/// The slowest tests, the slowest first, and the time of all.
fn slowest(report: &Report) -> (Vec<(String, Duration)>, Duration) {
    let cases = report
        .test_suites
        .iter()
        .flat_map(|suite| suite.test_cases.iter().map(move |case| (&suite.name, case)));
    let mut timed: Vec<(String, Duration)> = cases
        .map(|(suite, case)| {
            (format!("{} {}", suite.as_str(), case.name.as_str()), case.time.unwrap_or_default())
        })
        .collect();
    let total = timed.iter().map(|(_, took)| *took).sum();
    timed.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    timed.truncate(LISTED);
    (timed, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_tests_come_first() {
        let case = |number: usize| {
            format!("<testcase name=\"t{number}\" classname=\"a\" time=\"{number}.500\"></testcase>")
        };
        let cases: String = (1..=12).map(case).collect();
        let text = format!(
            "<testsuites name=\"run\" tests=\"12\" failures=\"0\" errors=\"0\" time=\"9.0\">\
             <testsuite name=\"app::it\" tests=\"12\" disabled=\"0\" errors=\"0\" failures=\"0\">{cases}\
             </testsuite></testsuites>"
        );
        let (slowest, total) = slowest(&Report::deserialize_from_str(&text).unwrap());
        let expected: Vec<String> = (3..=12).rev().map(|number| format!("app::it t{number}")).collect();
        assert_eq!(slowest.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), expected);
        assert_eq!((slowest[0].1, total), (Duration::from_millis(12_500), Duration::from_secs(84)));
    }
}

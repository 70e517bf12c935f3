//! Which tests took longest, from the report that cargo-nextest leaves.
use std::{fs::File, io::BufReader, path::Path, time::Duration};

use quick_junit::{Report, TestCase, TestSuite};

use crate::{failure::Failure, output, steps};

/// How many are listed.
const LISTED: usize = 10;

/// What each test of a run took.
///
/// # Errors
/// When the report cannot be read.
pub(crate) fn times(report: &Path) -> Result<Vec<(String, Duration)>, Failure> {
    let file = File::open(report).map_err(Failure::at(report.display()))?;
    let read = Report::deserialize(BufReader::new(file)).map_err(Failure::at(report.display()))?;
    Ok(of_report(&read))
}

fn of_report(report: &Report) -> Vec<(String, Duration)> {
    let of_suite = |suite: &TestSuite| {
        let name = |case: &TestCase| format!("{} {}", suite.name.as_str(), case.name.as_str());
        suite.test_cases.iter().map(|case| (name(case), case.time.unwrap_or_default())).collect::<Vec<_>>()
    };
    report.test_suites.iter().flat_map(of_suite).collect()
}

/// Prints the slowest tests, and how long all of them took together. Nothing, if there are none.
pub(crate) fn print(times: Vec<(String, Duration)>) {
    let total: Duration = times.iter().map(|(_, took)| *took).sum();
    if times.is_empty() {
        return;
    }
    output::say("Slowest", &format!("of {} of test time:", steps::text(total)));
    for (name, took) in slowest(times) {
        output::say(&steps::text(took), &name);
    }
}

fn slowest(mut times: Vec<(String, Duration)>) -> Vec<(String, Duration)> {
    times.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    times.truncate(LISTED);
    times
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
        let times = of_report(&Report::deserialize_from_str(&text).unwrap());
        assert_eq!(times.len(), 12);
        let slowest = slowest(times);
        let expected: Vec<String> = (3..=12).rev().map(|number| format!("app::it t{number}")).collect();
        assert_eq!(slowest.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), expected);
        assert_eq!(slowest[0].1, Duration::from_millis(12_500));
    }
}

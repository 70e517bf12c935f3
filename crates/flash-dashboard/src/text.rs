//! Numbers, times and amounts as people read them.
use std::time::Duration;

use jiff::Timestamp;

/// `$0.000120`, `$1.25`: as many digits as say something. Less than a millionth is not told apart.
pub(crate) fn dollars(nano: u64) -> String {
    let dollars = nano as f64 / 1e9;
    match nano {
        0 => "$0".to_owned(),
        1..1000 => "< $0.000001".to_owned(),
        1000..10_000_000 => format!("${dollars:.6}"),
        10_000_000..1_000_000_000 => format!("${dollars:.4}"),
        1_000_000_000.. => format!("${dollars:.2}"),
    }
}

/// `0.03 cores`, `1.00 core`.
pub(crate) fn cores(cores: f64) -> String {
    let text = format!("{cores:.2}");
    let word = if text == "1.00" { "core" } else { "cores" };
    format!("{text} {word}")
}

/// `312 KB`, `45.3 MB`, `2.10 GB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let amount = bytes as f64;
    match bytes {
        0..1_000_000 => format!("{:.0} KB", amount / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", amount / 1e6),
        1_000_000_000.. => format!("{:.2} GB", amount / 1e9),
    }
}

/// `850 µs`, `12.3 ms`, `4.20 s`, `3 min 5 s`, `2 h 4 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_secs() {
        0 if seconds < 0.001 => format!("{} µs", time.as_micros()),
        0 if seconds < 0.1 => format!("{:.1} ms", seconds * 1e3),
        0 => format!("{:.0} ms", seconds * 1e3),
        1..60 => format!("{seconds:.2} s"),
        whole @ 60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        whole @ 3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        whole => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// How long ago a time was, roughly: `12 s ago`.
pub(crate) fn ago(now_ms: u64, then_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// A time for machines, in UTC: `2026-11-29T16:25:00.123Z`. Empty for one beyond the year 9999.
pub(crate) fn machine_time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).unwrap_or_default()
}

/// A time of day in UTC, for browsers without scripts: `16:25:00 UTC`. The script writes the local time instead.
pub(crate) fn clock(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map(|time| time.strftime("%H:%M:%S UTC").to_string()).unwrap_or_default()
}

/// A day in UTC: `2026-11-29`.
pub(crate) fn day(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map(|time| time.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate per second: `0`, `0.05`, `3.2`, `120`.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 1.0 => format!("{rate:.2}"),
        rate if rate < 100.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

/// The beginning of an identifier that Flash or a client made; short ones whole.
pub(crate) fn short(identifier: &str) -> String {
    match identifier.char_indices().nth(13) {
        Some((at, _)) if identifier.chars().count() > 16 => format!("{}…", &identifier[..at]),
        _ => identifier.to_owned(),
    }
}

/// `1 job`, `2 jobs`.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(number as u64), if number == 1 { one } else { many })
}

/// A value for the query of an address.
pub(crate) fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte))
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_digits_that_say_something() {
        let amounts = [0, 120, 1_500_000, 12_000_000, 1_250_000_000].map(dollars);
        assert_eq!(amounts, ["$0", "< $0.000001", "$0.001500", "$0.0120", "$1.25"]);
    }

    #[test]
    fn times_are_in_the_unit_that_fits() {
        let times = [850, 12_345, 240_000, 4_200_000, 185_000_000, 7_440_000_000, 180_000_000_000];
        let shown = times.map(|micros| duration(Duration::from_micros(micros)));
        assert_eq!(shown, ["850 µs", "12.3 ms", "240 ms", "4.20 s", "3 min 5 s", "2 h 4 min", "2 d 2 h"]);
        assert_eq!(machine_time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(clock(1_700_000_000_123), "22:13:20 UTC");
        assert_eq!(day(1_700_000_000_123), "2023-11-14");
        assert_eq!((machine_time(u64::MAX), clock(u64::MAX)), (String::new(), String::new()));
        let passed = [0, 61_000, 7_200_000, 200_000_000].map(|ms| ago(ms, 0));
        assert_eq!(passed, ["0 s ago", "1 min ago", "2 h ago", "2 d ago"]);
    }

    #[test]
    fn what_a_worker_takes_is_in_the_unit_that_fits() {
        assert_eq!(
            [0.0, 0.034, 1.0, 2.5].map(cores),
            ["0.00 cores", "0.03 cores", "1.00 core", "2.50 cores"]
        );
        assert_eq!([312_000, 45_300_000, 2_100_000_000].map(bytes), ["312 KB", "45.3 MB", "2.10 GB"]);
    }

    #[test]
    fn numbers_are_grouped_and_identifiers_cut_at_a_character() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.05, 3.21, 120.4].map(rate), ["0", "0.05", "3.2", "120"]);
        assert_eq!(short(&"é".repeat(40)), format!("{}…", "é".repeat(13)));
        assert_eq!(short("pipeline-7"), "pipeline-7");
        assert_eq!((counted(1, "job", "jobs"), counted(2, "job", "jobs")), ("1 job".into(), "2 jobs".into()));
        assert_eq!(encoded("a b/é&"), "a%20b%2F%C3%A9%26");
    }
}

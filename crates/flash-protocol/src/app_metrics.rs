//! Metrics of an app's own, on their way from a worker to its platform.
use serde::{Deserialize, Serialize};

/// The bounds of the classes of an app's histograms, whatever they measure. The last class has no bound.
pub const HISTOGRAM_BOUNDS: [f64; 22] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0,
    500.0, 1000.0, 2500.0, 5000.0, 10000.0,
];

/// Bytes of a name, of a help text, and of a label and its value.
const MAX_NAME: usize = 128;
/// Labels of a series.
const MAX_LABELS: usize = 8;
/// Names that begin like this are those of the platform.
const TAKEN: [&str; 2] = ["flash_", "process_"];

/// One series of an app, as a worker reports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppSeries {
    /// Its identity.
    pub id: SeriesId,
    /// What it counts, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// Its value, or by how much it grew since the last report.
    pub value: AppValue,
}

/// What tells a series from others: its name, and its labels in order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesId {
    /// In Prometheus' form, without the `_total` of counters.
    pub name: String,
    /// Names and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
}

/// The value of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppValue {
    /// By how much it grew.
    Counter(u64),
    /// What it is now. A number: JSON has nothing else.
    Gauge(f64),
    /// What was added.
    Histogram(AppHistogram),
}

/// Values by their size.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AppHistogram {
    /// Of all values.
    pub sum: f64,
    /// How many are in each class of [`HISTOGRAM_BOUNDS`], and at last how many in none.
    pub counts: Vec<u64>,
}

impl AppHistogram {
    /// Adds a value. NaN and infinite ones are left out.
    pub fn record(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.counts.resize(HISTOGRAM_BOUNDS.len() + 1, 0);
        let class = HISTOGRAM_BOUNDS.partition_point(|bound| *bound < value);
        self.counts[class] = self.counts[class].saturating_add(1);
        self.sum += value;
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        self.counts.resize(HISTOGRAM_BOUNDS.len() + 1, 0);
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own = own.saturating_add(*more);
        }
        let sum = self.sum + other.sum;
        self.sum = if sum.is_finite() { sum } else { self.sum };
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Each bound with the number of values above the one before it. The last bound is infinite.
    pub fn classes(&self) -> Vec<(f64, u64)> {
        let bounds = HISTOGRAM_BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied().chain(std::iter::repeat(0))).collect()
    }
}

impl SeriesId {
    /// In Prometheus' form: other characters than letters, digits and `_` become `_`, a counter loses its `_total`, and
    /// labels that the platform gives itself begin with `exported_`.
    ///
    /// # Errors
    /// Why there cannot be such a series.
    pub fn of<'a>(
        name: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, &'static str> {
        let name = in_form(name.strip_suffix("_total").unwrap_or(name));
        let mut labels: Vec<(String, String)> =
            labels.into_iter().map(|(label, value)| (label_of(label), value.to_owned())).collect();
        labels.sort_unstable();
        let id = Self { name, labels };
        id.check()?;
        Ok(id)
    }

    /// Whether there can be such a series.
    ///
    /// # Errors
    /// Why there cannot.
    pub fn check(&self) -> Result<(), &'static str> {
        let Self { name, labels } = self;
        let is_name = |text: &str| {
            !text.is_empty()
                && !text.starts_with(|first: char| first.is_ascii_digit())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let is_long = |text: &String| text.len() > MAX_NAME;
        if !is_name(name) || labels.iter().any(|(label, _)| !is_name(label)) {
            return Err("its name or a label is empty or begins with a digit");
        }
        if TAKEN.iter().any(|taken| name.starts_with(taken)) {
            return Err("names with `flash_` and `process_` are those of the platform");
        }
        if labels.len() > MAX_LABELS {
            return Err("it has more than 8 labels");
        }
        if is_long(name) || labels.iter().any(|(label, value)| is_long(label) || is_long(value)) {
            return Err("its name, a label or a value has more than 128 bytes");
        }
        if labels.windows(2).any(|two| two[0].0 >= two[1].0) {
            return Err("it has a label twice");
        }
        Ok(())
    }
}

/// A help text of a length that is allowed, in one line.
pub fn help_of(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line[..line.floor_char_boundary(MAX_NAME)].to_owned()
}

fn in_form(name: &str) -> String {
    name.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect()
}

fn label_of(name: &str) -> String {
    match in_form(name).as_str() {
        own @ ("worker_type" | "worker" | "le") => format!("exported_{own}"),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_the_form_of_prometheus() {
        let id = SeriesId::of("orders.paid_total", [("worker", "w"), ("Land", "ch"), ("a-b", "1\n\"2\"")])
            .unwrap();
        let labels = [("Land", "ch"), ("a_b", "1\n\"2\""), ("exported_worker", "w")];
        assert_eq!(id.name, "orders_paid");
        assert_eq!(id.labels, labels.map(|(label, value)| (label.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_cannot_be_a_series_is_refused_with_the_reason() {
        let long = "x".repeat(129);
        let none: [(&str, &str); 0] = [];
        for name in ["", "1st", "flash_calls", "process.cpu", &long] {
            assert!(SeriesId::of(name, none).is_err(), "{name}");
        }
        for labels in [vec![("", "x")], vec![("a", "1"), ("a", "2")], vec![("a", long.as_str())]] {
            assert!(SeriesId::of("orders", labels.iter().copied()).is_err(), "{labels:?}");
        }
        let many: Vec<String> = (0..9).map(|number| format!("l{number}")).collect();
        assert!(SeriesId::of("orders", many.iter().map(|label| (label.as_str(), "v"))).is_err());
        let unordered =
            SeriesId { name: "a".into(), labels: vec![("b".into(), "".into()), ("a".into(), "".into())] };
        assert!(unordered.check().is_err());
    }

    #[test]
    fn a_value_is_in_the_class_of_the_bound_that_it_does_not_exceed() {
        let mut values = AppHistogram::default();
        for value in [-1.0, 0.001, 0.0011, 1.0, 20_000.0, f64::NAN, f64::INFINITY] {
            values.record(value);
        }
        let of = |bound: f64| values.classes().into_iter().find(|(own, _)| *own == bound).unwrap().1;
        assert_eq!((of(0.001), of(0.0025), of(1.0), of(f64::INFINITY)), (2, 1, 1, 1));
        assert_eq!(values.count(), 5);
        let mut twice = values.clone();
        twice.add(&values);
        assert_eq!((twice.count(), twice.sum), (10, 2.0 * values.sum));
        let mut unsound = AppHistogram { sum: f64::MAX, counts: vec![u64::MAX; 90] };
        unsound.add(&unsound.clone());
        assert!(unsound.count() == u64::MAX && unsound.sum.is_finite());
    }

    #[test]
    fn a_help_text_is_one_short_line() {
        assert_eq!(help_of("Orders\nthat were paid"), "Orders");
        assert!(help_of(&"é".repeat(500)).len() <= MAX_NAME);
    }
}

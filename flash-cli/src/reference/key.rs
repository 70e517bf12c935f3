//! A key of `flash.toml` as the reference shows it, and the values with which a test tries its limits.
use std::fmt::Display;

/// What a key takes.
pub(super) enum Limits {
    /// Whatever its type allows; an example in TOML.
    Any(&'static str),
    /// Numbers from the first to the second, and what else limits them.
    Range(u64, u64, &'static str),
    /// Only these words.
    OneOf(&'static [&'static str]),
    /// What a sentence says, with examples in TOML of what is taken, and of what is refused.
    Said { text: &'static str, taken: &'static [&'static str], refused: &'static [&'static str] },
}

/// A key of a table.
pub(super) struct Key {
    pub name: &'static str,
    kind: &'static str,
    default: String,
    limits: Limits,
    meaning: &'static str,
    /// Lines of the same table without which it is refused.
    pub requires: &'static str,
}

impl Key {
    /// A key and its type.
    pub(super) fn new(name: &'static str, kind: &'static str, limits: Limits, meaning: &'static str) -> Self {
        Self { name, kind, default: String::new(), limits, meaning, requires: "" }
    }

    /// As the page shows it: code has its backticks.
    pub(super) fn default(self, value: impl Display) -> Self {
        Self { default: value.to_string(), ..self }
    }

    /// It is refused without these lines.
    pub(super) fn requires(self, lines: &'static str) -> Self {
        Self { requires: lines, ..self }
    }

    /// A row of the page; `with_default`: with that column.
    pub(super) fn row(&self, with_default: bool) -> String {
        let Self { name, kind, default, meaning, .. } = self;
        let limits = match &self.limits {
            Limits::Any(_) => String::new(),
            Limits::Range(least, u64::MAX, also) => format!("{least} or more{also}"),
            Limits::Range(least, most, also) => format!("{least} to {most}{also}"),
            Limits::OneOf(words) => {
                words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
            }
            Limits::Said { text, .. } => (*text).to_owned(),
        };
        let cells: &[&str] = match with_default {
            true => &[kind, default, &limits, meaning],
            false => &[kind, &limits, meaning],
        };
        let cells: String = cells.iter().map(|cell| format!(" {cell} |").replace("  ", " ")).collect();
        format!("| `{name}` |{cells}\n")
    }

    /// Values in TOML that are taken.
    pub(super) fn taken(&self) -> Vec<String> {
        match &self.limits {
            Limits::Any(example) => vec![(*example).to_owned()],
            // TOML has no larger number.
            Limits::Range(least, most, _) => {
                vec![least.to_string(), (*most).min(i64::MAX.unsigned_abs()).to_string()]
            }
            Limits::OneOf(words) => words.iter().map(|word| format!("\"{word}\"")).collect(),
            Limits::Said { taken, .. } => taken.iter().map(|value| (*value).to_owned()).collect(),
        }
    }

    /// Values in TOML that are refused.
    pub(super) fn refused(&self) -> Vec<String> {
        match &self.limits {
            // Nothing has this type.
            Limits::Any(_) => vec!["1979-05-27".to_owned()],
            Limits::Range(least, most, _) => {
                let below = (*least > 0).then(|| (least - 1).to_string());
                let above = (*most < u64::MAX).then(|| (most + 1).to_string());
                below.into_iter().chain(above).collect()
            }
            Limits::OneOf(_) => vec!["\"sometimes\"".to_owned()],
            Limits::Said { refused, .. } => refused.iter().map(|value| (*value).to_owned()).collect(),
        }
    }
}

//! A change in words, as commands print it and the dashboard shows it.
use super::{
    field_change::FieldChange,
    plan::{Action, Change, Plan},
};

/// What happens to the item of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is new.
    Created,
    /// It stays, and something about it changes.
    Changed,
    /// It is gone afterwards.
    Removed,
    /// A part of the item above.
    Part,
}

impl Mark {
    /// One character at the start of its line: `+`, `~`, `-` or a space.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Created => "+",
            Self::Changed => "~",
            Self::Removed => "-",
            Self::Part => " ",
        }
    }
}

/// A line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What happens.
    pub mark: Mark,
    /// To what, and how.
    pub text: String,
}

impl Plan {
    /// Every change in words.
    pub fn lines(&self) -> Vec<Line> {
        self.changes.iter().flat_map(Change::lines).collect()
    }
}

impl Change {
    /// Its lines: one for the item, then one for each part that changes. Digests are shortened, but still distinct.
    pub fn lines(&self) -> Vec<Line> {
        let mark = match self.action {
            Action::Create => Mark::Created,
            Action::Change => Mark::Changed,
            Action::Destroy => Mark::Removed,
        };
        let label = self.subject.label();
        if let [only] = self.fields.as_slice()
            && only.field.is_empty()
        {
            let name = if self.name == label { "" } else { &self.name };
            let head = format!("{label:<12} {name}");
            return vec![Line { mark, text: format!("{} {}", head.trim_end(), values(only)) }];
        }
        let breaking =
            |why: &Option<String>| why.as_ref().map_or(String::new(), |why| format!("  BREAKING: {why}"));
        let head = format!("{label:<12} {}{}", self.name, breaking(&self.breaking));
        let mut lines = vec![Line { mark, text: head }];
        let width = self.fields.iter().map(|field| field.field.chars().count()).max().unwrap_or(0);
        lines.extend(self.fields.iter().map(|field| Line {
            mark: Mark::Part,
            text: format!("  {:<width$}  {}{}", field.field, values(field), breaking(&field.breaking)),
        }));
        lines
    }
}

fn values(field: &FieldChange) -> String {
    let short = |text: &String| match text.strip_prefix("sha256:") {
        Some(digest) => digest.get(..12).unwrap_or(digest).to_owned(),
        None => text.clone(),
    };
    match (&field.before, &field.after) {
        (Some(before), Some(after)) => format!("{} → {}", short(before), short(after)),
        (None, Some(after)) => short(after),
        (Some(before), None) => format!("{} → removed", short(before)),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Plan, fixtures::spec};

    #[test]
    fn a_change_is_one_line_and_one_for_each_part() {
        let mut next = spec();
        next.manifest.workers[0].workers_max = 9;
        next.variables.insert("MODE".to_owned(), "fast".to_owned());
        next.manifest.functions.remove(0);
        let lines = Plan::between(Some(&spec()), &next).lines();
        let text: Vec<String> =
            lines.iter().map(|line| format!("{} {}", line.mark.sign(), line.text)).collect();
        assert_eq!(
            text,
            [
                "~ worker type  batch",
                "    workers  0..=3 → 0..=9",
                "- function     clean  BREAKING: callers get an error",
                "+ variable     MODE fast",
            ]
        );
    }
}

//! Stop strings: no part of one is shown, also if it comes in pieces.

/// Holds back what may be the beginning of a stop string.
#[derive(Debug)]
pub(crate) struct Stops {
    strings: Vec<String>,
    held: String,
}

/// What can be shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// This, and more may come.
    Text(String),
    /// This, then the answer ends: a stop string came.
    Last(String),
}

impl Stops {
    pub(crate) fn new(strings: Vec<String>) -> Self {
        Self {
            strings: strings.into_iter().filter(|string| !string.is_empty()).collect(),
            held: String::new(),
        }
    }

    /// Adds text, and returns what is certain to be no part of a stop string.
    pub(crate) fn push(&mut self, text: &str) -> Shown {
        self.held.push_str(text);
        if let Some(at) = self.strings.iter().filter_map(|string| self.held.find(&**string)).min() {
            self.held.truncate(at);
            return Shown::Last(std::mem::take(&mut self.held));
        }
        let kept = self.held.split_off(self.held.len() - self.beginning());
        Shown::Text(std::mem::replace(&mut self.held, kept))
    }

    /// What is held back: the answer ended before it became a stop string.
    pub(crate) fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of what is held that begin a stop string. The longest such beginning.
    fn beginning(&self) -> usize {
        let begins = |end: &str| self.strings.iter().any(|string| string.starts_with(end));
        let longest = self.strings.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        let mut ends = self.held.char_indices().map(|(at, _)| at).skip_while(|at| *at < from);
        ends.find(|at| begins(&self.held[*at..])).map_or(0, |at| self.held.len() - at)
    }
}

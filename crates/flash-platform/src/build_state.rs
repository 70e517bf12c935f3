//! Whether the latest changes of the app run, for display: `flash run` builds them again and again.
use parking_lot::Mutex;

use super::hops::now_ms;

/// Bytes of a problem: compilers can say a lot.
const MAX_TEXT: usize = 32_000;

/// Why the latest changes do not run. The version before them serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuildProblem {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    pub text: String,
}

/// See the module.
#[derive(Default)]
pub(crate) struct BuildState(Mutex<Option<BuildProblem>>);

impl BuildState {
    /// The latest changes run, or why they do not.
    pub(crate) fn set(&self, problem: Option<&str>) {
        let problem = problem.map(|text| {
            let mut text = text.to_owned();
            flash_text::cut(&mut text, MAX_TEXT);
            BuildProblem { time_ms: now_ms(), text }
        });
        *self.0.lock() = problem;
    }

    pub(crate) fn problem(&self) -> Option<BuildProblem> {
        self.0.lock().clone()
    }
}

//! The steps of a task, each announced and timed.
use std::time::{Duration, Instant};

use crate::{failure::Failure, output};

/// The steps taken so far.
pub(crate) struct Steps {
    started: Instant,
    taken: Vec<(&'static str, Duration)>,
}

impl Steps {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), taken: Vec::new() }
    }

    /// Takes a step and says how long it took.
    ///
    /// # Errors
    /// The step's own, with its name.
    pub(crate) fn take(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        output::say("Step", name);
        let started = Instant::now();
        let outcome = step();
        let took = started.elapsed();
        self.taken.push((name, took));
        output::say(if outcome.is_ok() { "Done" } else { "Failed" }, &format!("{name} in {}", text(took)));
        outcome.map_err(|failure| failure.within(name))
    }

    /// The summary line of a successful task.
    pub(crate) fn finish(self, task: &str) {
        let steps: Vec<String> =
            self.taken.iter().map(|(name, took)| format!("{name} {}", text(*took))).collect();
        output::say("Passed", &format!("{task} in {}: {}", text(self.started.elapsed()), steps.join(", ")));
    }
}

/// As people say it.
pub(crate) fn text(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 60 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_names_itself() {
        let mut steps = Steps::start();
        assert!(steps.take("first", || Ok(())).is_ok());
        let failure = steps.take("second", || Err(Failure::new("no disk").hint("buy one"))).unwrap_err();
        assert_eq!(failure.to_string(), "second: no disk\n  hint: buy one");
    }

    #[test]
    fn times_read_naturally() {
        assert_eq!(text(Duration::from_millis(1_240)), "1.2 s");
        assert_eq!(text(Duration::from_secs(125)), "2 min 05 s");
    }
}

//! Runs other programs with a time limit: a hanging one is a finding too.
use std::{process::Stdio, time::Duration};

use tokio::process::Command;

/// How long a program may take: some start a service first.
const LIMIT: Duration = Duration::from_secs(15);

/// What a program printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The first non-empty line.
    Said(String),
    /// It is not installed.
    Missing,
    /// Its last output, or that it printed nothing.
    Failed(String),
}

impl Answer {
    pub(super) fn said(&self) -> Option<&str> {
        match self {
            Self::Said(text) => Some(text),
            _ => None,
        }
    }
}

/// Runs a program to its end.
pub(super) async fn ask(command: &mut Command) -> Answer {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(LIMIT, command.output()).await {
        Err(_) => Answer::Failed(format!("no answer within {} s", LIMIT.as_secs())),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Answer::Missing,
        Ok(Err(error)) => Answer::Failed(error.to_string()),
        Ok(Ok(output)) => {
            let is_text = |line: &&str| !line.is_empty();
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            match output.status.success() {
                true => Answer::Said(out.lines().map(str::trim).find(is_text).unwrap_or_default().to_owned()),
                false => {
                    let last = err.lines().map(str::trim).rfind(is_text);
                    Answer::Failed(last.map_or_else(|| output.status.to_string(), str::to_owned))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_a_line_and_a_failure_its_last_words() {
        let sh = async |script: &str| ask(Command::new("sh").args(["-c", script])).await;
        assert_eq!(sh("echo; echo ' one '; echo two").await, Answer::Said("one".to_owned()));
        assert_eq!(sh("echo early >&2; echo late >&2; exit 3").await, Answer::Failed("late".to_owned()));
        assert_eq!(sh("exit 3").await, Answer::Failed("exit status: 3".to_owned()));
        assert_eq!(ask(&mut Command::new("no-such-program-anywhere")).await, Answer::Missing);
    }
}

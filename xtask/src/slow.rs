//! Tests that take minutes, and when they run: always with `--all`, otherwise only if what they cover changed within
//! half an hour of the last commit. Each covers what faster tests cover in parts.
use std::process::Command;

use crate::workspace;

/// A test that takes minutes.
#[derive(Debug)]
pub(crate) struct SlowTest {
    /// Its full name in its test program.
    pub name: &'static str,
    /// Paths in the repository. A change in one of them makes the test run.
    covers: &'static [&'static str],
}

const RUNPOD: &[&str] =
    &["crates/flash-target-runpod/src", "flash-cli/tests/it/runpod.rs", "flash-cli/tests/it/support/runpod"];

const SLOW: [SlowTest; 8] = [
    // Builds the same app twice in release mode, with all dependencies.
    SlowTest {
        name: "build::two_checkouts_in_different_directories_give_the_same_digests",
        covers: &[
            "flash-cli/src/builder",
            "crates/flash-image/src",
            "flash-cli/tests/it/build.rs",
            "Cargo.lock",
        ],
    },
    // Builds the machine-learning library once more, as `flash build` does.
    SlowTest { name: "runpod::the_example_is_deployed_called_read_rolled_back_and_removed", covers: RUNPOD },
    // Builds a new crate, for a run and for a deployment.
    SlowTest {
        name: "getting_started::every_command_of_the_page_does_what_the_page_says",
        covers: &[
            "docs/getting-started.md",
            "flash-cli/templates/hello",
            "flash-cli/src/commands",
            "flash-cli/tests/it/getting_started.rs",
        ],
    },
    // Each builds a new crate, for a run and for its tests.
    SlowTest {
        name: "getting_started::the_tutorial_of_a_pipeline_works_as_it_is_written_and_so_does_its_way_to_runpod",
        covers: &[
            "docs/tutorial-pipeline.md",
            "docs/tutorial-runpod.md",
            "flash-cli/tests/it/getting_started.rs",
        ],
    },
    SlowTest {
        name: "getting_started::the_tutorial_of_a_python_worker_works_as_it_is_written",
        covers: &[
            "docs/tutorial-python.md",
            "flash-cli/templates/python",
            "flash-cli/tests/it/getting_started.rs",
        ],
    },
    // Builds the machine-learning library with what the template needs of it.
    SlowTest {
        name: "getting_started::the_tutorial_of_a_chat_model_works_as_it_is_written",
        covers: &[
            "docs/tutorial-chat.md",
            "flash-cli/templates/chat",
            "flash-cli/tests/it/getting_started.rs",
        ],
    },
    // Builds the machine-learning library with what the templates need of it.
    SlowTest {
        name: "init::templates_with_models_become_members_of_a_workspace_and_pass_their_tests",
        covers: &["flash-cli/templates", "crates/flash-models/Cargo.toml", "flash-cli/tests/it/init.rs"],
    },
    // Breaks each call of a deployment, one deployment after the other.
    SlowTest { name: "runpod::whichever_call_of_a_send_breaks_the_next_send_ends_right", covers: RUNPOD },
];

/// Seconds before the last commit in which a change counts: all of them together take longer than the rest of the tests,
/// so a day's work runs those of its last change, and `--all` runs all.
const RECENT: i64 = 30 * 60;

/// The slow tests that need not run now.
pub(crate) fn not_due() -> Vec<&'static SlowTest> {
    SLOW.iter().filter(|test| !changed(test.covers)).collect()
}

/// Whether one of these paths changed recently.
fn changed(paths: &[&str]) -> bool {
    let last = git(&["log", "-1", "--format=%ct"], &[]).and_then(|text| text.trim().parse::<i64>().ok());
    let since = format!("--max-age={}", last.unwrap_or(0) - RECENT);
    let committed = last.and_then(|_| git(&["log", "-1", "--format=%h", &since], paths));
    is_due(committed.as_deref(), git(&["status", "--porcelain"], paths).as_deref())
}

/// Judges what git lists of recent commits and of changes that are not committed. Where it cannot tell, the test runs.
fn is_due(committed: Option<&str>, uncommitted: Option<&str>) -> bool {
    let is_clean = |listed: Option<&str>| listed.is_some_and(|listed| listed.trim().is_empty());
    !(is_clean(committed) && is_clean(uncommitted))
}

fn git(arguments: &[&str], paths: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.current_dir(workspace::root()).args(arguments).arg("--").args(paths);
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Arguments for cargo-nextest that leave these tests out, and those on a cluster unless there is one.
pub(crate) fn leave_out(tests: &[&SlowTest], has_cluster: bool) -> Vec<String> {
    let mut names: Vec<String> = tests.iter().map(|test| format!("test(={})", test.name)).collect();
    if !has_cluster {
        names.push("test(/^kubernetes::/)".to_owned());
    }
    match names.is_empty() {
        true => Vec::new(),
        false => vec!["--filterset".to_owned(), format!("not ({})", names.join(" or "))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slow_tests_cover_is_there() {
        for path in SLOW.iter().flat_map(|test| test.covers) {
            assert!(workspace::root().join(path).exists(), "{path}");
        }
    }

    #[test]
    fn slow_tests_are_tests() {
        for test in &SLOW {
            let (file, function) = test.name.rsplit_once("::").unwrap();
            let path = workspace::root().join(format!("flash-cli/tests/it/{file}.rs"));
            let source = std::fs::read_to_string(&path).unwrap();
            assert!(source.contains(&format!("fn {function}(")), "{} is not in {}", function, path.display());
        }
    }

    #[test]
    fn a_slow_test_runs_unless_git_says_that_nothing_changed() {
        assert!(!is_due(Some("\n"), Some("")));
        for (committed, uncommitted) in
            [(Some("1f2e3d4"), Some("")), (Some(""), Some(" M build.rs")), (None, Some("")), (Some(""), None)]
        {
            assert!(is_due(committed, uncommitted), "{committed:?} {uncommitted:?}");
        }
    }

    #[test]
    fn tests_that_are_not_due_are_left_out_by_their_full_name() {
        let [first, second, ..] = &SLOW;
        assert_eq!(leave_out(&[], true), Vec::<String>::new());
        let filter = format!("not (test(={}) or test(={}))", first.name, second.name);
        assert_eq!(leave_out(&[first, second], true), ["--filterset".to_owned(), filter]);
        let filter = format!("not (test(={}) or test(/^kubernetes::/))", first.name);
        assert_eq!(leave_out(&[first], false), ["--filterset".to_owned(), filter]);
    }
}

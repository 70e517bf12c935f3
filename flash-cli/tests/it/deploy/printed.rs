//! What the commands of an environment print over its life, as a whole: plans, tables, ends and `--json`.
//!
//! The snapshots are for reading, as those of `printed`. What differs from one run to the next (ports, times, digests,
//! costs, keys) stands in capitals. To take over changes: `INSTA_UPDATE=always cargo test -p flash-cli --test it
//! deploy::printed`, then read the diff.
use crate::support::{Finished, deployed::Deployed};

/// What is different each time, and what stands for it.
const FILTERS: [(&str, &str); 20] = [
    // Cargo's own lines: which of them appear depends on what was built before.
    (r"(?m)^ +(Compiling \S+ (v\S+|and its dependencies).*|Finished `.*|Blocking waiting .*)\n", ""),
    // What workers use is only there once it was measured.
    (r"\n(\n\S+: \d+\.\d\d cores, \S+ MB)+", ""),
    (r#""usage":\[[^\]]*\],"#, ""),
    (r"(127\.0\.0\.1|localhost):\d+", "$1:PORT"),
    (r#"("(prefix|key)": ?)"[^"]*""#, r#"$1"KEY""#),
    (r"\bflash_[A-Za-z0-9_-]{6,}", "KEY"),
    (r#"("[a-z_]*(_ms|_seconds|_nanodollars|_bytes)": ?)\d+(\.\d+)?"#, "${1}N"),
    (r#"("(bill|start|run|idle|cost|at_max|at_min|pid)": ?)\d+"#, "${1}N"),
    (r"sha256:[0-9a-f]{12,64}", "DIGEST"),
    (r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?Z?", "DATE"),
    (r"\$\d+(\.\d+)?", "$$COST"),
    (r"\b\d+(\.\d+)? (ms|s|min|h|d)\b", "TIME"),
    (r"\b\d+(\.\d+)? ?(B|kB|MB|GB|KiB|MiB|GiB)\b", "SIZE"),
    (r"\b[0-9a-f]{7,64}\b\+?", "HASH"),
    (r"commit -", "commit HASH"),
    // Columns are as wide as what stands in them.
    (r"(\S) {2,}", "$1  "),
    // The order in which workers become ready is not promised.
    (r"(?m)^ +Ready \S+\n( +Ready \S+\n)*", "       Ready …\n"),
    (r"workers \d starting, ", "workers "),
    // Nor how soon those of a release that ended are gone.
    (r", draining \d+", ""),
    (r"curl -H @\S+", "curl -H @HEADERS"),
];

/// Exit code, stdout and stderr of a command.
fn shown(app: &Deployed, arguments: &[&str]) -> String {
    let Finished { code, stdout, stderr } = app.run(arguments);
    let parts = [("stdout", stdout), ("stderr", stderr)];
    let printed: String = parts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(stream, text)| format!("--- {stream}\n{}\n", text.trim_end()))
        .collect();
    let place = app.path().canonicalize().unwrap();
    let text = format!("$ flash {}\n{printed}--- exit code {}", arguments.join(" "), code.unwrap());
    text.replace(place.to_str().unwrap(), "PROJECT")
        .replace(app.data().to_str().unwrap(), "DATA")
        .replace(app.config().to_str().unwrap(), "CONFIG")
}

#[test]
fn the_commands_of_an_environment_over_its_life() {
    let app = Deployed::new("");
    let mut settings = insta::Settings::clone_current();
    FILTERS.iter().for_each(|(pattern, with)| settings.add_filter(pattern, *with));
    let _bound = settings.bind_to_scope();
    let send = ["deploy", "send", "production", "--release-profile", "dev"];
    let with = |more: &[&'static str]| [&send[..], more].concat();
    let story = |commands: &[&[&str]]| {
        commands.iter().map(|command| shown(&app, command)).collect::<Vec<_>>().join("\n\n")
    };

    insta::assert_snapshot!(
        "new",
        story(&[
            &["deploy", "new", "production"],
            &["deploy", "new", "production"],
            &["deploy", "list"],
            &["deploy", "info", "production"],
            &["deploy", "history", "production"],
            &["status", "production"],
            &["cost", "production"],
        ])
    );
    insta::assert_snapshot!("first_plan", story(&[&with(&["--plan"]), &with(&["--plan", "--json"])]));
    insta::assert_snapshot!("first_send", story(&[&with(&["--yes"])]));
    insta::assert_snapshot!(
        "live",
        story(&[
            &with(&["--yes"]),
            &["deploy", "info", "production"],
            &["deploy", "info", "production", "--json"],
            &["deploy", "list", "--json"],
            &["deploy", "history", "production"],
            &["deploy", "history", "production", "--json"],
            &["status", "production"],
            &["status", "production", "--json"],
        ])
    );
    insta::assert_snapshot!(
        "keys_and_secrets",
        story(&[
            &["key", "list", "production"],
            &["key", "list", "production", "--json"],
            &["key", "revoke", "production", "nothing"],
            &["secret", "list", "production"],
            &["secret", "remove", "production", "NOTHING"],
        ])
    );
    app.version("one", "two");
    app.edit("workers = 0..=3", "workers = 0..=4");
    insta::assert_snapshot!("second_plan", story(&[&with(&["--plan"]), &with(&["--plan", "--json"])]));
    insta::assert_snapshot!("refused", story(&[&with(&[]), &["deploy", "rollback", "production", "--yes"]]));
    app.send(&[]);
    insta::assert_snapshot!(
        "rollback_and_removal",
        story(&[
            &["deploy", "rollback", "production", "--yes"],
            &["deploy", "history", "production"],
            &["undeploy", "production", "--yes"],
            &["status", "production"],
            &["deploy", "remove", "production"],
            &["deploy", "remove", "production", "--yes"],
            &["deploy", "list"],
            &["deploy", "list", "--json"],
            &["status", "production"],
        ])
    );
}

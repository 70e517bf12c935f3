//! What patterns include and leave out.
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A crate with these files.
fn files(names: &[&str]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for name in names {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    directory
}

fn include(directory: &TempDir, patterns: &[&str]) -> Result<Included, IncludeError> {
    let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    included(directory.path(), &patterns, "app")
}

fn paths(directory: &TempDir, patterns: &[&str]) -> Vec<String> {
    let included = include(directory, patterns).unwrap();
    for file in &included.files {
        assert!(file.source.is_absolute() && file.source.is_file(), "{file:?}");
    }
    included.files.into_iter().map(|file| file.path).collect()
}

#[test]
fn patterns_take_files_and_whole_directories_once_and_sorted() {
    let names = ["data/b.json", "data/a.json", "data/a.csv", "data/more/c.json", "models/x/w.bin", "notes"];
    let directory = files(&names);
    assert_eq!(paths(&directory, &["data/*.json"]), ["data/a.json", "data/b.json"]);
    assert_eq!(paths(&directory, &["data/**/*.json"]).len(), 3);
    assert_eq!(paths(&directory, &["./models/"]), ["models/x/w.bin"]);
    assert_eq!(paths(&directory, &["models/*"]), ["models/x/w.bin"]);
    assert_eq!(
        paths(&directory, &["data/{a,b}.json", "data/a.*"]),
        ["data/a.csv", "data/a.json", "data/b.json"]
    );
    assert_eq!(paths(&directory, &["**"]).len(), names.len());
    assert_eq!(paths(&directory, &[]), [""; 0]);
}

#[test]
fn a_script_stays_executable() {
    let directory = files(&["data/run.sh", "data/list"]);
    let script = directory.path().join("data/run.sh");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o744)).unwrap();
    let access: Vec<Access> =
        include(&directory, &["data"]).unwrap().files.into_iter().map(|file| file.access).collect();
    assert_eq!(access, [Access::Readable, Access::Executable]);
}

#[test]
fn a_pattern_that_matches_nothing_is_named_with_what_may_be_meant() {
    let directory = files(&["models/sentiment/model.bin", "data/.keep"]);
    let error = |pattern| include(&directory, &["models", pattern]).unwrap_err().to_string();
    let message = error("model/**");
    assert!(
        message.starts_with("`model/**` matches no file in ")
            && message.ends_with("(did you mean `models`?)")
    );
    assert!(error("models/sentimnt/*").ends_with("(did you mean `models/sentiment`?)"));
    assert!(error("models/sentiment/model.onnx").ends_with("(did you mean `models/sentiment/model.bin`?)"));
    assert!(!error("zebra").contains("did you mean"));
    assert!(!error("models/*.gguf").contains("did you mean"));
    // Everything that it matches is hidden.
    assert!(error("*/.k").starts_with("`*/.k` matches no file"));
    assert_eq!(paths(&directory, &["data/*"]), ["data/.keep"]);
}

#[test]
fn patterns_that_lead_out_of_the_crate_or_are_none_are_refused() {
    let directory = files(&["a"]);
    for pattern in ["/etc/passwd", "../other/model", "models/../../x", "", " ", ".", "a{", "[a"] {
        let error = include(&directory, &[pattern]).unwrap_err();
        assert!(matches!(&error, IncludeError::Pattern { pattern: told, .. } if told == pattern), "{error}");
    }
}

#[test]
fn what_is_in_a_named_directory_is_taken_hidden_or_not_as_the_app_has_it_with_flash_run() {
    let names = [
        "data/.hidden",
        "data/.cache/y",
        "data/a/.b/c.json",
        "data/.env",
        "data/more/.env.local",
        "data/clone/.git/config",
        "data/.env.example",
        "other/.x",
    ];
    let directory = files(&names);
    for patterns in [["data/**"].as_slice(), &["data"], &["data/*"], &["data/*", "data/**/*.json"]] {
        let all = include(&directory, patterns).unwrap();
        let taken: Vec<&str> = all.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(taken, ["data/.cache/y", "data/.env.example", "data/.hidden", "data/a/.b/c.json"]);
        let told: Vec<String> = all.left_out.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        for (path, reason) in [
            ("`data/.env` is left out", "secrets"),
            ("`data/more/.env.local` is left out", "secrets"),
            ("`data/clone/.git` is left out", "committed"),
        ] {
            assert!(told.iter().any(|line| line.contains(path) && line.contains(reason)), "{told:?}");
        }
    }
}

#[test]
fn a_pattern_that_names_no_directory_takes_no_hidden_names_and_tells_of_them() {
    let directory = files(&[
        "a",
        ".env",
        ".env.local",
        ".git/config",
        ".flash/x",
        "target/debug/x",
        ".netrc",
        "data/.cache/y",
        "data/target/z",
    ]);
    let everything = include(&directory, &["**"]).unwrap();
    let taken: Vec<&str> = everything.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(taken, ["a", "data/target/z"]);
    let hidden = |path: &str| LeftOut::Hidden(path.to_owned());
    assert_eq!(everything.left_out, BTreeSet::from([hidden(".netrc"), hidden("data/.cache")]));
    assert_eq!(paths(&directory, &["data/.cache/*"]), ["data/.cache/y"]);
    assert_eq!(paths(&directory, &["data/.cache"]), ["data/.cache/y"]);
}

#[test]
fn secrets_and_what_is_no_part_of_the_sources_are_refused_by_name() {
    let directory = files(&[
        "a",
        ".env",
        "data/.env.production",
        ".env.example",
        ".git/config",
        ".flash/x",
        "target/debug/x",
    ]);
    for pattern in [".env", "data/.env*", ".e*", "**/.env.production", ".[e]nv"] {
        let error = include(&directory, &[pattern]).unwrap_err();
        assert!(matches!(error, IncludeError::Secret(_)), "{pattern}: {error}");
        assert!(error.to_string().contains("secrets"));
    }
    for pattern in [".git", ".git/config", ".g*/*", "target/debug/x", ".flash/**"] {
        let error = include(&directory, &[pattern]).unwrap_err();
        assert!(matches!(error, IncludeError::Reserved { .. }), "{pattern}: {error}");
    }
    assert_eq!(paths(&directory, &[".env.example"]), [".env.example"]);
}

#[test]
fn links_are_followed_inside_the_crate_and_refused_out_of_it() {
    let outside = files(&["secret", "models/w.bin"]);
    let inside = files(&["store/v1/w.bin", "data/a", ".env"]);
    let link = |target: &Path, name: &str| symlink(target, inside.path().join(name)).unwrap();
    link(Path::new("../store/v1/w.bin"), "data/w.bin");
    link(Path::new("store/v1"), "latest");
    assert_eq!(paths(&inside, &["data/*", "latest"]), ["data/a", "data/w.bin", "latest/w.bin"]);

    link(&outside.path().join("secret"), "data/b");
    link(&outside.path().join("models"), "far");
    link(Path::new("../.env"), "store/settings");
    link(Path::new("nowhere"), "store/broken");
    for (pattern, path) in [("data", "data/b"), ("far/*.bin", "far"), ("far", "far")] {
        let error = include(&inside, &[pattern]).unwrap_err();
        assert!(matches!(&error, IncludeError::Outside { path: told, .. } if told == path), "{error}");
    }
    let error = include(&inside, &["store/settings"]).unwrap_err();
    assert!(matches!(&error, IncludeError::Secret(told) if told == "store/settings"), "{error}");
    let error = include(&inside, &["store/broken"]).unwrap_err();
    assert!(matches!(&error, IncludeError::Read { path, .. } if path.ends_with("store/broken")), "{error}");
    // What is not matched may be broken.
    assert_eq!(paths(&inside, &["store/*/*.bin"]), ["store/v1/w.bin"]);

    link(Path::new("."), "store/v1/again");
    let error = include(&inside, &["store/v1"]).unwrap_err();
    assert!(matches!(&error, IncludeError::Read { path, .. } if path.ends_with("again")), "{error}");
}

#[test]
fn nothing_takes_the_place_of_the_binary() {
    let directory = files(&["app", "data/app", "other/app/x"]);
    assert!(matches!(include(&directory, &["*"]), Err(IncludeError::Binary { path, .. }) if path == "app"));
    assert_eq!(paths(&directory, &["data", "other"]), ["data/app", "other/app/x"]);
    let below = files(&["app/x"]);
    assert!(matches!(include(&below, &["**"]), Err(IncludeError::Binary { path, .. }) if path == "app/x"));
}

#[test]
fn what_is_neither_file_nor_directory_is_refused() {
    let directory = files(&["data/a"]);
    nix::unistd::mkfifo(&directory.path().join("data/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = include(&directory, &["data"]).unwrap_err();
    assert!(matches!(&error, IncludeError::NotRegular(path) if path == "data/pipe"), "{error}");
}

//! The files that cargo read for a binary: `NAME.d`, which it writes beside the binary in Makefile syntax. It lists
//! the sources of all local crates, the files of their `include_str!` and `include_bytes!`, and what their build
//! scripts name with `rerun-if-changed`.
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The files that this binary was built from; empty if cargo does not list any. Relative paths are relative to
/// `base`.
pub(super) fn files_read_for(program: &Path, base: &Path) -> BTreeSet<PathBuf> {
    let text = std::fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    parse(&text, program).into_iter().map(|file| base.join(file)).collect()
}

/// Spaces in paths are escaped with a backslash; nothing else is.
fn parse(text: &str, program: &Path) -> Vec<PathBuf> {
    let target = program.to_string_lossy().replace(' ', "\\ ");
    let files_of = |line: &str| {
        let files = line.strip_prefix(&target).and_then(|rest| rest.strip_prefix(':'));
        // Cargo may write the target relative to another directory.
        files.or_else(|| line.split_once(": ").map(|(_, files)| files)).map(split)
    };
    text.lines().find_map(files_of).unwrap_or_default()
}

fn split(files: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut file = String::new();
    let mut characters = files.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&' ') => {
                characters.next();
                file.push(' ');
            }
            ' ' => found.push(std::mem::take(&mut file)),
            other => file.push(other),
        }
    }
    found.push(file);
    found.into_iter().filter(|file| !file.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(program: &str, files: &[String]) -> String {
        let escaped = |path: &str| path.replace(' ', "\\ ");
        let files: String = files.iter().map(|file| format!(" {}", escaped(file))).collect();
        format!("{}:{files}\n", escaped(program))
    }

    #[test]
    fn files_are_read_with_spaces_and_colons() {
        let files = ["/a b/src/main.rs", "/c: d/x.txt", "/e/ f", "/schön/a\\b"].map(str::to_owned);
        for program in ["/t/debug/app", "/my target/debug/app", "/t: u/debug/app"] {
            let read = parse(&written(program, &files), Path::new(program));
            assert_eq!(read, files.iter().map(PathBuf::from).collect::<Vec<_>>(), "{program}");
        }
        assert_eq!(
            parse("debug/app: src/main.rs\n", Path::new("/t/debug/app")),
            [PathBuf::from("src/main.rs")]
        );
        assert!(
            parse("", Path::new("/t/app")).is_empty() && parse("/t/app:\n", Path::new("/t/app")).is_empty()
        );
    }

    proptest! {
        #[test]
        fn whatever_cargo_writes_is_read_back(files in prop::collection::vec("/[a-zé :.-]{1,12}", 0..8)) {
            // A backslash at the end of a name is ambiguous in this syntax, so there is none here.
            let read = parse(&written("/t/app", &files), Path::new("/t/app"));
            prop_assert_eq!(read, files.iter().map(PathBuf::from).collect::<Vec<_>>());
        }
    }
}

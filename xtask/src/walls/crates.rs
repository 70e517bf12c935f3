//! Which crates of the workspace use which, as cargo knows it and as `ARCHITECTURE.md` draws it.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    failure::Failure,
    metadata::{self, Dependency, Package, Target},
};

/// The document with the drawing.
const DOCUMENT: &str = "ARCHITECTURE.md";
/// The heading of its table: a row for each crate, with the crates that it uses.
const HEADING: &str = "| crate | uses |";
/// What the names of all crates start with.
const PREFIX: &str = "flash-";

/// A library crate of the workspace.
pub(super) struct Crate {
    pub(super) name: String,
    /// `lib.rs`.
    pub(super) root: PathBuf,
    /// Crates of the workspace that it uses, except in tests.
    uses: BTreeSet<String>,
}

/// The crates that are named `flash-…`.
///
/// # Errors
/// If cargo cannot list them.
pub(super) fn read() -> Result<Vec<Crate>, Failure> {
    let ours = metadata::packages()?.into_iter().filter(|package| package.name.starts_with(PREFIX));
    Ok(ours.filter_map(of_package).collect())
}

fn of_package(package: Package) -> Option<Crate> {
    let is_library = |target: &&Target| target.kind.iter().any(|kind| kind == "lib" || kind == "proc-macro");
    let root = package.targets.iter().find(is_library)?.src_path.clone();
    let is_fuzzing = |dependency: &Dependency| dependency.target.as_deref() == Some("cfg(fuzzing)");
    let uses = package
        .dependencies
        .into_iter()
        .filter(|dependency| {
            dependency.path.is_some() && dependency.kind.is_none() && !is_fuzzing(dependency)
        })
        .map(|dependency| dependency.name)
        .collect();
    Some(Crate { name: package.name, root, uses })
}

/// Where the drawing and cargo differ, one line each.
pub(super) fn differences(crates: &[Crate], root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join(DOCUMENT)).unwrap_or_default();
    let drawn = drawing(&text);
    let actual = crates.iter().map(|each| (each.name.clone(), each.uses.clone())).collect();
    compare(&drawn, &actual)
}

fn compare(
    drawn: &BTreeMap<String, BTreeSet<String>>,
    actual: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, uses) in actual {
        let Some(row) = drawn.get(name) else {
            found.push(format!("{DOCUMENT} has no row for {name}"));
            continue;
        };
        found.extend(uses.difference(row).map(|other| format!("{name} uses {other}, which is not drawn")));
        found.extend(
            row.difference(uses).map(|other| format!("{name} is drawn to use {other}, and does not")),
        );
    }
    let gone = drawn.keys().filter(|name| !actual.contains_key(*name));
    found.extend(gone.map(|name| format!("{DOCUMENT} has a row for {name}, which does not exist")));
    found
}

/// The rows of the table: a crate in backquotes, and the crates that it uses without their common prefix.
fn drawing(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = text.lines().skip_while(|line| !line.starts_with(HEADING)).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .filter_map(|row| {
            let mut cells = row.trim_matches('|').split('|');
            let name = cells.next()?.trim().trim_matches('`').to_owned();
            let uses = cells.next()?.split(',').map(str::trim).filter(|used| !used.is_empty());
            Some((name, uses.map(|used| format!("{PREFIX}{used}")).collect()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_between_drawing_and_crates_is_named() {
        let text = "| crate | uses | owns |\n|---|---|---|\n| `flash-a` | b, c | x |\n| `flash-b` | | y |\n| `flash-d` | | |\n\n| `flash-e` | |";
        let row = |uses: &[&str]| uses.iter().map(|name| format!("flash-{name}")).collect::<BTreeSet<_>>();
        let actual = BTreeMap::from([
            ("flash-a".to_owned(), row(&["b"])),
            ("flash-b".to_owned(), row(&["c"])),
            ("flash-c".to_owned(), row(&[])),
        ]);
        assert_eq!(
            compare(&drawing(text), &actual),
            [
                "flash-a is drawn to use flash-c, and does not",
                "flash-b uses flash-c, which is not drawn",
                "ARCHITECTURE.md has no row for flash-c",
                "ARCHITECTURE.md has a row for flash-d, which does not exist",
            ]
        );
    }
}

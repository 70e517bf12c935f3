//! The keys of `flash.toml`, for `docs/flash-toml.md`.
mod environments;
mod project;
mod workers;

use std::{collections::BTreeSet, path::Path};

use super::{key::Key, page};
use crate::project::Config;

/// A table of the file.
struct Table {
    /// As the page names it.
    name: &'static str,
    /// Its header, with names in the place of what a project chooses.
    header: &'static str,
    /// Lines that it cannot be without.
    always: &'static str,
    /// Whether its keys have defaults of their own.
    with_defaults: bool,
    /// Keys that are tables with a place of their own on the page.
    below: &'static [&'static str],
    keys: Vec<Key>,
}

impl Table {
    fn all() -> Vec<Self> {
        vec![
            project::run(),
            project::build(),
            project::build_worker(),
            workers::command_worker(),
            environments::environment(),
            environments::environment_worker(),
            environments::environment_kubernetes(),
        ]
    }

    /// A file in which this table has these lines.
    fn file(&self, lines: &str) -> String {
        let always = self.always.lines().filter(|line| {
            let key = line.split(' ').next().unwrap_or_default();
            !lines.lines().any(|other| other.split(' ').next() == Some(key))
        });
        format!("{}\n{}\n{lines}\n", self.header, always.collect::<Vec<_>>().join("\n"))
    }

    fn text(&self) -> String {
        let (head, line) = match self.with_defaults {
            true => ("| key | type | default | limits | meaning |", "|---|---|---|---|---|"),
            false => ("| key | type | limits | meaning |", "|---|---|---|---|"),
        };
        let rows: String = self.keys.iter().map(|key| key.row(self.with_defaults)).collect();
        format!("{head}\n{line}\n{rows}")
    }
}

fn parse(file: &str) -> Result<(), String> {
    Config::parse(file, Path::new("flash.toml")).map(drop).map_err(|error| error.to_string())
}

/// The keys that the parser says it takes, when it meets one that it does not know.
fn known_to_the_parser(table: Option<&Table>) -> BTreeSet<String> {
    const UNKNOWN: &str = "__________";
    let line = format!("{UNKNOWN} = 1");
    let error = parse(&table.map_or(line.clone(), |table| table.file(&line))).unwrap_err();
    let (unknown, expected) = error.split_once(", expected ").unwrap_or_else(|| panic!("{error}"));
    assert!(unknown.contains(UNKNOWN), "{error}");
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn each_key_that_the_parser_takes_is_in_the_reference_and_no_other() {
    for table in Table::all() {
        let keys = table.keys.iter().map(|key| key.name);
        let described: BTreeSet<String> =
            keys.chain(table.below.iter().copied()).map(str::to_owned).collect();
        assert_eq!(known_to_the_parser(Some(&table)), described, "{}", table.name);
    }
    let page = std::fs::read_to_string(page::root().join("docs/flash-toml.md")).unwrap();
    for section in known_to_the_parser(None) {
        let heading = [format!("\n## `[{section}]`"), format!("\n## `[{section}.")];
        assert!(heading.iter().any(|heading| page.contains(heading)), "[{section}] has no heading");
    }
}

#[test]
fn each_limit_is_that_of_the_parser() {
    let mut problems = Vec::new();
    for table in Table::all() {
        for key in &table.keys {
            let file =
                |value: &str, requires: &str| table.file(&format!("{requires}\n{} = {value}", key.name));
            for value in key.taken() {
                if let Err(error) = parse(&file(&value, key.requires)) {
                    problems.push(format!("{} {} = {value} is refused: {error}", table.name, key.name));
                }
                if !key.requires.is_empty() && parse(&file(&value, "")).is_ok() {
                    problems.push(format!(
                        "{} {} = {value} is taken without {}",
                        table.name, key.name, key.requires
                    ));
                }
            }
            assert!(!key.refused().is_empty(), "{} {} has no limit to try", table.name, key.name);
            for value in key.refused() {
                if parse(&file(&value, key.requires)).is_ok() {
                    problems.push(format!("{} {} = {value} is taken", table.name, key.name));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_page_of_settings_says_what_the_code_says() {
    let tables: Vec<_> =
        Table::all().into_iter().map(|table| (table.name.to_owned(), table.text())).collect();
    page::compare("flash-toml.md", &tables);
}

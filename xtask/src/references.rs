//! Checks that what the documents refer to exists: files, headings, functions, constants.
//!
//! All Markdown files of the repository are checked. A link inside the repository must lead to a file, and its
//! fragment to a heading. In code spans, `path.rs` must be the end of a tracked file's path, `path.rs: name` a word
//! in that file, `Type::name` a word in Rust sources, and in `ARCHITECTURE.md` also `snake_case` and `UPPER_CASE`
//! names. Words, not definitions, are matched: a name in a document may be a field, a setting or a variable, and a
//! name that was renamed is in no source at all.
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Component, Path, PathBuf},
};

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use crate::{command, failure::Failure, site, workspace};

/// The document in which every name in code spans must exist.
const STRICT: &str = "ARCHITECTURE.md";
/// How many dead references are shown: enough to start with.
const SHOWN: usize = 40;

/// Checks all documents.
///
/// # Errors
/// Every dead reference.
pub(crate) fn check() -> Result<(), Failure> {
    let root = workspace::root();
    let listed = command::read(&mut command::command("git", &["ls-files"]))?;
    let repository = Repository::read(&root, listed.lines().map(str::to_owned).collect())?;
    let mut dead: Vec<String> = Vec::new();
    for (path, text) in &repository.documents {
        dead.extend(repository.dead_references(path, text));
    }
    if let Some(contents) = repository.documents.get(site::CONTENTS) {
        let unlisted = site::unlisted(contents, repository.documents.keys().map(String::as_str));
        dead.extend(unlisted.iter().map(|page| format!("{page}: is not listed in {}", site::CONTENTS)));
    }
    if dead.is_empty() {
        return Ok(());
    }
    let more = dead.len().saturating_sub(SHOWN);
    let mut message = format!("{} dead references:\n  {}", dead.len(), shown(&dead));
    if more > 0 {
        message.push_str(&format!("\n  … and {more} more"));
    }
    Err(Failure::new(message).hint("update or remove each reference"))
}

fn shown(dead: &[String]) -> String {
    dead.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n  ")
}

/// What documents can refer to.
struct Repository {
    files: BTreeSet<String>,
    documents: BTreeMap<String, String>,
    /// Headings of each document, as fragments.
    headings: BTreeMap<String, HashSet<String>>,
    sources: BTreeMap<String, String>,
    /// All words of all sources.
    words: HashSet<String>,
}

impl Repository {
    fn read(root: &Path, files: BTreeSet<String>) -> Result<Self, Failure> {
        let (mut documents, mut sources) = (BTreeMap::new(), BTreeMap::new());
        for file in &files {
            let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
            let into = match extension {
                Some("md") => &mut documents,
                Some("rs" | "toml" | "py") => &mut sources,
                _ => continue,
            };
            let path = root.join(file);
            // A file that was deleted but not committed yet is still listed.
            if path.exists() {
                let text = std::fs::read_to_string(&path).map_err(Failure::at(path.display()))?;
                into.insert(file.clone(), text);
            }
        }
        Ok(Self::of(files, documents, sources))
    }

    fn of(
        files: BTreeSet<String>,
        documents: BTreeMap<String, String>,
        sources: BTreeMap<String, String>,
    ) -> Self {
        let headings = documents.iter().map(|(path, text)| (path.clone(), fragments(text))).collect();
        let words = sources.values().flat_map(|text| words(text)).map(str::to_owned).collect();
        Self { files, documents, headings, sources, words }
    }

    /// A document's dead references, each with its line.
    fn dead_references(&self, document: &str, text: &str) -> Vec<String> {
        let mut dead = Vec::new();
        for (event, span) in Parser::new(text).into_offset_iter() {
            let problem = match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    self.dead_link(document, &dest_url)
                }
                Event::Code(code) => self.dead_code(document, &code),
                _ => None,
            };
            if let Some(problem) = problem {
                let line = text[..span.start].matches('\n').count() + 1;
                dead.push(format!("{document}:{line}: {problem}"));
            }
        }
        dead
    }

    fn dead_link(&self, document: &str, target: &str) -> Option<String> {
        if target.contains("://") || target.starts_with("mailto:") {
            return None;
        }
        let (path, fragment) = target.split_once('#').map_or((target, None), |(path, f)| (path, Some(f)));
        let file = match path {
            "" => document.to_owned(),
            path => normal(&Path::new(document).parent().unwrap_or(Path::new("")).join(path)),
        };
        let is_directory = || self.files.iter().any(|other| other.starts_with(&format!("{file}/")));
        if !self.files.contains(&file) && !is_directory() {
            return Some(format!("the link `{target}` leads to no file"));
        }
        let is_heading = |fragment| self.headings.get(&file).is_none_or(|known| known.contains(fragment));
        match fragment {
            Some(fragment) if !is_heading(fragment) => {
                Some(format!("the link `{target}` leads to no heading of {file}"))
            }
            _ => None,
        }
    }

    fn dead_code(&self, document: &str, code: &str) -> Option<String> {
        let (place, name) = code.split_once(": ").map_or((code, None), |(place, name)| (place, Some(name)));
        if is_source_path(place) {
            return self.dead_source(place, name);
        }
        let names: Vec<&str> = code.trim_end_matches("()").split("::").collect();
        let is_named = |name: &str| self.words.contains(name);
        let is_identifier = |name: &&str| !name.is_empty() && name.chars().all(is_word);
        let is_qualified = names.len() > 1 && names.iter().all(is_identifier);
        let is_strict = document == STRICT && is_compound(code.trim_end_matches("()"));
        if (is_qualified && !is_foreign(names[0])) || is_strict {
            let missing = names.iter().find(|name| !is_named(name))?;
            return Some(format!("`{code}`: `{missing}` is in no source"));
        }
        None
    }

    /// `place` is the end of a source's path; `name` a word in it.
    fn dead_source(&self, place: &str, name: Option<&str>) -> Option<String> {
        // `{auth,push}.rs` names several.
        let places = alternatives(place);
        for place in &places {
            let is_it = |path: &&String| path.as_str() == place || path.ends_with(&format!("/{place}"));
            let found: Vec<&String> = self.sources.keys().filter(is_it).collect();
            if found.is_empty() {
                return Some(format!("no file named `{place}`"));
            }
            let Some(name) = name else { continue };
            let wanted = name.rsplit("::").next().unwrap_or(name).trim_end_matches("()");
            let has = |path: &&String| words(&self.sources[path.as_str()]).any(|word| word == wanted);
            if places.len() == 1 && wanted.chars().all(is_word) && !found.iter().any(has) {
                return Some(format!("`{name}` is not in `{place}`"));
            }
        }
        None
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character| !is_word(character)).filter(|word| !word.is_empty())
}

fn is_source_path(code: &str) -> bool {
    code.ends_with(".rs") && code.chars().all(|c| is_word(c) || "./-{},".contains(c)) && code != ".rs"
}

/// `snake_case` or `UPPER_CASE`, which ordinary text does not contain. `_suffix` is a part of names.
fn is_compound(code: &str) -> bool {
    if code.starts_with('_') {
        return false;
    }
    let is_snake = code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let is_upper = code.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    (is_snake || is_upper) && code.trim_matches('_').contains('_')
}

/// Paths into other crates are not checked.
fn is_foreign(first: &str) -> bool {
    matches!(first, "std" | "core" | "alloc" | "tokio" | "axum" | "hyper" | "serde" | "serde_json" | "anyhow")
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn alternatives(place: &str) -> Vec<String> {
    let parts = place.split_once('{').and_then(|(start, rest)| Some((start, rest.split_once('}')?)));
    match parts {
        Some((start, (inner, end))) => inner.split(',').map(|one| format!("{start}{one}{end}")).collect(),
        None => vec![place.to_owned()],
    }
}

/// Without `.` and `..`.
fn normal(path: &Path) -> String {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal.to_string_lossy().into_owned()
}

/// Headings as GitHub's fragments: lower case, without punctuation, hyphens for blanks, `-1` for the second of a
/// name.
fn fragments(text: &str) -> HashSet<String> {
    let (mut fragments, mut heading) = (HashSet::new(), None::<String>);
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let name = fragment(&heading.take().unwrap_or_default());
                let numbered = (1..).map(|number| format!("{name}-{number}"));
                let free = std::iter::once(name.clone()).chain(numbered).find(|one| !fragments.contains(one));
                fragments.extend(free);
            }
            _ => {}
        }
    }
    fragments
}

fn fragment(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars()
        .filter(|c| is_word(*c) || matches!(c, ' ' | '-'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Repository {
        let files =
            ["README.md", "ARCHITECTURE.md", "docs/queue.md", "cli/src/queue/state.rs", "cli/src/main.rs"];
        let documents = [
            ("README.md", "# Flash\n"),
            ("docs/queue.md", "# The queue\n\n## What `run` gives: ids\n\n## Limits\n\n## Limits\n"),
        ];
        let sources = [
            ("cli/src/queue/state.rs", "pub fn step(state: JobState) {}\nconst MAX_JOBS: u32 = 1;"),
            ("cli/src/main.rs", "impl Queue { fn submit() {} }"),
        ];
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
        };
        Repository::of(files.map(str::to_owned).into(), owned(&documents), owned(&sources))
    }

    fn dead(document: &str, text: &str) -> Vec<String> {
        repository().dead_references(document, text)
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let good = "[a](docs/queue.md) [b](docs/queue.md#what-run-gives-ids) [c](docs/queue.md#limits-1) [d](docs)\n\
                    [e](https://example.com/x) [f](#flash)";
        assert_eq!(dead("README.md", good), [""; 0]);
        assert_eq!(dead("docs/queue.md", "[up](../README.md)"), [""; 0]);
        let bad = "text\n\n[a](docs/gone.md) [b](docs/queue.md#gone) [c](#gone)";
        assert_eq!(
            dead("README.md", bad),
            [
                "README.md:3: the link `docs/gone.md` leads to no file",
                "README.md:3: the link `docs/queue.md#gone` leads to no heading of docs/queue.md",
                "README.md:3: the link `#gone` leads to no heading of README.md",
            ]
        );
    }

    #[test]
    fn names_in_code_are_those_of_sources() {
        let good =
            "`queue/state.rs: step`, `state.rs`, `queue/{state}.rs`, `Queue::submit`, `std::env::gone`, `x`";
        assert_eq!(dead("docs/queue.md", good), [""; 0]);
        let bad = "`queue/gone.rs`, `queue/state.rs: gone`, `Queue::gone`";
        assert_eq!(
            dead("docs/queue.md", bad),
            [
                "docs/queue.md:1: no file named `queue/gone.rs`",
                "docs/queue.md:1: `gone` is not in `queue/state.rs`",
                "docs/queue.md:1: `Queue::gone`: `gone` is in no source",
            ]
        );
    }

    #[test]
    fn the_architecture_names_nothing_that_is_gone() {
        let text = "`MAX_JOBS` is there, `MAX_GONE` and `log_ends` are not; `step` may be a word.";
        assert_eq!(dead("docs/queue.md", text), [""; 0]);
        assert_eq!(dead(STRICT, text).len(), 2, "{:?}", dead(STRICT, text));
    }
}

//! Which files of a model are needed.
use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

use wildmatch::WildMatch;

/// Patterns of files; none for all files. `*` stands for any characters, slashes too, and `?` for one.
#[derive(Debug, Clone, PartialEq)]
pub struct Patterns(Vec<(String, WildMatch)>);

impl Patterns {
    /// These patterns.
    pub fn new<T: AsRef<str>>(patterns: impl IntoIterator<Item = T>) -> Self {
        let patterns: BTreeSet<String> =
            patterns.into_iter().map(|pattern| pattern.as_ref().to_owned()).collect();
        Self(patterns.into_iter().map(|text| (text.clone(), WildMatch::new(&text))).collect())
    }

    /// Whether a file is needed. Names are relative to the model's directory, with `/`.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|(_, pattern)| pattern.matches(name))
    }

    /// The patterns that match none of these files. Without patterns, any file is enough.
    pub fn unmatched<'a, T: AsRef<str>>(&'a self, names: &[T]) -> Vec<&'a str> {
        if self.0.is_empty() && names.is_empty() {
            return vec!["*"];
        }
        let open =
            |(_, pattern): &&(String, WildMatch)| !names.iter().any(|name| pattern.matches(name.as_ref()));
        self.0.iter().filter(open).map(|(text, _)| text.as_str()).collect()
    }

    /// The patterns as text, each once and sorted.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(text, _)| text.as_str())
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("all files"),
            _ => f.write_str(&self.texts().collect::<Vec<_>>().join(", ")),
        }
    }
}

/// How deep the directory of a model is read, and how many files of it.
const MAX_DEPTH: usize = 8;
const MAX_FILES: usize = 20_000;

/// The files below a directory, sorted, with `/` between the parts of a name. Links are followed; broken ones are left out.
///
/// # Errors
/// When the directory cannot be read.
pub fn files_below(directory: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    let mut open: Vec<(PathBuf, String, usize)> = vec![(directory.to_owned(), String::new(), 0)];
    while let Some((path, prefix, depth)) = open.pop() {
        for entry in std::fs::read_dir(&path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = format!("{prefix}{name}");
            let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
            if metadata.is_dir() && depth < MAX_DEPTH {
                open.push((entry.path(), format!("{name}/"), depth + 1));
            } else if metadata.is_file() && files.len() < MAX_FILES {
                files.push(name);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_slashes_too_and_a_pattern_that_matches_nothing_is_named() {
        let patterns = Patterns::new(["*.safetensors", "tokenizer.json", "*.safetensors"]);
        assert!(patterns.matches("a/b.safetensors") && patterns.matches("tokenizer.json"));
        assert!(!patterns.matches("a/tokenizer.json") && !patterns.matches("model.bin"));
        assert_eq!(patterns.unmatched(&["x.safetensors"]), ["tokenizer.json"]);
        assert_eq!(patterns.to_string(), "*.safetensors, tokenizer.json");
        let all = Patterns::new([""; 0]);
        assert!(all.matches("anything") && all.unmatched(&["a"]).is_empty());
        assert_eq!(all.unmatched(&[""; 0]), ["*"]);
    }
}

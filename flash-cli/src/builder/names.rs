//! The names of images in a registry.
use std::collections::BTreeMap;

use oci_spec::distribution::{ParseError, Reference};

/// Placeholder for the worker type in a name.
const PLACEHOLDER: &str = "{worker}";

/// Why images cannot be named.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NamesError {
    #[error("`{name}` is not a valid image name")]
    Invalid { name: String, source: ParseError },
    #[error("`{0}` has no repository")]
    NoRepository(String),
    #[error("`{0}` has {{worker}} in the name of the registry")]
    SeveralRegistries(String),
    #[error("`{0}` has a tag or digest")]
    Tagged(String),
    #[error("the images of {first} and {second} would both be named {name}")]
    Same { name: String, first: String, second: String },
}

/// One repository per worker type: `REGISTRY/REPO-WORKER`, or with `{worker}` replaced. A worker type's name is
/// written in lower case, with a dash for characters that registries reject. Few registries allow more than one
/// level below an owner, so it is part of the last one.
///
/// # Errors
/// When the registry's rules allow no such name, and when two worker types would get the same name.
pub(crate) fn references(
    repository: &str,
    tag: &str,
    workers: &[String],
) -> Result<Vec<Reference>, NamesError> {
    let Some((host, _)) = repository.split_once('/') else {
        return Err(NamesError::NoRepository(repository.to_owned()));
    };
    if host.contains(PLACEHOLDER) {
        return Err(NamesError::SeveralRegistries(repository.to_owned()));
    }
    let last = repository.rsplit('/').next().unwrap_or(repository);
    if last.contains(':') || last.contains('@') {
        return Err(NamesError::Tagged(repository.to_owned()));
    }
    let mut taken: BTreeMap<String, &String> = BTreeMap::new();
    workers
        .iter()
        .map(|worker| {
            let part = part_of(worker);
            let name = match repository.contains(PLACEHOLDER) {
                true => repository.replace(PLACEHOLDER, &part),
                false => format!("{repository}-{part}"),
            };
            if let Some(first) = taken.insert(name.clone(), worker) {
                return Err(NamesError::Same { name, first: first.clone(), second: worker.clone() });
            }
            let name = format!("{name}:{tag}");
            name.parse().map_err(|source| NamesError::Invalid { name: name.clone(), source })
        })
        .collect()
}

fn part_of(worker: &str) -> String {
    let lower = worker.to_lowercase();
    let allowed = |char: char| if char.is_ascii_alphanumeric() || "._-".contains(char) { char } else { '-' };
    lower.chars().map(allowed).collect::<String>().trim_matches(|char| "._-".contains(char)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(repository: &str, tag: &str, workers: &[&str]) -> Result<Vec<String>, NamesError> {
        let workers: Vec<String> = workers.iter().map(|&name| name.to_owned()).collect();
        Ok(references(repository, tag, &workers)?.iter().map(Reference::whole).collect())
    }

    #[test]
    fn each_worker_type_has_a_repository_of_its_own() {
        assert_eq!(
            names("ghcr.io/me/app", "v1", &["cpu_worker", "Web"]).unwrap(),
            ["ghcr.io/me/app-cpu_worker:v1", "ghcr.io/me/app-web:v1"]
        );
        assert_eq!(
            names("localhost:5000/{worker}/flash", "1", &["a"]).unwrap(),
            ["localhost:5000/a/flash:1"]
        );
        assert_eq!(names("me/app", "1", &["a"]).unwrap(), ["docker.io/me/app-a:1"]);
    }

    #[test]
    fn names_that_no_registry_takes_are_refused() {
        assert!(matches!(names("ghcr.io/Me/app", "1", &["a"]), Err(NamesError::Invalid { .. })));
        assert!(matches!(names("ghcr.io/me/app", "a tag", &["a"]), Err(NamesError::Invalid { .. })));
        assert!(matches!(names("ghcr.io/me/app:v1", "1", &["a"]), Err(NamesError::Tagged(_))));
        assert!(matches!(names("localhost:5000", "1", &["a"]), Err(NamesError::NoRepository(_))));
        let several = names("{worker}.example.com/app", "1", &["a"]);
        assert!(matches!(several, Err(NamesError::SeveralRegistries(_))), "{several:?}");
        let same = names("ghcr.io/me/app", "1", &["Web", "web"]);
        assert!(matches!(same, Err(NamesError::Same { .. })), "{same:?}");
    }
}

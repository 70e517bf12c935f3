//! Names and labels of an environment's objects.
use flash_target::EnvironmentId;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The longest name of an environment's objects: a StatefulSet's pods add a number to it, and their labels a hash.
const LONGEST: usize = 40;
/// What a label and a pod's name may have at most.
pub(crate) const LABEL: usize = 63;
/// Characters of the hash that tells environments apart whose names are shortened to the same one.
const HASH: usize = 6;

/// Which part of an environment an object belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    Platform,
    Worker,
}

impl Component {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Worker => "worker",
        }
    }
}

/// The name of all objects of an environment: `flash-APP-ENVIRONMENT-HASH`, shortened where it is long.
pub(crate) fn name_of(id: &EnvironmentId) -> String {
    let hash = hash_of(&[&id.app, &id.name]);
    let readable = format!("flash-{}-{}", as_name(&id.app), id.name);
    let readable = readable.get(..LONGEST - HASH - 1).unwrap_or(&readable).trim_end_matches('-');
    format!("{readable}-{hash}")
}

/// The name of a worker's pod.
pub(crate) fn pod_name(environment: &str, worker: &str) -> String {
    let whole = format!("{environment}-{}", as_name(worker));
    match whole.len() <= LABEL && as_name(worker) == worker {
        true => whole,
        false => {
            let hash = hash_of(&[environment, worker]);
            let readable = whole.get(..LABEL - HASH - 1).unwrap_or(&whole).trim_end_matches('-');
            format!("{readable}-{hash}")
        }
    }
}

/// The labels of an environment's objects.
pub(crate) fn labels(name: &str, id: &EnvironmentId, component: Component) -> Value {
    json!({
        "app.kubernetes.io/name": label(&id.app),
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": component.as_str(),
        "app.kubernetes.io/part-of": "flash",
        "app.kubernetes.io/managed-by": "flash",
        "flash.dev/environment": id.name,
    })
}

/// What selects the objects of a part of an environment.
pub(crate) fn selector(name: &str, component: Component) -> String {
    format!("app.kubernetes.io/instance={name},app.kubernetes.io/component={}", component.as_str())
}

/// A text as the value of a label.
pub(crate) fn label(text: &str) -> String {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let text: String = text.chars().map(|letter| if is_allowed(letter) { letter } else { '-' }).collect();
    text.get(..LABEL).unwrap_or(&text).trim_matches(['-', '_', '.']).to_owned()
}

fn as_name(text: &str) -> String {
    let lower = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '-',
    };
    text.chars().map(lower).collect()
}

fn hash_of(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    hex[..HASH].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_name(text: &str) -> bool {
        let letters =
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        letters && !text.starts_with('-') && !text.ends_with('-') && text.len() <= LABEL
    }

    #[test]
    fn names_are_valid_and_different_for_different_environments() {
        let long = "a".repeat(100);
        let ids =
            [("api", "prod"), ("api-prod", "x"), ("My_App", "prod"), ("my-app", "prod"), (&long, "prod")];
        let names: Vec<String> =
            ids.iter().map(|(app, name)| name_of(&EnvironmentId::new(app, name).unwrap())).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(is_name(name) && name.len() <= LONGEST, "{name}");
            assert!(!names[..at].contains(name), "{name}");
        }
        assert!(names[0].starts_with("flash-api-prod-"), "{}", names[0]);
    }

    #[test]
    fn names_of_pods_are_those_of_their_workers_where_they_fit() {
        assert_eq!(pod_name("flash-a-b-123456", "embed-0a1b2c"), "flash-a-b-123456-embed-0a1b2c");
        for worker in ["Big_Model-0a1b2c".to_owned(), format!("{}-0a1b2c", "w".repeat(80))] {
            let name = pod_name("flash-a-b-123456", &worker);
            assert!(is_name(&name), "{name}");
        }
        assert_ne!(pod_name("e", "A-1"), pod_name("e", "a-1"));
    }

    #[test]
    fn a_label_has_what_is_allowed_in_one() {
        assert_eq!(label("a/b"), "a-b");
        assert_eq!(label(&format!("{}-", "a".repeat(62))).len(), 62);
    }
}

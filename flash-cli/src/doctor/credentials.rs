//! Credentials for registries: whether there are any, and for which. No secret is read or shown.
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use flash_image::registry::credential_files;
use serde::{Deserialize, de::IgnoredAny};

use super::Finding;

const NAME: &str = "credentials";
const FOR: &str = "flash build --push needs them if the registry requires a login";
const LOG_IN: &str = "podman login REGISTRY, or docker login REGISTRY";

/// The used parts of either engine's file: values, which may be secrets, are not kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logins {
    #[serde(default)]
    auths: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, IgnoredAny>,
    creds_store: Option<String>,
}

pub(super) fn finding() -> Finding {
    of_files(&credential_files(|name| std::env::var_os(name)))
}

fn of_files(places: &[PathBuf]) -> Finding {
    let mut registries = BTreeSet::new();
    for path in places {
        match registries_in(path) {
            Ok(found) => registries.extend(found),
            Err(reason) => {
                return Finding::note(NAME, format!("cannot use {}: {reason}", path.display()), FOR)
                    .fix(format!("remove it, then: {LOG_IN}"));
            }
        }
    }
    match registries.is_empty() {
        true => Finding::note(NAME, "none", FOR).fix(LOG_IN),
        false => {
            let names: Vec<String> = registries.into_iter().collect();
            Finding::good(NAME, format!("for {}", names.join(", ")))
        }
    }
}

/// The registries that a file has credentials for. Errors name only the place: the parser's message may quote a
/// secret.
fn registries_in(path: &Path) -> Result<Vec<String>, String> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| error.to_string())?,
    };
    let logins: Logins =
        serde_json::from_slice(&bytes).map_err(|error| format!("line {} is invalid", error.line()))?;
    let by_helper = logins.creds_store.map(|helper| format!("all in `{helper}`"));
    Ok(logins.auths.into_keys().chain(logins.cred_helpers.into_keys()).chain(by_helper).collect())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use tempfile::TempDir;

    use super::{super::State, *};

    fn of(text: &str) -> Finding {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        of_files(&[directory.path().join("nowhere.json"), path])
    }

    #[test]
    fn registries_are_named_and_secrets_are_not() {
        let found = of(
            r#"{"auths": {"ghcr.io": {"auth": "c2VjcmV0"}, "docker.io": {}}, "credHelpers": {"gcr.io": "gcloud"},
                "credsStore": "pass", "HttpHeaders": {"X": "secret"}}"#,
        );
        assert_eq!(
            (found.state, &*found.said),
            (State::Good, "for all in `pass`, docker.io, gcr.io, ghcr.io")
        );
    }

    #[test]
    fn none_and_a_broken_file_are_notes() {
        assert_eq!(of("{}").fix.as_deref(), Some(LOG_IN));
        let broken = of("{\"auths\": {\n\"ghcr.io\": secret");
        assert_eq!(broken.state, State::Note);
        assert!(broken.said.contains("config.json: line 2"), "{broken:?}");
        assert!(!broken.said.contains("secret"), "{broken:?}");
    }

    #[test]
    fn files_are_looked_for_where_the_engines_keep_them() {
        let home = |name: &str| (name == "HOME").then(|| "/h".into());
        let texts =
            |places: Vec<PathBuf>| places.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            texts(credential_files(home)),
            ["/h/.docker/config.json", "/h/.config/containers/auth.json"]
        );
        let all = |name: &str| Some(OsString::from(format!("/{name}")));
        let expected = [
            "/REGISTRY_AUTH_FILE",
            "/DOCKER_CONFIG/config.json",
            "/XDG_RUNTIME_DIR/containers/auth.json",
            "/XDG_CONFIG_HOME/containers/auth.json",
        ];
        assert_eq!(texts(credential_files(all)), expected);
    }
}

//! Where the user's credentials are: variables, and the files written by `docker login` and `podman login`.
//!
//! Looked up only when a registry requires them, so that a broken helper does not stop a push to an open registry.
//! Our own code: the crate for docker's file waits for a helper without a limit, does not know the longer keys of
//! Podman's file, and shows what a failing helper printed.
use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use oci_spec::distribution::Reference;
use serde::Deserialize;

use super::{
    address::{helper_key, registry_of_key},
    credential_helper,
    login::{Found, Login, LoginError, Origin, PASSWORD, USERNAME},
};

/// Where credentials are searched for, in this order: the variables, then the files.
#[derive(Debug, Clone, Default)]
pub struct Logins {
    /// Only for one registry: credentials for the registry being pushed to must not be sent to that of a base
    /// image.
    variables: Option<(String, Login)>,
    files: Vec<PathBuf>,
}

impl Logins {
    /// This user's credentials. The variables apply to the registry of the image being pushed, if any.
    pub fn of_user(pushed: Option<&Reference>) -> Self {
        Self::by(pushed, |name| env::var_os(name))
    }

    fn by(pushed: Option<&Reference>, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| given(name)?.into_string().ok();
        let variables = pushed.zip(text(USERNAME)).zip(text(PASSWORD));
        let variables = variables.map(|((image, user), password)| {
            (image.registry().to_owned(), Login::Password { user, password: password.into() })
        });
        Self { variables, files: credential_files(&variable) }
    }

    /// As if the variables held this user of this registry.
    #[cfg(test)]
    pub(super) fn with_password(registry: &str, user: &str, password: &str) -> Self {
        let login = Login::Password { user: user.to_owned(), password: password.into() };
        Self { variables: Some((registry.to_owned(), login)), files: Vec::new() }
    }

    /// The credentials in these files.
    #[cfg(test)]
    pub(super) fn in_files(files: &[&Path]) -> Self {
        Self { variables: None, files: files.iter().map(|&path| path.to_owned()).collect() }
    }

    /// The login for a repository of a registry.
    pub(super) async fn find(&self, registry: &str, repository: &str) -> Result<Option<Found>, LoginError> {
        if let Some((for_registry, login)) = &self.variables
            && for_registry == registry
        {
            return Ok(Some(Found { login: login.clone(), origin: Origin::Variables }));
        }
        for path in &self.files {
            let Some(file) = read(path).await? else { continue };
            if let Some(found) = file.find(path, registry, repository).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The credential files of docker and podman, in the order in which they are searched.
pub fn credential_files(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = path("DOCKER_CONFIG").or_else(|| Some(path("HOME")?.join(".docker")));
    let config = path("XDG_CONFIG_HOME").or_else(|| Some(path("HOME")?.join(".config")));
    let files = [
        path("REGISTRY_AUTH_FILE"),
        docker.map(|directory| directory.join("config.json")),
        path("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json")),
        config.map(|directory| directory.join("containers/auth.json")),
    ];
    files.into_iter().flatten().collect()
}

/// Docker's `config.json` or Podman's `auth.json`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: HashMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

async fn read(path: &Path) -> Result<Option<File>, LoginError> {
    let text = match tokio::fs::read(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LoginError::Read { path: path.to_owned(), source }),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| LoginError::File {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

impl File {
    /// A helper for this registry, then what is in the file, then the store for all registries.
    async fn find(&self, path: &Path, registry: &str, repository: &str) -> Result<Option<Found>, LoginError> {
        let mut helpers = self.cred_helpers.iter();
        let own = helpers.find(|(key, name)| registry_of_key(key) == registry && !name.is_empty());
        if let Some((_, name)) = own {
            return by_helper(name, registry).await;
        }
        if let Some((key, entry)) = self.entry(registry, repository) {
            let unclear = || LoginError::Entry { path: path.to_owned(), registry: key.to_owned() };
            if let Some(login) = entry.login().map_err(|Undecodable| unclear())? {
                return Ok(Some(Found { login, origin: Origin::File(path.to_owned()) }));
            }
        }
        match self.creds_store.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => by_helper(name, registry).await,
            None => Ok(None),
        }
    }

    /// The entry whose key matches the most of the repository.
    fn entry(&self, registry: &str, repository: &str) -> Option<(&str, &Entry)> {
        let whole = format!("{registry}/{repository}");
        let fits = |key: &str| {
            let key = registry_of_key(key);
            whole.strip_prefix(&key).is_some_and(|rest| rest.starts_with('/') || rest.is_empty())
        };
        let entries = self.auths.iter().map(|(key, entry)| (key.as_str(), entry));
        entries.filter(|(key, _)| fits(key)).max_by_key(|(key, _)| (registry_of_key(key).len(), *key))
    }
}

async fn by_helper(name: &str, registry: &str) -> Result<Option<Found>, LoginError> {
    let program = credential_helper::program(name);
    let login = credential_helper::ask(&program, helper_key(registry), credential_helper::LIMIT).await?;
    Ok(login.map(|login| Found { login, origin: Origin::Helper(program) }))
}

struct Undecodable;

impl Entry {
    /// `None` if an entry only says that a helper has a login.
    fn login(&self) -> Result<Option<Login>, Undecodable> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Login::IdentityToken(token.into())));
        }
        if let Some(encoded) = given(&self.auth) {
            let lenient =
                GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let decoded = GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(encoded.trim());
            let decoded = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(Undecodable)?;
            // Docker itself pads with zero bytes.
            let (user, password) = decoded.trim_end_matches('\0').split_once(':').ok_or(Undecodable)?;
            return Ok(Some(Login::Password { user: user.to_owned(), password: password.into() }));
        }
        let pair = given(&self.username).zip(given(&self.password));
        Ok(pair.map(|(user, password)| Login::Password { user, password: password.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::reference;

    #[tokio::test]
    async fn variables_are_for_the_registry_that_is_pushed_to() {
        let pushed = reference("ghcr.io/me/app:1").unwrap();
        let variable = |name: &str| match name {
            USERNAME => Some("me".into()),
            PASSWORD => Some("hunter2".into()),
            _ => None,
        };
        let logins = Logins::by(Some(&pushed), variable);
        let found = logins.find("ghcr.io", "me/app").await.unwrap().unwrap();
        assert!(matches!(&found.login, Login::Password { user, .. } if user == "me"));
        assert!(!format!("{logins:?} {found:?}").contains("hunter2"));
        assert!(logins.find("nvcr.io", "nvidia/cuda").await.unwrap().is_none());
        assert!(Logins::by(None, variable).find("ghcr.io", "me/app").await.unwrap().is_none());
        // A partial login does not count.
        let half = |name: &str| (name == PASSWORD).then(|| "hunter2".into());
        assert!(Logins::by(Some(&pushed), half).find("ghcr.io", "me/app").await.unwrap().is_none());
    }

    #[test]
    fn files_are_looked_at_where_docker_and_podman_keep_them() {
        let files = |variables: &[(&str, &str)]| {
            let variables: HashMap<&str, &str> = variables.iter().copied().collect();
            let logins = Logins::by(None, |name| variables.get(name).map(OsString::from));
            logins.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            files(&[("HOME", "/home/me"), ("XDG_RUNTIME_DIR", "/run/user/1")]),
            [
                "/home/me/.docker/config.json",
                "/run/user/1/containers/auth.json",
                "/home/me/.config/containers/auth.json",
            ]
        );
        let all = [("DOCKER_CONFIG", "/d"), ("REGISTRY_AUTH_FILE", "/r.json"), ("XDG_CONFIG_HOME", "/c")];
        assert_eq!(files(&all), ["/r.json", "/d/config.json", "/c/containers/auth.json"]);
        assert_eq!(files(&[("DOCKER_CONFIG", "")]), [""; 0]);
    }
}

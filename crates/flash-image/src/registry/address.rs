//! The address of a registry, and the names of images in it.

use oci_spec::distribution::Reference;
use reqwest::Url;

use super::error::RegistryError;

/// The name of Docker Hub in image names and credentials.
const DOCKER_HUB: &str = "docker.io";
/// The host of Docker Hub.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// Parses an image name, completed like docker does: `redis` is `docker.io/library/redis:latest`.
///
/// # Errors
/// When it is not a valid image name.
pub fn reference(name: &str) -> Result<Reference, RegistryError> {
    name.parse().map_err(|source| RegistryError::Name { name: name.to_owned(), source: Box::new(source) })
}

/// The address of a registry.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// As in image names: `docker.io`, `127.0.0.1:5000`.
    name: String,
    origin: Url,
}

impl Address {
    /// The address of the image's registry: HTTPS, or plain HTTP on loopback.
    pub(super) fn of(image: &Reference) -> Result<Self, RegistryError> {
        let name = image.registry();
        let host = if name == DOCKER_HUB { DOCKER_HUB_HOST } else { name };
        let parsed = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/"))
                .map_err(|source| RegistryError::Name { name: image.whole(), source: Box::new(source) })
        };
        let secure = parsed("https")?;
        let origin = if is_loopback(&secure) { parsed("http")? } else { secure };
        Ok(Self { name: name.to_owned(), origin })
    }

    /// Like [`Address::of`], with TLS on loopback too.
    #[cfg(test)]
    pub(super) fn with_tls(name: &str) -> Self {
        Self { name: name.to_owned(), origin: Url::parse(&format!("https://{name}/")).unwrap() }
    }

    /// As in image names.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.origin)
    }

    /// The URL of something in a repository, such as `manifests/latest`.
    pub(super) fn at(&self, repository: &str, path: &str) -> Url {
        let mut url = self.origin.clone();
        url.set_path(&format!("/v2/{repository}/{path}"));
        url
    }

    /// Whether this URL is at the registry, so that its credentials may be sent there.
    pub(super) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.origin.origin()
    }

    /// The URL that an answer names. A registry behind a proxy that terminates TLS may not know that it is called
    /// by HTTPS: its own host is never called by less.
    pub(super) fn follow(&self, from: &Url, location: &str) -> Option<Url> {
        let mut url = from.join(location).ok()?;
        let same_host = url.host_str() == self.origin.host_str() && url.port() == self.origin.port();
        if same_host && url.scheme() == "http" && self.origin.scheme() == "https" {
            url.set_scheme("https").ok()?;
        }
        self.may_name(&url).then_some(url)
    }

    /// Whether this registry may redirect us there. HTTPS is always allowed. Plain HTTP is only allowed from
    /// loopback to loopback: a remote registry must not reach what listens on this machine.
    pub(super) fn may_name(&self, url: &Url) -> bool {
        url.scheme() == "https" || (url.scheme() == "http" && self.is_loopback() && is_loopback(url))
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(flash_http::is_loopback)
}

/// The registry that a key of a credentials file refers to: `https://index.docker.io/v1/` is `docker.io`. A key of
/// Podman's may end in a path, which is kept.
pub(super) fn registry_of_key(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let bare = bare.trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    let (host, path) = bare.split_once('/').map_or((bare, None), |(host, path)| (host, Some(path)));
    let host = match host {
        "index.docker.io" | DOCKER_HUB_HOST => DOCKER_HUB,
        host => host,
    };
    path.map_or_else(|| host.to_owned(), |path| format!("{host}/{path}"))
}

/// The name of a registry for credential helpers.
pub(super) fn helper_key(registry: &str) -> &str {
    match registry {
        DOCKER_HUB => "https://index.docker.io/v1/",
        registry => registry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str) -> Address {
        Address::of(&reference(name).unwrap()).unwrap()
    }

    #[test]
    fn names_are_completed_as_docker_does() {
        assert_eq!(reference("redis").unwrap().whole(), "docker.io/library/redis:latest");
        assert_eq!(reference("me/app:1").unwrap().whole(), "docker.io/me/app:1");
        assert_eq!(address("redis").at("library/redis", "tags/list").as_str(), {
            "https://registry-1.docker.io/v2/library/redis/tags/list"
        });
        let error = reference("Registry.example/Upper:1").unwrap_err();
        assert!(matches!(error, RegistryError::Name { .. }), "{error:?}");
    }

    #[test]
    fn only_the_loopback_is_asked_without_tls() {
        for name in ["localhost:5000/a", "127.0.0.1:5000/a", "127.9.9.9:1/a", "localhost/a"] {
            assert!(address(name).at("a", "").as_str().starts_with("http://"), "{name}");
        }
        for name in ["registry.example/a", "localhost.example/a", "10.0.0.1:5000/a", "ghcr.io/a/b"] {
            assert!(address(name).at("a", "").as_str().starts_with("https://"), "{name}");
        }
        let loopback = Reference::with_tag("[::1]:5000".to_owned(), "a".to_owned(), "1".to_owned());
        assert_eq!(Address::of(&loopback).unwrap().at("a", "x").as_str(), "http://[::1]:5000/v2/a/x");
    }

    #[test]
    fn an_answer_does_not_lead_away_from_tls() {
        let address = address("registry.example/a");
        let from = address.at("a", "blobs/uploads/");
        let followed = |location| address.follow(&from, location).map(String::from);
        assert_eq!(followed("/v2/x?y=1").unwrap(), "https://registry.example/v2/x?y=1");
        assert_eq!(followed("http://registry.example/x").unwrap(), "https://registry.example/x");
        assert_eq!(followed("http://elsewhere.example/x"), None);
        let elsewhere = address.follow(&from, "https://elsewhere.example/x").unwrap();
        assert!(!address.owns(&elsewhere) && address.owns(&from));
    }

    #[test]
    fn only_a_registry_on_the_loopback_leads_to_the_loopback_without_tls() {
        let (here, elsewhere) = (address("localhost:5000/a"), address("registry.example/a"));
        for host in ["127.0.0.1:8080", "localhost", "[::1]:8080"] {
            let plain = Url::parse(&format!("http://{host}/token")).unwrap();
            assert!(here.may_name(&plain), "{plain}");
            assert!(!elsewhere.may_name(&plain), "{plain}");
            let from = elsewhere.at("a", "blobs/uploads/");
            assert_eq!(elsewhere.follow(&from, plain.as_str()), None);
        }
        let outside = Url::parse("http://registry.example/token").unwrap();
        assert!(!here.may_name(&outside) && !elsewhere.may_name(&outside));
    }

    #[test]
    fn keys_of_credentials_files_name_registries() {
        for (key, registry) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("ghcr.io", "ghcr.io"),
            ("https://registry.example:5000/v2/", "registry.example:5000"),
            ("quay.io/team/app", "quay.io/team/app"),
        ] {
            assert_eq!(registry_of_key(key), registry);
        }
    }
}

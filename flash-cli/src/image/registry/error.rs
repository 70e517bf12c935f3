//! Why an image did not get to or from a registry, and what to do about it.
use std::{error::Error, time::Duration};

use oci_spec::image::Digest;

use super::logins::{LoginError, PASSWORD, USERNAME};
use crate::image::LayoutError;

/// A cause of another library.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// See the module. No message and no cause holds a password, a token or the query of an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RegistryError {
    #[error("`{name}` is not the name of an image")]
    Name { name: String, source: Cause },
    #[error("registry {registry} does not take the name `{repository}`{}", because(reason.as_deref()))]
    NameRefused { registry: String, repository: String, reason: Option<String> },
    #[error("registry {registry} cannot be reached")]
    Unreachable { registry: String, source: Cause },
    #[error("registry {registry} wants a token of {server}")]
    TokenServer { registry: String, server: String, source: Box<RegistryError> },
    #[error("the connection to registry {registry} broke")]
    Broken { registry: String, source: Cause },
    #[error("registry {registry} shows a certificate of an authority that this machine does not know")]
    UnknownAuthority { registry: String, source: Cause },
    #[error("no TLS connection to registry {registry}")]
    Tls { registry: String, source: Cause },
    #[error("registry {registry} wants credentials, and there are none for it")]
    NoCredentials { registry: String },
    #[error("registry {registry} refused the credentials of {origin}")]
    WrongPassword { registry: String, origin: String },
    #[error("no permission for `{repository}` in registry {registry}{}", because(reason.as_deref()))]
    Denied { registry: String, repository: String, reason: Option<String> },
    #[error("registry {registry} has too many requests")]
    TooManyRequests { registry: String, retry_after: Option<Duration> },
    #[error("registry {registry} failed to {task}: status {status}{}", because(reason.as_deref()))]
    Failing {
        registry: String,
        task: &'static str,
        status: u16,
        reason: Option<String>,
        retry_after: Option<Duration>,
    },
    #[error("registry {registry} refused to {task}: status {status}{}", because(reason.as_deref()))]
    Refused {
        registry: String,
        task: &'static str,
        status: u16,
        /// Of the specification's list, or nothing.
        code: String,
        reason: Option<String>,
    },
    #[error("registry {registry} lost an upload")]
    UploadLost { registry: String, source: Box<RegistryError> },
    #[error("registry {registry} refused the manifest of {image}{}", because(reason.as_deref()))]
    ManifestRefused { registry: String, image: String, reason: Option<String> },
    #[error("{registry} does not answer as a registry does: {what}")]
    Protocol { registry: String, what: String },
    #[error("{what} has the digest {found}, not {wanted}")]
    DigestMismatch { what: String, wanted: Digest, found: String },
    #[error("{image} reads back as {found} after the push of {wanted}")]
    TagMoved { image: String, wanted: Digest, found: String },
    #[error("there is no image {image}")]
    NotFound { image: String },
    #[error("image {image} is not for {wanted}: it is for {}", offered.join(", "))]
    NoPlatform { image: String, wanted: String, offered: Vec<String> },
    #[error("{what} cannot be used: {reason}")]
    Unsupported { what: String, reason: &'static str },
    #[error("given up after {tries} tries")]
    GivenUp { tries: u32, source: Box<RegistryError> },
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("the HTTP client cannot be made")]
    Client { source: Cause },
}

impl RegistryError {
    /// Whether the same request may be answered another time.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::UploadLost { .. }
            | Self::TooManyRequests { .. }
            | Self::Failing { .. } => true,
            Self::TokenServer { source, .. } => source.is_passing(),
            _ => false,
        }
    }

    /// How long the registry wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Failing { retry_after, .. } => *retry_after,
            Self::TokenServer { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    /// What to do next, where that can be said.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Name { .. } => {
                "a name is REGISTRY/REPOSITORY[:TAG] in lower case, such as ghcr.io/me/app:1".to_owned()
            }
            Self::NameRefused { .. } => {
                "does the project or namespace exist there? some registries want it made first".to_owned()
            }
            Self::Unreachable { registry, .. } => {
                format!("does it run, and is the name right? try: curl -i {}", probe(registry))
            }
            Self::Broken { .. } | Self::UploadLost { .. } => {
                "run the same command again: what the registry has already is not sent again".to_owned()
            }
            Self::UnknownAuthority { .. } => {
                "add the authority's certificate to the system's, or name a file with it and the others that \
                 are needed in SSL_CERT_FILE"
                    .to_owned()
            }
            Self::Tls { .. } => {
                "only localhost and 127.0.0.0/8 are spoken to without TLS; any other registry needs a \
                 certificate that is valid for its name"
                    .to_owned()
            }
            Self::NoCredentials { registry } => {
                format!(
                    "docker login {registry}, or podman login {registry}, or set {USERNAME} and {PASSWORD}; \
                     some registries say the same of a repository that is not there"
                )
            }
            Self::WrongPassword { registry, origin } if origin.contains(USERNAME) => {
                format!("set both variables to a user of {registry} and their password or token")
            }
            Self::WrongPassword { registry, .. } => {
                format!("log in again: docker login {registry}, or set {USERNAME} and {PASSWORD}")
            }
            Self::Denied { registry, .. } => {
                format!(
                    "ask the owner for the right to it, or log in as another user: docker login {registry}"
                )
            }
            Self::TooManyRequests { .. } => {
                "wait a while and run the same command again; with a login the limit is often higher"
                    .to_owned()
            }
            Self::Failing { .. } => {
                "the failure is on the registry's side: a full disk there looks like this, and its log tells"
                    .to_owned()
            }
            Self::ManifestRefused { .. } => {
                "does this registry take OCI images, and may this tag be changed?".to_owned()
            }
            Self::Protocol { registry, .. } => {
                format!("does this show a registry? curl -i {}", probe(registry))
            }
            Self::DigestMismatch { .. } => {
                "run the same command again; if it stays, what is stored is damaged".to_owned()
            }
            Self::TagMoved { .. } => {
                "does something else push the same tag? the image is there by its digest".to_owned()
            }
            Self::NotFound { .. } => {
                "is the name right, and the tag? a private image looks the same without a login".to_owned()
            }
            Self::NoPlatform { .. } => "name an image that has this platform".to_owned(),
            Self::GivenUp { source, .. } | Self::TokenServer { source, .. } => return source.hint(),
            Self::Login(error) => return error.hint(),
            Self::Refused { .. } | Self::Unsupported { .. } | Self::Layout(_) | Self::Client { .. } => {
                return None;
            }
        };
        Some(hint)
    }
}

/// Where a registry says that it is one.
fn probe(registry: &str) -> String {
    let loopback = ["localhost", "127.", "[::1]"].iter().any(|host| registry.starts_with(host));
    format!("{}://{registry}/v2/", if loopback { "http" } else { "https" })
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

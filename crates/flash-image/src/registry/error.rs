//! Why a transfer to or from a registry failed, and what to do about it.
use std::{error::Error, time::Duration};

use flash_http::retry::Failure;
use oci_spec::image::Digest;

use super::login::{LoginError, Origin, PASSWORD, USERNAME};
use crate::LayoutError;

/// An error of another library.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// See the module. No message and no cause contains a password, a token or the query of a URL.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
#[non_exhaustive]
pub enum RegistryError {
    #[error("`{name}` is not a valid image name")]
    Name { name: String, source: Cause },
    #[error("registry {registry} rejected the name `{repository}`{}", because(reason.as_deref()))]
    NameRefused { registry: String, repository: String, reason: Option<String> },
    #[error("cannot reach registry {registry}")]
    Unreachable { registry: String, source: Cause },
    #[error("cannot get a token for registry {registry} from {server}")]
    TokenServer { registry: String, server: String, source: Box<RegistryError> },
    #[error("the connection to registry {registry} broke")]
    Broken { registry: String, source: Cause },
    #[error("registry {registry} has a certificate from an authority that this machine does not trust")]
    UnknownAuthority { registry: String, source: Cause },
    #[error("no TLS connection to registry {registry}")]
    Tls { registry: String, source: Cause },
    #[error("registry {registry} requires credentials, and none were found")]
    NoCredentials { registry: String },
    #[error("registry {registry} rejected the credentials from {origin}")]
    WrongPassword { registry: String, origin: Origin },
    #[error("no permission for `{repository}` in registry {registry}{}", because(reason.as_deref()))]
    Denied { registry: String, repository: String, reason: Option<String> },
    #[error("registry {registry}: rate limit reached")]
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
        /// A code of the specification's list, or empty.
        code: String,
        reason: Option<String>,
    },
    #[error("registry {registry} lost an upload")]
    UploadLost { registry: String, source: Box<RegistryError> },
    #[error("registry {registry} rejected the manifest of {image}{}", because(reason.as_deref()))]
    ManifestRefused { registry: String, image: String, reason: Option<String> },
    #[error("{registry} does not answer like a registry: {what}")]
    Protocol { registry: String, what: String },
    #[error("{what} has the digest {found}, not {wanted}")]
    DigestMismatch { what: String, wanted: Digest, found: String },
    #[error("{image} reads back as {found} after the push of {wanted}")]
    TagMoved { image: String, wanted: Digest, found: String },
    #[error("image {image} not found")]
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
    #[error("cannot create an HTTP client")]
    Client { source: Cause },
}

impl Failure for RegistryError {
    fn is_passing(&self) -> bool {
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

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Failing { retry_after, .. } => *retry_after,
            Self::TokenServer { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    fn given_up(self, tries: u32) -> Self {
        Self::GivenUp { tries, source: Box::new(self) }
    }
}

impl RegistryError {
    /// What to do next, if known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Name { .. } => {
                "use REGISTRY/REPOSITORY[:TAG] in lower case, such as ghcr.io/me/app:1".to_owned()
            }
            Self::NameRefused { .. } => {
                "check that the project or namespace exists there: some registries require it to be created \
                 first".to_owned()
            }
            Self::Unreachable { registry, .. } => {
                format!("check that it is running and that the name is correct: curl -i {}", probe(registry))
            }
            Self::Broken { .. } | Self::UploadLost { .. } => {
                "run the same command again: what the registry already has is not sent again".to_owned()
            }
            Self::UnknownAuthority { .. } => {
                "add the authority's certificate to the system's, or set SSL_CERT_FILE to a file with all needed \
                 certificates"
                    .to_owned()
            }
            Self::Tls { .. } => {
                "only localhost and 127.0.0.0/8 may be used without TLS; any other registry needs a \
                 valid certificate for its name"
                    .to_owned()
            }
            Self::NoCredentials { registry } => {
                format!(
                    "log in: docker login {registry}, or podman login {registry}, or set {USERNAME} and {PASSWORD}; \
                     some registries answer the same for a repository that does not exist"
                )
            }
            Self::WrongPassword { registry, origin: Origin::Variables } => {
                format!("set both variables to a user of {registry} and that user's password or token")
            }
            Self::WrongPassword { registry, .. } => {
                format!("log in again: docker login {registry}, or set {USERNAME} and {PASSWORD}")
            }
            Self::Denied { registry, .. } => {
                format!(
                    "ask its owner for permission, or log in as another user: docker login {registry}"
                )
            }
            Self::TooManyRequests { .. } => {
                "wait a while and run the same command again; logged-in users often have a higher limit"
                    .to_owned()
            }
            Self::Failing { .. } => {
                "the error is on the registry's side, for example a full disk: see its log"
                    .to_owned()
            }
            Self::ManifestRefused { .. } => {
                "check that this registry accepts OCI images, and that this tag may be changed".to_owned()
            }
            Self::Protocol { registry, .. } => {
                format!("check that it is a registry: curl -i {}", probe(registry))
            }
            Self::DigestMismatch { .. } => {
                "run the same command again; if the error persists, the stored data is damaged".to_owned()
            }
            Self::TagMoved { .. } => {
                "check whether something else pushes the same tag; the image can be pulled by its digest".to_owned()
            }
            Self::NotFound { .. } => {
                "check the name and the tag; without a login, private images are not found either".to_owned()
            }
            Self::NoPlatform { .. } => "choose an image that has this platform".to_owned(),
            Self::GivenUp { source, .. } | Self::TokenServer { source, .. } => return source.hint(),
            Self::Login(error) => return error.hint(),
            Self::Refused { .. } | Self::Unsupported { .. } | Self::Layout(_) | Self::Client { .. } => {
                return None;
            }
        };
        Some(hint)
    }
}

/// The URL that identifies a registry.
fn probe(registry: &str) -> String {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => registry,
    };
    let loopback = flash_http::is_loopback(host);
    format!("{}://{registry}/v2/", if loopback { "http" } else { "https" })
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

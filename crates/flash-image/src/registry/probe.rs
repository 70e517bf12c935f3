//! Checks a registry before a push, and as an anonymous user.
use reqwest::{StatusCode, header};

use super::{
    address::Address, auth::Scope, connection::Registry, error::RegistryError, logins::Logins,
    manifest::accepted_manifests, retry::RetryPolicy,
};
use oci_spec::distribution::Reference;

/// Whether an image exists, checked with push permission, so that a missing permission shows.
///
/// # Errors
/// When the registry cannot be reached, or rejects the login.
pub async fn image_exists(registry: &Registry, image: &Reference) -> Result<bool, RegistryError> {
    has(registry, image, &Scope::push(image.repository())).await
}

/// Whether anybody can pull an image without a login.
///
/// # Errors
/// When the registry cannot be reached.
pub async fn is_public(image: &Reference) -> Result<bool, RegistryError> {
    let registry = Registry::of(image, Logins::default(), RetryPolicy::default())?;
    match has(&registry, image, &Scope::pull(image.repository())).await {
        // For an image that may not be seen, the registry does not say whether it exists.
        Err(
            RegistryError::NoCredentials { .. }
            | RegistryError::WrongPassword { .. }
            | RegistryError::Denied { .. },
        ) => Ok(false),
        answer => answer,
    }
}

/// Whether the image's registry is on this machine, where nobody else can reach it.
pub fn is_on_this_machine(image: &Reference) -> bool {
    Address::of(image).is_ok_and(|address| address.is_loopback())
}

async fn has(registry: &Registry, image: &Reference, scope: &Scope) -> Result<bool, RegistryError> {
    let task = "check for an image";
    let name = image.digest().or_else(|| image.tag()).unwrap_or("latest");
    let url = registry.url(image.repository(), &format!("manifests/{name}"));
    let accept = accepted_manifests();
    let request = |client: &reqwest::Client| client.head(url.clone()).header(header::ACCEPT, &accept);
    let answer = registry.ask(scope, task, request).await?;
    match answer.status() {
        StatusCode::NOT_FOUND => Ok(false),
        status if status.is_success() => Ok(true),
        _ => Err(registry.refusal(task, answer).await),
    }
}

//! A look at a registry before something is pushed to it, and as somebody else sees it.
use reqwest::{StatusCode, header};

use super::{
    address::Address, auth::Scope, connection::Registry, error::RegistryError, logins::Logins,
    patience::Patience, pull::accepted_manifests,
};
use oci_spec::distribution::Reference;

/// Whether an image is there, asked with the rights of a push: whoever may not push is told so.
///
/// # Errors
/// When the registry cannot be reached, or refuses the login.
pub(crate) async fn is_there(registry: &Registry, image: &Reference) -> Result<bool, RegistryError> {
    has(registry, image, &Scope::push(image.repository())).await
}

/// Whether anybody can pull an image, without a login.
///
/// # Errors
/// When the registry cannot be reached.
pub(crate) async fn is_public(image: &Reference) -> Result<bool, RegistryError> {
    let registry = Registry::of(image, Logins::default(), Patience::default())?;
    match has(&registry, image, &Scope::pull(image.repository())).await {
        // Of what may not be seen it is not told whether it is there.
        Err(
            RegistryError::NoCredentials { .. }
            | RegistryError::WrongPassword { .. }
            | RegistryError::Denied { .. },
        ) => Ok(false),
        answer => answer,
    }
}

/// Whether the image's registry is on this machine: nobody else reaches it.
pub(crate) fn is_on_this_machine(image: &Reference) -> bool {
    Address::of(image).is_ok_and(|address| address.is_loopback())
}

async fn has(registry: &Registry, image: &Reference, scope: &Scope) -> Result<bool, RegistryError> {
    let task = "say whether an image is there";
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

//! Images to and from real registries, over unreliable connections.
mod breaks;
mod credentials;
mod failures;
mod images;
mod proxy;
mod pulls;
mod pushes;
mod resuming;
mod token_server;
mod tokens;

use std::time::Duration;

use flash_test_support::docker_registry::{self, DockerRegistry};
use oci_spec::distribution::Reference;

use super::{Logins, Registry, RegistryError, RetryPolicy, push::Pushed, reference};
use images::Image;

/// The usual number of tries, in less time.
const QUICK: RetryPolicy = RetryPolicy {
    max_attempts: 6,
    first_pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(100),
    max_elapsed: None,
};

/// A real registry, if one can be started.
fn docker_registry() -> Option<DockerRegistry> {
    docker_registry::has_programs(&["docker-registry"]).then(DockerRegistry::start)
}

fn name(address: &str, path: &str) -> Reference {
    reference(&format!("{address}/{path}")).unwrap()
}

fn registry(image: &Reference, logins: Logins) -> Registry {
    Registry::of(image, logins, QUICK).unwrap()
}

/// Pushes without credentials.
async fn push(image: &Image, to: &Reference) -> Result<Pushed, RegistryError> {
    push_as(image, to, Logins::default()).await
}

async fn push_as(image: &Image, to: &Reference, logins: Logins) -> Result<Pushed, RegistryError> {
    super::push(&registry(to, logins), &image.layout, &image.manifest, &[], to, &|_| {}).await
}

/// Everything that a user may see of an error.
fn shown(error: &RegistryError) -> String {
    format!("{}\n{error:?}\n{:?}", flash_text::error_chain(error), error.hint())
}

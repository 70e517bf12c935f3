//! The images of worker types that were built elsewhere: what their names stand for, as a build records it.
//!
//! Nothing is built of them and nothing is downloaded but what describes them: a release names them by digest.
use flash_image::registry::{self, Logins, Registry, RegistryError, RetryPolicy};

use super::{record::ExternalImage, steps::Build};
use crate::exit::{Failure, FailureCode};

/// Why a worker type's image cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the image of worker type `{worker}` in flash.toml")]
struct ImageError {
    worker: String,
    source: RegistryError,
}

impl Build<'_> {
    /// Asks the registries for the images of all worker types that have one, and for their platform.
    ///
    /// # Errors
    /// For the first that does not exist, that may not be pulled from here, or that is for another platform.
    pub(super) async fn program_images(&self) -> Result<Vec<ExternalImage>, Failure> {
        let mut found = Vec::new();
        for command in self.config.commands() {
            let Some(image) = command.program.image() else { continue };
            let worker = command.worker_type.name.clone();
            let resolved = self.resolve(image).await.map_err(|source| failed(worker.clone(), source))?;
            if resolved != image {
                self.output.status("Resolved", &format!("{image} of {worker}: {resolved}"));
            }
            found.push(ExternalImage { worker, name: image.to_owned(), image: resolved });
        }
        Ok(found)
    }

    /// The image by its digest.
    async fn resolve(&self, image: &str) -> Result<String, RegistryError> {
        let named = registry::reference(image)?;
        let registry = Registry::of(&named, Logins::of_user(None), RetryPolicy::default())?;
        let digest = registry::resolve(&registry, &named, &self.platform.of_image()).await?;
        Ok(named.clone_with_digest(digest.to_string()).whole())
    }
}

fn failed(worker: String, source: RegistryError) -> Failure {
    let hint = match &source {
        RegistryError::NotFound { .. } => {
            Some(format!("correct `image` under [workers.{worker}] in flash.toml"))
        }
        RegistryError::NoPlatform { wanted, .. } => {
            Some(format!("name an image under [workers.{worker}] in flash.toml that was built for {wanted}"))
        }
        other => other.hint(),
    };
    let code = match &source {
        RegistryError::NotFound { .. }
        | RegistryError::NoPlatform { .. }
        | RegistryError::NoCredentials { .. }
        | RegistryError::WrongPassword { .. }
        | RegistryError::Denied { .. } => FailureCode::Unusable,
        _ => FailureCode::Failed,
    };
    let failure = Failure::of(code, &ImageError { worker, source });
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

//! Pushes a build's images to a registry: one repository per worker type, with bills of materials attached.
use std::time::Instant;

use flash_image::{
    Image, SBOM_MEDIA_TYPE,
    registry::{self, Attachment, Logins, Registry, RegistryError, RetryPolicy},
};
use oci_spec::distribution::Reference;

use super::{
    make::Built,
    names::{NamesError, references},
    progress::BlobProgress,
    record::BuildDirectory,
};
use crate::{
    exit::{Failure, FailureCode},
    output::Output,
};

/// Placeholder for a tag that is not known yet.
pub(crate) const ANY_TAG: &str = "latest";

/// Pushes each image to the name at its position, and adds the names to the record.
///
/// # Errors
/// When the registry rejects an image or its bill of materials: earlier ones are there with their tags, and its own
/// tag is unchanged.
pub(crate) async fn push(built: &mut Built, names: &[Reference], output: &Output) -> Result<(), Failure> {
    let Some(first) = names.first() else { return Ok(()) };
    let started = Instant::now();
    // One connection for all: what one repository has is mounted into the others.
    let registry = Registry::of(first, Logins::of_user(Some(first)), RetryPolicy::default())?;
    for (index, (image, name)) in built.images.iter().zip(names).enumerate() {
        push_one(&registry, built, image, name, output).await?;
        built.record.images[index].reference = Some(format!("{}@{}", name.whole(), image.manifest.digest()));
        // One by one: a later one may fail.
        built.record.save(&built.directory)?;
    }
    built.seconds.push = started.elapsed().as_secs_f64();
    Ok(())
}

/// Whether the registry answers and accepts this user's login; checked before a build. `workers` are those whose
/// names are known: a missing permission for a repository with a guessed name is ignored.
///
/// # Errors
/// When no push could succeed.
pub(crate) async fn look_ahead(repository: &str, workers: &[String]) -> Result<(), LookAheadError> {
    let guessed = ["worker".to_owned()];
    let names = references(repository, ANY_TAG, if workers.is_empty() { &guessed } else { workers })?;
    let Some(first) = names.first() else { return Ok(()) };
    let registry = Registry::of(first, Logins::of_user(Some(first)), RetryPolicy::default())?;
    match registry::image_exists(&registry, first).await {
        Err(RegistryError::Denied { .. } | RegistryError::NameRefused { .. }) if workers.is_empty() => Ok(()),
        answer => Ok(answer.map(drop)?),
    }
}

/// Why nothing could be pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookAheadError {
    #[error(transparent)]
    Names(#[from] NamesError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

async fn push_one(
    registry: &Registry,
    built: &Built,
    image: &Image,
    name: &Reference,
    output: &Output,
) -> Result<(), Failure> {
    let started = Instant::now();
    let bar = output.progress("Pushing", &name.whole());
    let blobs = BlobProgress::default();
    let progress = |progress: registry::Progress| blobs.show(progress, &bar);
    let bill = bill(&built.directory, &image.name)?;
    let push = registry::push(registry, &built.layout, &image.manifest, bill.as_slice(), name, &progress);
    let pushed = push.await?;
    drop(bar);
    let kilobytes = pushed.uploaded_bytes.div_ceil(1000);
    output.status(
        "Pushed",
        &format!(
            "{} ({} blobs uploaded, {kilobytes} kB; {} already there, {} mounted; {:.1} s)",
            name.whole(),
            pushed.uploaded,
            pushed.skipped,
            pushed.mounted,
            started.elapsed().as_secs_f64()
        ),
    );
    Ok(())
}

/// The bill of materials, unless none was made.
fn bill(directory: &BuildDirectory, worker: &str) -> Result<Option<Attachment>, Failure> {
    let path = directory.sbom(worker);
    match std::fs::read(&path) {
        Ok(content) => Ok(Some(Attachment {
            artifact_type: SBOM_MEDIA_TYPE.to_owned(),
            file_name: format!("{worker}.cdx.json"),
            content: content.into(),
        })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::of(FailureCode::Failed, &error)),
    }
}

//! Bills of materials: the crates in each image's binary, stored beside the images.
use std::{collections::BTreeMap, io};

use cargo_metadata::MetadataCommand;
use flash_image::{SbomError, sbom};

use super::{plan::Variant, record::BuildDirectory};
use crate::project::{BuiltApp, Package};

/// Why there is no bill of materials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MaterialsError {
    #[error("cargo cannot list the binary's dependencies")]
    Metadata(#[source] cargo_metadata::Error),
    #[error(transparent)]
    Sbom(#[from] SbomError),
    #[error("cannot write {}", path.display())]
    Write { path: std::path::PathBuf, source: io::Error },
}

/// Writes a bill of materials for each of these worker types into the new build's directory. Runs cargo and writes
/// files, so it belongs on a blocking thread.
///
/// # Errors
/// When cargo fails or the directory cannot be written.
pub(super) fn write(
    package: &Package,
    directory: &BuildDirectory,
    images: &[(String, Variant)],
    binaries: &BTreeMap<Variant, BuiltApp>,
) -> Result<(), MaterialsError> {
    let place = directory.new_sboms();
    let unwritable = |source| MaterialsError::Write { path: place.clone(), source };
    let mut bills: BTreeMap<&Variant, Vec<u8>> = BTreeMap::new();
    for (_, variant) in images {
        if !bills.contains_key(variant) {
            let metadata = MetadataCommand::new()
                .manifest_path(package.directory.join("Cargo.toml"))
                .current_dir(&package.directory)
                .other_options(options(variant))
                .exec()
                .map_err(MaterialsError::Metadata)?;
            let compiled = binaries.get(variant).map(|built| &built.packages);
            bills.insert(variant, sbom(&metadata, &package.name, compiled)?);
        }
    }
    // Left by an interrupted build.
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).map_err(unwritable)?;
    images.iter().try_for_each(|(worker, variant)| {
        std::fs::write(place.join(format!("{worker}.cdx.json")), &bills[variant]).map_err(unwritable)
    })
}

fn options(variant: &Variant) -> Vec<String> {
    let mut options = vec!["--filter-platform".to_owned(), variant.target.triple.clone()];
    if !variant.features.is_empty() {
        let features: Vec<&str> = variant.features.iter().map(String::as_str).collect();
        options.extend(["--features".to_owned(), features.join(",")]);
    }
    options
}

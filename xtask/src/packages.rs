//! Packages every crate as it would be published: what a package lacks or may not have is found before a release.
use crate::{
    command::{self, cargo},
    failure::Failure,
    metadata,
};

/// Packages the crates that may be published. Does not compile them again.
///
/// # Errors
/// If one cannot be packaged, for example because it depends on a crate that is not published.
pub(crate) fn check() -> Result<(), Failure> {
    let published = metadata::packages()?.into_iter().filter(|package| package.publish.is_none());
    let names = published.flat_map(|package| ["--package".to_owned(), package.name]);
    // Builds have downloaded what it looks up. Whether the sources are committed is not the question here.
    command::run(cargo(&["package", "--quiet", "--no-verify", "--allow-dirty", "--offline"]).args(names))
}

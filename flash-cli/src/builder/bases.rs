//! The base images of a build, and the digests to record for their names. `base_pulls` pulls them.
use std::collections::BTreeMap;

use flash_image::{
    Base, Layout,
    registry::{Logins, Registry, RegistryError, RetryPolicy},
};
use oci_spec::{distribution::Reference, image::Digest};

use super::{cuda::DEFAULT_BASE, plan::PlannedBase, record::ResolvedBase};

/// The bases of a build, by the names of the images.
#[derive(Clone, Default)]
pub(super) struct Bases(BTreeMap<String, PulledBase>);

/// A base in the layout.
#[derive(Clone)]
pub(super) struct PulledBase {
    pub base: Base,
    pub resolved: ResolvedBase,
    /// Its blobs other than layers: index or manifest by its name, manifest, config.
    pub own: [Digest; 3],
}

/// A base to pull.
pub(super) struct WantedBase {
    /// In full, as in flash.toml.
    pub name: String,
    /// Whose images it is for, such as `` `a`, `b` ``.
    pub workers: String,
    /// Whether its digest is that of an earlier build.
    pub is_recorded: bool,
    /// By digest, if that is known.
    pub from: Reference,
}

impl WantedBase {
    pub(super) fn registry(&self) -> Result<Registry, BaseError> {
        Registry::of(&self.from, Logins::of_user(None), RetryPolicy::default())
            .map_err(|error| self.failed(error))
    }

    /// Whether the layout has the manifest, and so the base of an earlier build.
    pub(super) fn is_in(&self, layout: &Layout) -> bool {
        let digest = self.from.digest().and_then(|digest| digest.parse::<Digest>().ok());
        digest.is_some_and(|digest| layout.blob(&digest).is_file())
    }

    pub(super) fn failed(&self, source: RegistryError) -> BaseError {
        let (name, workers) = (self.name.clone(), self.workers.clone());
        BaseError { name, workers, is_recorded: self.is_recorded, source: Box::new(source) }
    }
}

/// Why a base is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot pull base image {name} of {workers}")]
pub(crate) struct BaseError {
    name: String,
    /// Whose images it is for, such as `` `a`, `b` ``.
    workers: String,
    /// Whether the digest is that of an earlier build.
    is_recorded: bool,
    source: Box<RegistryError>,
}

impl BaseError {
    /// What to do next, if known.
    pub(super) fn hint(&self) -> Option<String> {
        match &*self.source {
            RegistryError::NotFound { .. } if self.is_recorded => Some(
                "the image of the last build is gone; to use what the tag names now: flash build --update-base"
                    .to_owned(),
            ),
            other => other.hint(),
        }
    }
}

impl Bases {
    /// Adds one, by its full name.
    pub(super) fn add(&mut self, pulled: PulledBase) {
        self.0.insert(pulled.resolved.name.clone(), pulled);
    }

    /// The base of a planned image, and what its name was resolved to.
    pub(super) fn of(&self, planned: Option<&PlannedBase>) -> (Base, Option<ResolvedBase>) {
        let Some(planned) = planned else { return (Base::Scratch, None) };
        let pulled = self.0.get(&name_of(planned)).expect("every base of the plan was pulled");
        (pulled.base.clone(), Some(pulled.resolved.clone()))
    }

    /// The digests to use again: of this build, and those of the last one for names that are still in use.
    pub(super) fn to_record(&self, last: &[ResolvedBase], names_in_use: &[String]) -> Vec<ResolvedBase> {
        let own = self.0.values().map(|pulled| pulled.resolved.clone());
        let is_kept =
            |known: &&ResolvedBase| names_in_use.contains(&known.name) && !self.0.contains_key(&known.name);
        let mut all: Vec<ResolvedBase> = own.chain(last.iter().filter(is_kept).cloned()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Blobs of the layout that the next build needs to find its bases without a network.
    pub(super) fn own_blobs(&self) -> impl Iterator<Item = &Digest> {
        self.0.values().flat_map(|pulled| &pulled.own)
    }
}

/// The full name of a base, as it is recorded.
pub(super) fn name_of(base: &PlannedBase) -> String {
    match base {
        PlannedBase::Cuda(Some(name)) | PlannedBase::Own(name) => name.whole(),
        PlannedBase::Cuda(None) => DEFAULT_BASE.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: &str, digest: &str) -> ResolvedBase {
        ResolvedBase { name: name.to_owned(), digest: digest.to_owned() }
    }

    #[test]
    fn a_build_of_some_worker_types_keeps_the_digests_of_the_others() {
        let last = [resolved("debian:12", "sha256:1"), resolved("gone:1", "sha256:2")];
        let bases = Bases::default();
        assert_eq!(bases.to_record(&last, &["debian:12".to_owned(), "new:1".to_owned()]), last[..1]);
    }
}

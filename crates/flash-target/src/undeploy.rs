//! What is left of a release when one of its endpoints is removed.
use super::{ArtifactSpec, EnvironmentId, Problem, ReleaseSpec, TargetError};

impl ReleaseSpec {
    /// The release without a worker type and its functions. None may be left.
    ///
    /// # Errors
    /// [`Problem::NotFound`] if the release, of this environment, has no such worker type.
    pub fn without(mut self, worker: &str, id: &EnvironmentId) -> Result<Self, TargetError> {
        if self.manifest.worker(worker).is_none() {
            let names: Vec<&str> = self.manifest.workers.iter().map(|own| own.name.as_str()).collect();
            return Err(TargetError::new(Problem::NotFound, format!("{id} has no worker type `{worker}`"))
                .hint(format!("it has: {}", names.join(", "))));
        }
        self.manifest.workers.retain(|own| own.name != worker);
        self.manifest.functions.retain(|function| function.worker != worker);
        self.commands.retain(|command| command.worker_type.name != worker);
        self.models.remove(worker);
        if let ArtifactSpec::Images { images, .. } = &mut self.artifact {
            images.remove(worker);
        }
        Ok(self)
    }
}

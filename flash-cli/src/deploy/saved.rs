//! A plan in a file: what was agreed to, and for which state.
use std::{
    io,
    path::{Path, PathBuf},
};

use flash_plan::Plan;
use flash_target::{BuildOrigin, EnvironmentId, ReleaseSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::artifact::hex;

/// The file's format.
const VERSION: u32 = 1;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedPlan {
    pub version: u32,
    pub environment: EnvironmentId,
    /// The release that was live.
    pub base: Option<u64>,
    /// [`digest_of`] the next release.
    pub spec: String,
    pub plan: Plan,
}

/// Why a saved plan cannot be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SavedPlanError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not a saved plan", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("the saved plan has version {0}; this flash reads version {VERSION}")]
    Version(u32),
    #[error("the saved plan is for {saved}, not for {wanted}")]
    OtherEnvironment { saved: EnvironmentId, wanted: EnvironmentId },
    #[error("the saved plan is stale: when it was made, {} was live in {environment}; now it is {}", release(*was), release(*is))]
    LiveMoved { environment: EnvironmentId, was: Option<u64>, is: Option<u64> },
    #[error("the saved plan is stale: the app, its settings or its secrets changed since it was made")]
    SpecMoved,
}

fn release(number: Option<u64>) -> String {
    number.map_or("nothing".to_owned(), |number| format!("release {number}"))
}

impl SavedPlan {
    /// A plan for this release, with `base` live.
    pub(crate) fn new(
        environment: &EnvironmentId,
        base: Option<u64>,
        next: &ReleaseSpec,
        plan: Plan,
    ) -> Self {
        Self { version: VERSION, environment: environment.clone(), base, spec: digest_of(next), plan }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not a plan of this version.
    pub(crate) fn load(path: &Path) -> Result<Self, SavedPlanError> {
        let text =
            std::fs::read(path).map_err(|source| SavedPlanError::Read { path: path.to_owned(), source })?;
        let damaged = |source| SavedPlanError::Damaged { path: path.to_owned(), source };
        let value: Value = serde_json::from_slice(&text).map_err(damaged)?;
        // Read before the rest: another version may have another structure.
        let version = value.get("version").and_then(Value::as_u64).and_then(|number| number.try_into().ok());
        match version {
            Some(version) if version != VERSION => Err(SavedPlanError::Version(version)),
            _ => serde_json::from_value(value).map_err(damaged),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn save(&self, path: &Path) -> Result<(), SavedPlanError> {
        let write = |source| SavedPlanError::Write { path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|error| write(error.into()))?;
        std::fs::write(path, text).map_err(write)
    }

    /// Whether nothing has changed since the plan was made.
    ///
    /// # Errors
    /// What has changed.
    pub(crate) fn check(
        &self,
        environment: &EnvironmentId,
        live: Option<u64>,
        next: &ReleaseSpec,
    ) -> Result<(), SavedPlanError> {
        if self.environment != *environment {
            let (saved, wanted) = (self.environment.clone(), environment.clone());
            return Err(SavedPlanError::OtherEnvironment { saved, wanted });
        }
        if self.base != live {
            let environment = environment.clone();
            return Err(SavedPlanError::LiveMoved { environment, was: self.base, is: live });
        }
        if self.spec != digest_of(next) {
            return Err(SavedPlanError::SpecMoved);
        }
        Ok(())
    }
}

/// SHA-256 of a release's JSON with sorted keys. The origin is left out: saving the plan file is enough to change
/// the working tree, and the digests of the files cover what is built.
pub(crate) fn digest_of(spec: &ReleaseSpec) -> String {
    let spec = ReleaseSpec { origin: BuildOrigin::default(), ..spec.clone() };
    // It consists of maps with string keys, so it has a JSON form.
    let text = serde_json::to_value(&spec).map(|value| canonical(&value)).unwrap_or_default();
    format!("sha256:{}", hex(&Sha256::digest(text)))
}

/// Without spaces and with sorted keys, whatever order this build's maps keep.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            let member = |(key, value): &(&String, &Value)| {
                format!("{}:{}", Value::String((*key).clone()), canonical(value))
            };
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::fixtures::spec;

    fn id(name: &str) -> EnvironmentId {
        EnvironmentId::new("app", name).unwrap()
    }

    #[test]
    fn a_saved_plan_is_refused_when_the_world_has_moved() {
        let next = spec();
        let saved = SavedPlan::new(&id("a"), Some(3), &next, Plan::between(None, &next));
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("plan.json");
        saved.save(&path).unwrap();
        let saved = SavedPlan::load(&path).unwrap();
        assert_eq!(saved.plan, Plan::between(None, &next));
        saved.check(&id("a"), Some(3), &next).unwrap();
        let said = |checked: Result<(), SavedPlanError>| checked.unwrap_err().to_string();
        assert_eq!(said(saved.check(&id("b"), Some(3), &next)), "the saved plan is for app/a, not for app/b");
        let moved = said(saved.check(&id("a"), Some(4), &next));
        assert!(moved.contains("release 3 was live in app/a; now it is release 4"), "{moved}");
        assert!(said(saved.check(&id("a"), None, &next)).contains("now it is nothing"));
        let mut other = next.clone();
        other.secrets.insert("TOKEN".to_owned(), 1);
        assert!(said(saved.check(&id("a"), Some(3), &other)).contains("changed since it was made"));
    }

    #[test]
    fn a_plan_that_is_saved_among_the_sources_is_no_other_release() {
        let next = spec();
        let saved = SavedPlan::new(&id("a"), None, &next, Plan::between(None, &next));
        let mut dirty = next.clone();
        dirty.origin.commit = Some("1a2b3c+".to_owned());
        saved.check(&id("a"), None, &dirty).unwrap();
    }

    #[test]
    fn a_file_that_is_no_plan_is_said_to_be_none() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("plan.json");
        assert!(matches!(SavedPlan::load(&path), Err(SavedPlanError::Read { .. })));
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(SavedPlan::load(&path), Err(SavedPlanError::Damaged { .. })));
        std::fs::write(&path, "{\"version\": 2}").unwrap();
        assert!(matches!(SavedPlan::load(&path), Err(SavedPlanError::Version(2))));
    }
}

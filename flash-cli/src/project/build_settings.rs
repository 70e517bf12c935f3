//! `[build]` in `flash.toml`: how images are built.
//!
//! Checks everything that can be checked without the app. Names of worker types are checked once the app has
//! described itself.
use std::{collections::BTreeMap, path::PathBuf};

use flash_protocol::{
    catalogue::{ComputeCapability, ComputeCapabilityError},
    manifest::Manifest,
};
use flash_text::nearest;
use oci_spec::distribution::Reference;
use serde::Deserialize;
use toml::Spanned;

use super::{command_worker::Mistake, programs};

/// The table as written. Unknown keys are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    include: Vec<String>,
    features: Vec<String>,
    max_size_mb: Option<Spanned<u64>>,
    target_cpu: Option<String>,
    user: Option<Spanned<String>>,
    cuda: Option<CudaPolicy>,
    cuda_feature: Option<String>,
    cuda_base: Option<Spanned<String>>,
    cuda_home: Option<PathBuf>,
    workers: BTreeMap<Spanned<String>, WrittenWorker>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenWorker {
    include: Option<Vec<String>>,
    target_cpu: Option<String>,
    compute_capabilities: Option<Vec<Spanned<String>>>,
    base: Option<Spanned<String>>,
    needs: Vec<Spanned<String>>,
}

/// What to do with GPU worker types when CUDA's compiler may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CudaPolicy {
    /// Build with CUDA if its compiler is found, else without and with a warning: such an image runs its models on
    /// the CPU.
    #[default]
    WhenAvailable,
    /// The build fails without a compiler.
    Require,
    /// Never build with CUDA.
    Never,
}

/// How images are built.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BuildSettings {
    /// Files to add to every image: patterns relative to the crate.
    pub include: Vec<String>,
    /// Cargo features of every image's binary.
    pub features: Vec<String>,
    /// The largest size of an image, compressed.
    pub max_size_mb: u64,
    /// The processor that the binary may require; rustc's default if not set.
    pub target_cpu: Option<String>,
    /// The user that the worker runs as: a number, or two with a colon. A name would need a user database in the
    /// image.
    pub user: String,
    pub cuda: CudaPolicy,
    /// The cargo feature of GPU worker types' binaries.
    pub cuda_feature: String,
    /// The base of images with CUDA; this version's default if not set.
    pub cuda_base: Option<Reference>,
    /// The location of CUDA's compiler; searched for if not set.
    pub cuda_home: Option<PathBuf>,
    workers: Vec<Declared>,
}

#[derive(Debug, Clone, PartialEq)]
struct Declared {
    name: String,
    line: usize,
    settings: WorkerSettings,
}

/// Settings that differ for one worker type.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct WorkerSettings {
    /// Replaces the app's.
    pub include: Option<Vec<String>>,
    /// Replaces the app's.
    pub target_cpu: Option<String>,
    /// Replaces those of its GPU pools.
    pub compute_capabilities: Option<Vec<ComputeCapability>>,
    /// The base of its image; none if not set.
    pub base: Option<Reference>,
    /// Programs that its functions start.
    pub needs: Vec<String>,
}

impl Default for BuildSettings {
    fn default() -> Self {
        Self {
            include: Vec::new(),
            features: Vec::new(),
            // Pulling a larger image takes minutes; that should be a deliberate choice.
            max_size_mb: 10_000,
            target_cpu: None,
            // The number that images without users commonly use for `nobody`.
            user: "65532:65532".to_owned(),
            cuda: CudaPolicy::default(),
            cuda_feature: "cuda".to_owned(),
            cuda_base: None,
            cuda_home: None,
            workers: Vec::new(),
        }
    }
}

impl Written {
    /// Checks every setting. `line_of` returns the line of an offset in the text.
    ///
    /// # Errors
    /// The first invalid setting.
    pub(super) fn check(self, line_of: impl Fn(usize) -> usize) -> Result<BuildSettings, Mistake> {
        let default = BuildSettings::default();
        let max_size_mb = match self.max_size_mb {
            None => default.max_size_mb,
            Some(said) if *said.get_ref() > 0 => *said.get_ref(),
            Some(said) => return Err(mistake(&said, "`max_size_mb` is 0; expected 1 or more".to_owned())),
        };
        let user = match self.user {
            None => default.user,
            Some(said) if is_user(said.get_ref()) => said.into_inner(),
            Some(said) => {
                let message = format!(
                    "`user` is `{}`; expected one number or two with a colon, such as 65532:65532: images \
                     have no user names",
                    said.get_ref()
                );
                return Err(mistake(&said, message));
            }
        };
        let cuda_base = self.cuda_base.as_ref().map(image_of).transpose()?;
        let workers =
            self.workers.into_iter().map(|worker| declared(worker, &line_of)).collect::<Result<_, _>>()?;
        Ok(BuildSettings {
            include: self.include,
            features: self.features,
            max_size_mb,
            target_cpu: self.target_cpu,
            user,
            cuda: self.cuda.unwrap_or_default(),
            cuda_feature: self.cuda_feature.unwrap_or(default.cuda_feature),
            cuda_base,
            cuda_home: self.cuda_home,
            workers,
        })
    }
}

fn mistake<T>(at: &Spanned<T>, message: String) -> Mistake {
    Mistake { at: at.span(), message }
}

fn image_of(said: &Spanned<String>) -> Result<Reference, Mistake> {
    said.get_ref().parse().map_err(|error| mistake(said, format!("`{}`: {error}", said.get_ref())))
}

fn declared(
    (name, written): (Spanned<String>, WrittenWorker),
    line_of: &impl Fn(usize) -> usize,
) -> Result<Declared, Mistake> {
    let capability = |said: Spanned<String>| {
        said.get_ref().parse().map_err(|error| mistake(&said, ComputeCapabilityError::to_string(&error)))
    };
    let compute_capabilities = written
        .compute_capabilities
        .map(|said| said.into_iter().map(capability).collect::<Result<Vec<_>, _>>())
        .transpose()?;
    let settings = WorkerSettings {
        include: written.include,
        target_cpu: written.target_cpu,
        compute_capabilities,
        base: written.base.as_ref().map(image_of).transpose()?,
        needs: programs::checked(written.needs)?,
    };
    Ok(Declared { line: line_of(name.span().start), name: name.into_inner(), settings })
}

fn is_user(text: &str) -> bool {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    match text.split_once(':') {
        Some((user, group)) => is_number(user) && is_number(group),
        None => is_number(text),
    }
}

impl BuildSettings {
    /// The settings for this worker type.
    pub(crate) fn worker(&self, name: &str) -> WorkerSettings {
        let declared = self.workers.iter().find(|declared| declared.name == name);
        declared.map(|declared| declared.settings.clone()).unwrap_or_default()
    }

    /// All lists of patterns that images may be built with.
    pub(crate) fn include_lists(&self) -> impl Iterator<Item = &[String]> {
        let own = self.workers.iter().filter_map(|declared| declared.settings.include.as_deref());
        std::iter::once(&*self.include).chain(own)
    }

    /// All processors that are named.
    pub(crate) fn target_cpus(&self) -> impl Iterator<Item = &str> {
        let own = self.workers.iter().filter_map(|declared| declared.settings.target_cpu.as_deref());
        self.target_cpu.as_deref().into_iter().chain(own)
    }

    /// All base images that are named.
    pub(crate) fn bases(&self) -> impl Iterator<Item = &Reference> {
        self.cuda_base.iter().chain(self.own_bases().map(|(_, base)| base))
    }

    /// The worker types that name a base image, and that.
    pub(crate) fn own_bases(&self) -> impl Iterator<Item = (&str, &Reference)> {
        self.workers.iter().filter_map(|declared| Some((&*declared.name, declared.settings.base.as_ref()?)))
    }

    /// Worker types that need programs beside the app.
    pub(super) fn needs(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.workers.iter().map(|declared| (&*declared.name, &*declared.settings.needs))
    }

    /// The first setting for a worker type that the app does not have: its line and a message.
    pub(super) fn unknown_worker(&self, manifest: &Manifest) -> Option<(usize, String)> {
        let unknown = self.workers.iter().find(|declared| manifest.worker(&declared.name).is_none())?;
        let near = nearest(&unknown.name, manifest.workers.iter().map(|worker| &*worker.name));
        Some((unknown.line, format!("the app has no worker type `{}`{near}", unknown.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<BuildSettings, String> {
        let written: Written = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        written.check(|at| at).map_err(|Mistake { at, message }| format!("{}: {message}", &text[at]))
    }

    #[test]
    fn a_worker_types_own_settings_stand_beside_the_apps() {
        let settings = check(
            "include = [\"models/**\"]\ncuda = \"require\"\n[workers.gpu]\ntarget_cpu = \"x86-64-v3\"\n\
             compute_capabilities = [\"8.9\", \"12.0\"]\n",
        )
        .unwrap();
        assert_eq!((&*settings.include[0], settings.cuda), ("models/**", CudaPolicy::Require));
        let gpu = settings.worker("gpu");
        assert_eq!(gpu.target_cpu.as_deref(), Some("x86-64-v3"));
        let capabilities = gpu.compute_capabilities.unwrap();
        assert_eq!(capabilities.iter().map(|known| known.number()).collect::<Vec<_>>(), [89, 120]);
        assert_eq!(settings.worker("other"), WorkerSettings::default());
    }

    #[test]
    fn a_worker_type_may_have_a_base_and_need_programs_of_it() {
        let settings =
            check("[workers.thumbnails]\nbase = \"debian:12-slim\"\nneeds = [\"ffmpeg\"]\n").unwrap();
        let own = settings.worker("thumbnails");
        assert_eq!(own.base.map(|base| base.whole()).as_deref(), Some("docker.io/library/debian:12-slim"));
        assert_eq!(own.needs, ["ffmpeg"]);
        assert_eq!(settings.worker("other").base, None);
    }

    #[test]
    fn a_wrong_value_is_named_where_it_stands() {
        for (text, at, what) in [
            ("max_size_mb = 0", "0", "1 or more"),
            ("user = \"root\"", "\"root\"", "one number or two"),
            ("cuda_base = \"Not A Name\"", "\"Not A Name\"", "Not A Name"),
            ("[workers.a]\ncompute_capabilities = [\"ada\"]", "\"ada\"", "not a compute capability"),
            ("[workers.a]\nbase = \"debian:12 slim\"", "\"debian:12 slim\"", "debian:12 slim"),
            ("[workers.a]\nneeds = [\"sox\", \"\"]", "\"\"", "a name such as `ffmpeg`"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.starts_with(at) && error.contains(what), "{error}");
        }
        assert!(check("cuda = \"maybe\"").unwrap_err().contains("when_available"));
        assert!(check("includes = []").unwrap_err().contains("unknown field `includes`"));
    }
}

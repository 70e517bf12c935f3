//! What a build makes for a target: binaries for this machine, images in a registry for a cloud.
use std::{collections::BTreeMap, path::Path};

use flash_image::registry::{
    Logins, Registry, RegistryError, RetryPolicy, image_exists, is_on_this_machine, is_public, reference,
};
use flash_target::{Finding, Preflight, Shipment, TargetKind};
use flash_text::error_chain;
use oci_spec::distribution::Reference;

use crate::{
    builder::{ANY_TAG, Binaries, Build, Built, LookAheadError, look_ahead, push, references},
    deploy::{digest_of_images, release_of, release_of_images},
    exit::Failure,
    output::Output,
    project::{self, Config, EnvironmentSettings, LackingWorker, Package},
};

/// The number of characters of a release's digest used as its images' tag. A tag keeps the registry from deleting
/// an image, so that a kept release can be rolled back to.
const TAG_DIGITS: usize = 16;

/// See the module. Its files exist as long as this value lives.
pub(super) enum Artifact<'a> {
    Binaries(Box<Binaries<'a>>),
    Images(Box<Images<'a>>),
}

/// Images in the crate's layout, and their future names.
pub(super) struct Images<'a> {
    /// Holds the lock of the crate's builds.
    _build: Build<'a>,
    built: Built,
    /// In the order of the images; empty if no registry is configured.
    names: Vec<Reference>,
}

impl<'a> Artifact<'a> {
    /// Builds what this target needs.
    ///
    /// # Errors
    /// When a build step fails, and when the registry's name is invalid.
    pub(super) async fn of(
        build: Build<'a>,
        target: TargetKind,
        settings: &EnvironmentSettings,
    ) -> Result<Self, Failure> {
        if target == TargetKind::Local {
            return Ok(Self::Binaries(Box::new(build.binaries().await?)));
        }
        let built = build.make().await?;
        let mut images = Images { _build: build, built, names: Vec::new() };
        if let Some(registry) = &settings.registry {
            images.name(registry)?;
        }
        Ok(Self::Images(Box::new(images)))
    }

    /// The release for an environment.
    ///
    /// # Errors
    /// When the settings do not fit the app, and when something cannot be read.
    pub(super) async fn shipment(
        &self,
        package: &Package,
        config: &Config,
        settings: &EnvironmentSettings,
        secrets: BTreeMap<String, u64>,
        profile: &str,
    ) -> Result<Shipment, Failure> {
        match self {
            Self::Binaries(binaries) => {
                Ok(release_of(binaries, package, config, settings, secrets, profile).await?)
            }
            Self::Images(images) => {
                let pinned = images.pinned();
                let mut shipment =
                    release_of_images(&images.built.record, pinned, config, settings, profile)?;
                shipment.spec.secrets = secrets;
                Ok(shipment)
            }
        }
    }

    /// What would prevent the upload to the target, or the work of the binaries that are sent with the release.
    pub(super) async fn preflight(&self, config: &Config, settings: &EnvironmentSettings) -> Preflight {
        let mut found = Preflight::default();
        let images = match self {
            Self::Images(images) => images,
            Self::Binaries(binaries) => {
                found.warnings = lacking_programs(binaries.directory(), config, settings);
                return found;
            }
        };
        for command in config.commands().into_iter().filter(|own| own.program.image().is_none()) {
            let message = format!(
                "worker type `{}` is a program: no image is built for it, so it is left out",
                command.worker_type.name
            );
            let fix = "run it with the app on this machine: flash deploy new NAME --target local".to_owned();
            found.warnings.push(Finding { message, fix });
        }
        match images.names.first() {
            None => found.problems.push(no_registry(settings)),
            Some(name) => {
                // A cluster may be on this machine, too.
                if settings.target == TargetKind::Runpod && is_on_this_machine(name) {
                    found.warnings.push(Finding {
                        message: format!("the cloud cannot reach {}: it is this machine", name.registry()),
                        fix: "use a registry that is reachable from the internet, such as registry = \
                              \"ghcr.io/YOU/APP\""
                            .to_owned(),
                    });
                }
                found.problems.extend(images.check_registry(has_login(settings)).await);
            }
        }
        if !has_login(settings) {
            for own in &images.built.record.external {
                found.problems.extend(not_pullable(&own.image).await);
            }
        }
        found
    }

    /// Uploads it to where the target fetches it.
    ///
    /// # Errors
    /// When the registry rejects it, and when the target could not pull it afterwards. The environment is unchanged
    /// then.
    pub(super) async fn push(
        &mut self,
        settings: &EnvironmentSettings,
        output: &Output,
    ) -> Result<(), Failure> {
        let Self::Images(images) = self else { return Ok(()) };
        push(&mut images.built, &images.names, output).await?;
        if has_login(settings) {
            return Ok(());
        }
        for name in images.by_digest() {
            if !is_public(&name).await? {
                let Finding { message, fix } = not_public(&name);
                return Err(Failure::failed(format!("{message}; nothing was changed")).hint(fix));
            }
        }
        Ok(())
    }
}

impl Images<'_> {
    /// Names the images. The tag depends on their content, so a new release never moves an earlier release's tag.
    fn name(&mut self, registry: &str) -> Result<(), Failure> {
        let workers: Vec<String> = self.built.images.iter().map(|image| image.name.clone()).collect();
        self.names = references(registry, ANY_TAG, &workers)?;
        let digest = digest_of_images(&self.pinned());
        let tag = format!("flash-{}", digest.get(..TAG_DIGITS).unwrap_or(&digest));
        self.names = references(registry, &tag, &workers)?;
        Ok(())
    }

    /// The name to pull each image by, in the order of the images.
    fn by_digest(&self) -> impl Iterator<Item = Reference> {
        let named = self.built.images.iter().zip(&self.names);
        named.map(|(image, name)| {
            let (registry, repository) = (name.registry().to_owned(), name.repository().to_owned());
            Reference::with_digest(registry, repository, image.manifest.digest().to_string())
        })
    }

    /// The same by worker type. Without a registry, by digest only, which is enough for a plan.
    fn pinned(&self) -> BTreeMap<String, String> {
        if self.names.is_empty() {
            let image = |image: &flash_image::Image| {
                (image.name.clone(), format!("{}@{}", image.name, image.manifest.digest()))
            };
            return self.built.images.iter().map(image).collect();
        }
        let workers = self.built.images.iter().map(|image| image.name.clone());
        workers.zip(self.by_digest().map(|name| name.whole())).collect()
    }

    /// Whether the registry answers and accepts the user's login, and whether existing images can be pulled.
    async fn check_registry(&self, has_credential: bool) -> Vec<Finding> {
        let Some(first) = self.names.first() else { return Vec::new() };
        let registry = match Registry::of(first, Logins::of_user(Some(first)), RetryPolicy::default()) {
            Ok(registry) => registry,
            Err(error) => return vec![finding(&error)],
        };
        let mut found = Vec::new();
        for name in self.by_digest() {
            match image_exists(&registry, &name).await {
                Ok(true) if !has_credential => match is_public(&name).await {
                    Ok(true) => {}
                    Ok(false) => found.push(not_public(&name)),
                    Err(error) => found.push(finding(&error)),
                },
                Ok(_) => {}
                Err(error @ RegistryError::Denied { .. }) => found.push(finding(&error)),
                Err(error) => {
                    found.push(finding(&error));
                    // The other images would report the same.
                    break;
                }
            }
        }
        found
    }
}

/// What would prevent any build from reaching the target; checked before building. `workers` are the app's worker
/// types at its last build.
///
/// # Errors
/// When the registry's name is invalid.
pub(super) async fn problems_ahead(
    target: TargetKind,
    settings: &EnvironmentSettings,
    workers: &[String],
) -> Result<Vec<Finding>, Failure> {
    if target == TargetKind::Local {
        return Ok(Vec::new());
    }
    let Some(registry) = &settings.registry else { return Ok(vec![no_registry(settings)]) };
    match look_ahead(registry, workers).await {
        Ok(()) => Ok(Vec::new()),
        Err(LookAheadError::Registry(error)) => Ok(vec![finding(&error)]),
        Err(error @ LookAheadError::Names(_)) => Err(error.into()),
    }
}

/// Why a cloud without a login could not pull an image that was built elsewhere.
async fn not_pullable(image: &str) -> Option<Finding> {
    let name = match reference(image) {
        Ok(name) => name,
        Err(error) => return Some(finding(&error)),
    };
    match is_public(&name).await {
        Ok(true) => None,
        Ok(false) => Some(not_public(&name)),
        Err(error) => Some(finding(&error)),
    }
}

/// Worker types whose processes will not find a program.
fn lacking_programs(directory: &Path, config: &Config, settings: &EnvironmentSettings) -> Vec<Finding> {
    let path = project::search_path(&settings.variables);
    let warning = |lacking: LackingWorker| Finding {
        message: lacking.to_string(),
        fix: format!("install `{}` on the machine that runs the environment", lacking.programs.join("`, `")),
    };
    project::lacking(config.needs(), directory, path.as_deref()).into_iter().map(warning).collect()
}

/// Whether whoever pulls the images may have a login: nodes of a cluster often have one of their own.
fn has_login(settings: &EnvironmentSettings) -> bool {
    settings.target == TargetKind::Kubernetes || settings.cloud.registry_credential.is_some()
}

fn no_registry(settings: &EnvironmentSettings) -> Finding {
    let name = &settings.name;
    Finding {
        message: format!("environment `{name}` has no registry to push its images to"),
        fix: format!("set registry = \"ghcr.io/YOU/APP\" under [environments.{name}] in flash.toml"),
    }
}

fn finding(error: &RegistryError) -> Finding {
    let fix = error.hint().unwrap_or_else(|| "check `registry` in flash.toml".to_owned());
    Finding { message: error_chain(error), fix }
}

fn not_public(name: &Reference) -> Finding {
    Finding {
        message: format!("{}/{} cannot be pulled without a login", name.registry(), name.repository()),
        fix: "make it public, or add a login for it in Runpod's console and set its ID in flash.toml: \
              registry_credential = \"ID\""
            .to_owned(),
    }
}

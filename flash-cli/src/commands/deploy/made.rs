//! What a build made for a target: binaries for this machine, images in a registry for a cloud.
use std::collections::BTreeMap;

use oci_spec::distribution::Reference;

use crate::{
    build::{ANY_TAG, Binaries, Build, Built, LookAheadError, look_ahead, push, references},
    deploy::{digest_of_images, release_of, release_of_images},
    error_chain::error_chain,
    exit::Failure,
    image::registry::{Logins, Patience, Registry, RegistryError, is_on_this_machine, is_public, is_there},
    output::Output,
    project::{Config, EnvironmentSettings, Package},
    target::{Finding, Preflight, Shipment, TargetKind},
};

/// Characters of a release's digest that its images are tagged with: a tag keeps an image from being collected by
/// its registry, so that a release that is kept can be gone back to.
const TAG_DIGITS: usize = 16;

/// See the module. Its files lie where they are as long as it lives.
pub(super) enum Made<'a> {
    Binaries(Box<Binaries<'a>>),
    Images(Box<Images<'a>>),
}

/// Images in the layout of the crate, and what they will be called.
pub(super) struct Images<'a> {
    /// Holds the lock of the crate's builds.
    _build: Build<'a>,
    built: Built,
    /// In the order of the images; none where no registry is known.
    names: Vec<Reference>,
}

impl<'a> Made<'a> {
    /// Builds what this target takes.
    ///
    /// # Errors
    /// When a step of the build fails, and when the registry's name is none.
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

    /// The release that it makes in an environment.
    ///
    /// # Errors
    /// When the settings do not go with the app, and when something cannot be read.
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

    /// What keeps it from getting to its target. Nothing for binaries: they are sent with the release.
    pub(super) async fn look(&self, config: &Config, settings: &EnvironmentSettings) -> Preflight {
        let mut found = Preflight::default();
        let Self::Images(images) = self else { return found };
        for command in config.commands() {
            let message = format!(
                "worker type `{}` is a program of its own: no image is made of it, so it is left out",
                command.worker_type.name
            );
            let fix =
                "run it beside the app on this machine: flash deploy new NAME --target local".to_owned();
            found.warnings.push(Finding { message, fix });
        }
        match images.names.first() {
            None => found.problems.push(no_registry(settings)),
            Some(name) => {
                if is_on_this_machine(name) {
                    found.warnings.push(Finding {
                        message: format!("the cloud does not reach {}: it is this machine", name.registry()),
                        fix: "name a registry that others reach, such as registry = \"ghcr.io/YOU/APP\""
                            .to_owned(),
                    });
                }
                found.problems.extend(images.look(settings.cloud.registry_credential.is_some()).await);
            }
        }
        found
    }

    /// Brings it to where the target gets it from.
    ///
    /// # Errors
    /// When the registry does not take it, and when the target could not pull it afterwards. No environment has
    /// changed then.
    pub(super) async fn push(
        &mut self,
        settings: &EnvironmentSettings,
        output: &Output,
    ) -> Result<(), Failure> {
        let Self::Images(images) = self else { return Ok(()) };
        push(&mut images.built, &images.names, output).await?;
        if settings.cloud.registry_credential.is_some() {
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
    /// Names the images. The tag is of what they are, so that a new release moves no tag of an earlier one.
    fn name(&mut self, registry: &str) -> Result<(), Failure> {
        let workers: Vec<String> = self.built.images.iter().map(|image| image.name.clone()).collect();
        self.names = references(registry, ANY_TAG, &workers)?;
        let digest = digest_of_images(&self.pinned());
        let tag = format!("flash-{}", digest.get(..TAG_DIGITS).unwrap_or(&digest));
        self.names = references(registry, &tag, &workers)?;
        Ok(())
    }

    /// What each is pulled by, in the order of the images.
    fn by_digest(&self) -> impl Iterator<Item = Reference> {
        let named = self.built.images.iter().zip(&self.names);
        named.map(|(image, name)| {
            let (registry, repository) = (name.registry().to_owned(), name.repository().to_owned());
            Reference::with_digest(registry, repository, image.manifest.digest().to_string())
        })
    }

    /// The same by worker type. Without a registry, by digest alone: enough for a plan.
    fn pinned(&self) -> BTreeMap<String, String> {
        if self.names.is_empty() {
            let image = |image: &crate::image::Image| {
                (image.name.clone(), format!("{}@{}", image.name, image.manifest.digest()))
            };
            return self.built.images.iter().map(image).collect();
        }
        let workers = self.built.images.iter().map(|image| image.name.clone());
        workers.zip(self.by_digest().map(|name| name.whole())).collect()
    }

    /// Whether the registry answers and takes the user's login, and whether what is there already can be pulled.
    async fn look(&self, has_credential: bool) -> Vec<Finding> {
        let Some(first) = self.names.first() else { return Vec::new() };
        let registry = match Registry::of(first, Logins::of_user(Some(first)), Patience::default()) {
            Ok(registry) => registry,
            Err(error) => return vec![finding(&error)],
        };
        let mut found = Vec::new();
        for name in self.by_digest() {
            match is_there(&registry, &name).await {
                Ok(true) if !has_credential => match is_public(&name).await {
                    Ok(true) => {}
                    Ok(false) => found.push(not_public(&name)),
                    Err(error) => found.push(finding(&error)),
                },
                Ok(_) => {}
                Err(error @ RegistryError::Denied { .. }) => found.push(finding(&error)),
                Err(error) => {
                    found.push(finding(&error));
                    // The others would be told the same.
                    break;
                }
            }
        }
        found
    }
}

/// What keeps any build from getting to the target, asked before one is made. `workers` are those that the app had
/// when it was last built.
///
/// # Errors
/// When the registry's name is none.
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

fn no_registry(settings: &EnvironmentSettings) -> Finding {
    let name = &settings.name;
    Finding {
        message: format!("environment `{name}` has no registry: its workers are images"),
        fix: format!("under [environments.{name}] in flash.toml: registry = \"ghcr.io/YOU/APP\""),
    }
}

fn finding(error: &RegistryError) -> Finding {
    let fix = error.hint().unwrap_or_else(|| "is `registry` in flash.toml right?".to_owned());
    Finding { message: error_chain(error), fix }
}

fn not_public(name: &Reference) -> Finding {
    Finding {
        message: format!("{}/{} cannot be pulled without a login", name.registry(), name.repository()),
        fix: "make it public, or give Runpod a login for it in its console, and name that in flash.toml: \
              registry_credential = \"ID\""
            .to_owned(),
    }
}

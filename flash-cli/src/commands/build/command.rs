//! The arguments of `flash build`, its steps and its summary.
use std::path::{Path, PathBuf};

use clap::Args;
use flash_image::{ArchivedImage, write_archive};
use oci_spec::distribution::Reference;
use serde::Serialize;

use crate::{
    builder::{
        BaseTags, Build, Built, BuiltImage, ExternalImage, Hardware, Materials, Platform, Record, Request,
        RunsOn, Selection, Sources, StepSeconds, look_ahead, push, references,
    },
    commands::{
        command::{Command, Context},
        run::{RunArguments, check_engine},
        scope::DirectoryArguments,
    },
    exit::{Code, Failure},
    output::{Format, Output},
    project::{Config, CudaPolicy, LastManifest, Package},
};

/// The tag of images that are not built from a commit.
const DEFAULT_TAG: &str = "latest";

/// Build a small, reproducible OCI image for each worker type of an app.
///
/// Compiles the app with cargo, asks the binary for its worker types, and writes one image for each to
/// .flash/build/images. A record of the build goes to .flash/build/manifest.json. No container daemon is needed.
/// Images of CPU worker types hold only a static binary, CA certificates, and the files listed under `include` in
/// flash.toml.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash build\n  flash build examples/03_mixed_workers --worker inference_worker\n  \
                  flash build --push ghcr.io/me/app --tag v1\n  flash build --run\n  flash build --json | jq -r '.images[].digest'"
)]
pub(crate) struct BuildArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
    /// Build only the images of this worker type. May be given several times.
    #[arg(long = "worker", value_name = "NAME")]
    workers: Vec<String>,
    /// Only GPU worker types; requires CUDA's compiler.
    #[arg(long, conflicts_with = "cpu")]
    gpu: bool,
    /// Only CPU worker types.
    #[arg(long)]
    cpu: bool,
    /// Push the images to a registry: to REPOSITORY-WORKER, or with {worker} replaced by the worker type's name.
    #[arg(long, value_name = "REPOSITORY")]
    push: Option<String>,
    /// The tag of pushed images [default: the git commit; `latest` outside a git repository].
    #[arg(long)]
    tag: Option<String>,
    /// Also write all images to one file, for `podman load`, `docker load` and `skopeo`.
    #[arg(long, value_name = "FILE")]
    tarball: Option<PathBuf>,
    /// The platform of the images: linux/amd64 or linux/arm64 [default: this machine's].
    #[arg(long)]
    platform: Option<Platform>,
    /// Cargo profile of the binaries.
    #[arg(long, value_name = "PROFILE", default_value = "release")]
    release_profile: String,
    /// Cargo features to build the app with, separated by commas (in addition to those in flash.toml).
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// Do not write a bill of materials (SBOM).
    #[arg(long)]
    no_sbom: bool,
    /// Resolve the tags of base images again, instead of using the digests that the last build recorded.
    #[arg(long)]
    update_base: bool,
    /// Refuse to build with uncommitted changes.
    #[arg(long)]
    require_clean: bool,
    /// Then run the images as containers, like `flash run --image`.
    #[arg(long, conflicts_with_all = ["json", "workers", "cpu", "gpu", "platform"])]
    run: bool,
    /// Print one JSON object: the content of .flash/build/manifest.json, and the duration of each step.
    #[arg(long)]
    json: bool,
}

impl Command for BuildArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        context.block_on(build(&self, context.output()))?;
        if !self.run {
            return Ok(Code::Success);
        }
        // The server prints its own output after the table.
        context.output().flush();
        RunArguments::of_images(self.directory.path().to_owned()).run(context)
    }
}

async fn build(arguments: &BuildArguments, output: &Output) -> Result<(), Failure> {
    let package = Package::find(arguments.directory.path())?;
    let config = Config::load(&package.directory)?;
    // Report an invalid image name before any slow step.
    if let Some(repository) = &arguments.push {
        let workers = match arguments.workers.as_slice() {
            [] => &["worker".to_owned()],
            named => named,
        };
        references(repository, arguments.tag.as_deref().unwrap_or(DEFAULT_TAG), &named_once(workers))?;
    }
    if let Some(file) = &arguments.tarball {
        tarball_names(&package.name, arguments.tag.as_deref().unwrap_or(DEFAULT_TAG), &[])?;
        check_place(file)?;
    }
    let request = request(arguments);
    let build = Build::prepare(&request, &package, &config, output).await?;
    if let Some(repository) = &arguments.push {
        let last = LastManifest::load(&package.directory);
        let known = last.iter().flat_map(|last| &last.manifest.workers).map(|worker| &worker.name);
        let workers: Vec<String> = match request.selection.workers.as_slice() {
            [] => known.cloned().collect(),
            named => named.to_vec(),
        };
        look_ahead(repository, &workers).await?;
    }
    if arguments.run {
        check_engine(&config).await?;
    }
    let mut built = build.make().await?;
    let tag = arguments.tag.clone().unwrap_or_else(|| default_tag(&built.record));
    if let Some(file) = &arguments.tarball {
        write_tarball(&built, file, &tag, output)?;
    }
    if let Some(repository) = &arguments.push {
        let workers: Vec<String> = built.images.iter().map(|image| image.name.clone()).collect();
        push(&mut built, &references(repository, &tag, &workers)?, output).await?;
    }
    if output.is_json() {
        output.object(&Printed { record: &built.record, seconds: built.seconds });
    } else {
        print(&built.record, output);
    }
    Ok(())
}

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    record: &'a Record,
    seconds: StepSeconds,
}

fn default_tag(record: &Record) -> String {
    record.git.as_ref().map_or_else(|| DEFAULT_TAG.to_owned(), |commit| commit.short())
}

/// The names of the images once they are loaded.
fn tarball_names(app: &str, tag: &str, workers: &[String]) -> Result<Vec<Reference>, Failure> {
    let app = app.to_lowercase();
    Ok(references(&format!("localhost/{}", app.trim_matches('_')), tag, workers)?)
}

/// Whether the file can be written; checked before anything is compiled.
fn check_place(file: &Path) -> Result<(), Failure> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match (directory.is_dir(), file.is_dir()) {
        (true, false) => Ok(()),
        (true, true) => Err(Failure::unusable(format!("--tarball: {} is a directory", file.display()))),
        (false, _) => {
            Err(Failure::unusable(format!("--tarball: directory {} does not exist", directory.display())))
        }
    }
}

fn write_tarball(built: &Built, file: &Path, tag: &str, output: &Output) -> Result<(), Failure> {
    let workers: Vec<String> = built.images.iter().map(|image| image.name.clone()).collect();
    let names = tarball_names(&built.record.app.app.name, tag, &workers)?;
    let archived = built.images.iter().zip(&names).map(|(image, name)| ArchivedImage {
        manifest: image.manifest.clone(),
        name: image.name.clone(),
        reference: name.whole(),
    });
    tokio::task::block_in_place(|| write_archive(file, &built.layout, &archived.collect::<Vec<_>>()))?;
    output.status("Wrote", &file.display().to_string());
    Ok(())
}

/// The summary table.
fn print(record: &Record, output: &Output) {
    let row = |image: &BuiltImage| {
        vec![
            image.worker.clone(),
            image.reference.clone().unwrap_or_else(|| image.digest.clone()),
            megabytes(image.compressed),
            megabytes(image.unpacked),
            image.functions.join(" "),
        ]
    };
    let external = |own: &ExternalImage| {
        vec![own.worker.clone(), own.image.clone(), "-".to_owned(), "-".to_owned(), "external".to_owned()]
    };
    let rows: Vec<Vec<String>> =
        record.images.iter().map(row).chain(record.external.iter().map(external)).collect();
    output.table(&["worker", "image", "compressed", "unpacked", "functions"], &rows);
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1_000_000.0)
}

fn named_once(workers: &[String]) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    workers.iter().for_each(|name| {
        if !once.contains(name) {
            once.push(name.clone())
        }
    });
    once
}

fn request(arguments: &BuildArguments) -> Request {
    let hardware = match (arguments.cpu, arguments.gpu) {
        (true, _) => Some(Hardware::Cpu),
        (_, true) => Some(Hardware::Gpu),
        _ => None,
    };
    Request {
        selection: Selection { workers: named_once(&arguments.workers), hardware },
        platform: arguments.platform,
        profile: arguments.release_profile.clone(),
        features: arguments.features.clone(),
        cuda: arguments.gpu.then_some(CudaPolicy::Require),
        runs_on: RunsOn::Images,
        sources: if arguments.require_clean { Sources::Committed } else { Sources::Any },
        materials: if arguments.no_sbom { Materials::LeftOut } else { Materials::Listed },
        base_tags: if arguments.update_base { BaseTags::Resolved } else { BaseTags::AsRecorded },
    }
}

//! `flash build`: an image per worker type, made without a container daemon.
//!
//! Here are the arguments and what is printed at the end; `crate::build` does the work.
use std::path::{Path, PathBuf};

use clap::Args;
use oci_spec::distribution::Reference;
use serde::Serialize;

use super::{
    place::DirectoryArguments,
    run::{self, RunArguments},
};
use crate::{
    build::{
        Build, Built, BuiltImage, Hardware, Materials, Platform, Record, Request, Selection, Sources,
        StepSeconds, look_ahead, push, references,
    },
    exit::Failure,
    image::{ArchivedImage, write_archive},
    output::Output,
    project::{Config, CudaPolicy, LastManifest, Package},
};

/// The tag of images that are made of no commit.
const DEFAULT_TAG: &str = "latest";

/// Make an OCI image of each worker type of an app, small and reproducible.
///
/// Compiles the app with cargo, asks the binary for its worker types, and writes their images to
/// .flash/build/images, with a record of what was made in .flash/build/manifest.json. Needs no container
/// daemon. Images of CPU worker types hold a static binary, CA certificates, the files of `include` in
/// flash.toml, and nothing else.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash build\n  flash build examples/03_mixed_workers --worker inference_worker\n  \
                  flash build --push ghcr.io/me/app --tag v1\n  flash build --run\n  flash build --json | jq -r '.images[].digest'"
)]
pub(crate) struct BuildArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
    /// Make the images of these worker types only. May be given several times.
    #[arg(long = "worker", value_name = "NAME")]
    workers: Vec<String>,
    /// Only GPU worker types; and CUDA's compiler must be there.
    #[arg(long, conflicts_with = "cpu")]
    gpu: bool,
    /// Only CPU worker types.
    #[arg(long)]
    cpu: bool,
    /// Push the images to a registry: to REPOSITORY-WORKER, or to where {worker} stands in it.
    #[arg(long, value_name = "REPOSITORY")]
    push: Option<String>,
    /// The tag of pushed images [default: the git commit; `latest` outside of git].
    #[arg(long)]
    tag: Option<String>,
    /// Write all images into one file too, for `podman load`, `docker load` and `skopeo`.
    #[arg(long, value_name = "FILE")]
    tarball: Option<PathBuf>,
    /// What the images run on: linux/amd64 or linux/arm64 [default: as this machine].
    #[arg(long)]
    platform: Option<Platform>,
    /// Cargo profile of the binaries.
    #[arg(long, value_name = "PROFILE", default_value = "release")]
    release_profile: String,
    /// Cargo features to build the app with, separated by commas (beside those in flash.toml).
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// Make no bill of materials.
    #[arg(long)]
    no_sbom: bool,
    /// Refuse to build changes that are in no commit.
    #[arg(long)]
    require_clean: bool,
    /// Then run the images as containers, as `flash run --image` does.
    #[arg(long, conflicts_with_all = ["json", "workers", "cpu", "gpu", "platform"])]
    run: bool,
    /// Print one JSON object: the content of .flash/build/manifest.json, and how long the steps took.
    #[arg(long)]
    pub json: bool,
}

/// Builds.
pub(crate) fn run(arguments: BuildArguments, output: &Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("could not start the async runtime: {error}")))?;
    runtime.block_on(build(&arguments, output))?;
    drop(runtime);
    if !arguments.run {
        return Ok(());
    }
    // What it prints next comes after the table.
    output.flush();
    run::run(RunArguments::of_images(arguments.directory.path().to_owned()), output)
}

async fn build(arguments: &BuildArguments, output: &Output) -> Result<(), Failure> {
    let package = Package::find(arguments.directory.path())?;
    let config = Config::load(&package.directory)?;
    // A name that no registry takes is told before anything is waited for.
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
        run::check_engine(&config).await?;
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
    if arguments.json {
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

/// What images are called once they are loaded.
fn tarball_names(app: &str, tag: &str, workers: &[String]) -> Result<Vec<Reference>, Failure> {
    let app = app.to_lowercase();
    Ok(references(&format!("localhost/{}", app.trim_matches('_')), tag, workers)?)
}

/// Whether a file can be written there, before anything is compiled.
fn check_place(file: &Path) -> Result<(), Failure> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match (directory.is_dir(), file.is_dir()) {
        (true, false) => Ok(()),
        (true, true) => Err(Failure::unusable(format!("--tarball: {} is a directory", file.display()))),
        (false, _) => {
            Err(Failure::unusable(format!("--tarball: there is no directory {}", directory.display())))
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

/// The closing table.
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
    let rows: Vec<Vec<String>> = record.images.iter().map(row).collect();
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
        sources: if arguments.require_clean { Sources::Committed } else { Sources::Any },
        materials: if arguments.no_sbom { Materials::LeftOut } else { Materials::Listed },
    }
}

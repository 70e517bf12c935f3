//! `flash` itself as an image, for the platform of an environment in a cluster: this program, with the libraries that it has
//! loaded. So nothing is published that must fit, and none is fetched.
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use flash_image::{
    Access, Assembler, Base, Binary, DataLayer, ImageSpec, Layout, Linkage,
    registry::{self, Logins, Registry, RetryPolicy},
};
use oci_spec::distribution::Reference;

use super::{names::references, progress::BlobProgress, steps::on_thread, toolchain::Platform};
use crate::{
    exit::{Failure, FailureCode},
    output::Output,
};

/// What stands for a worker type in its name.
const NAME: &str = "flash";
/// The user in the image.
const USER: &str = "65532:65532";
/// The program that loads libraries, where programs look for it.
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

/// Pushes this program as an image to the registry. Its name by digest.
///
/// # Errors
/// When it cannot be read, and when the registry rejects it.
pub(crate) async fn push_own_image(repository: &str, output: &Output) -> Result<String, Failure> {
    let to = references(repository, env!("CARGO_PKG_VERSION"), &[NAME.to_owned()])?;
    let Some(to) = to.into_iter().next() else {
        return Err(Failure::failed("no name for the image of flash"));
    };
    let directory = tempfile::tempdir().map_err(|error| Failure::of(FailureCode::Failed, &error))?;
    let layout =
        Layout::create(directory.path()).map_err(|error| Failure::of(FailureCode::Failed, &error))?;
    let spec = spec().map_err(|error| {
        Failure::failed(format!("cannot read the running program for the platform's image: {error}"))
    })?;
    let into = layout.clone();
    let image = {
        let _shown = output.activity("Assembling", "the platform's image");
        on_thread(move || Assembler::new(&into).assemble(&spec)).await?
    };
    let image = image.map_err(|error| Failure::of(FailureCode::Failed, &error))?;
    let registry = Registry::of(&to, Logins::of_user(Some(&to)), RetryPolicy::default())?;
    let bar = output.progress("Pushing", &to.whole());
    let blobs = BlobProgress::default();
    let progress = |progress: registry::Progress| blobs.show(progress, &bar);
    registry::push(&registry, &layout, &image.manifest, &[], &to, &progress).await?;
    drop(bar);
    output.status("Pushed", &format!("{}, the platform's image", to.whole()));
    let (host, repository) = (to.registry().to_owned(), to.repository().to_owned());
    Ok(Reference::with_digest(host, repository, image.manifest.digest().to_string()).whole())
}

fn spec() -> io::Result<ImageSpec> {
    let machine = Platform::of_this_machine()
        .ok_or_else(|| io::Error::other("the platform runs on x86-64 and 64-bit ARM machines"))?;
    // Not by its name: it may have been replaced since it was started.
    let program = std::fs::canonicalize("/proc/self/exe")?;
    let libraries = libraries(&std::fs::read_to_string("/proc/self/maps")?);
    Ok(ImageSpec {
        name: NAME.to_owned(),
        binary: Binary { path: program, name: NAME.to_owned(), linkage: Linkage::Dynamic },
        data: libraries,
        included: Vec::new(),
        base: Base::Scratch,
        platform: machine.of_image(),
        user: USER.to_owned(),
        env: BTreeMap::new(),
        labels: BTreeMap::from([
            ("org.opencontainers.image.title".to_owned(), "flash".to_owned()),
            ("org.opencontainers.image.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ]),
    })
}

/// The libraries of a process by what it has mapped, a layer for each of their directories, and the program that loads them.
fn libraries(maps: &str) -> Vec<DataLayer> {
    let mapped: BTreeSet<&Path> = maps
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(5))
        .filter(|path| path.starts_with('/') && path.contains(".so"))
        .map(Path::new)
        .collect();
    let mut by_directory: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    // A static program has none.
    let loaders = LOADERS.iter().map(Path::new).filter(|path| !mapped.is_empty() && path.exists());
    for path in mapped.iter().copied().chain(loaders) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let directory = directory.display().to_string().trim_start_matches('/').to_owned();
        let file = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        by_directory.entry(directory).or_default().insert(name.to_string_lossy().into_owned(), file);
    }
    by_directory
        .into_iter()
        .map(|(directory, files)| DataLayer {
            name: format!("libraries in /{directory}"),
            directory,
            files,
            // The one that loads the others is started.
            access: Access::Executable,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_by_what_is_mapped() {
        let maps = "55d0-55d1 r-xp 0 08:01 1 /usr/bin/flash\n\
                    7f00-7f01 r-xp 0 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f01-7f02 r--p 0 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f02-7f03 rw-p 0 00:00 0 [heap]\n7f03-7f04 rw-p 0 00:00 0\n";
        let layers = libraries(maps);
        let found = layers.iter().find(|layer| layer.directory == "usr/lib/x86_64-linux-gnu").unwrap();
        assert_eq!(found.files.keys().collect::<Vec<_>>(), ["libc.so.6"]);
        assert!(layers.iter().all(|layer| !layer.files.contains_key("flash")));
        assert!(libraries("55d0-55d1 r-xp 0 08:01 1 /usr/bin/flash\n").is_empty(), "a static one has none");
    }
}

//! Binaries without images: what a target that starts processes needs.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use flash_image::{IncludeError, Included, IncludedFile, LeftOut, included};
use flash_protocol::manifest::Manifest;

use super::{
    git::Commit,
    images::ImagesError,
    record::ExternalImage,
    steps::{Build, on_thread},
};
use crate::exit::Failure;

/// The app's binaries and the files that go with them. The files exist as long as this value lives: another build
/// of the crate waits for that, and then deletes them.
pub(crate) struct Binaries<'a> {
    pub manifest: Manifest,
    /// By worker type of the app.
    pub programs: BTreeMap<String, PathBuf>,
    /// The files of `include`, of the app and of all its worker types, by path.
    pub files: Vec<IncludedFile>,
    /// The images of worker types that were built elsewhere.
    pub external: Vec<ExternalImage>,
    pub commit: Option<Commit>,
    build: Build<'a>,
}

impl<'a> Build<'a> {
    /// Compiles and describes the app, with the same flags as for images, so that compiled code is shared.
    ///
    /// # Errors
    /// When a step fails.
    pub(crate) async fn binaries(mut self) -> Result<Binaries<'a>, Failure> {
        self.own_cpu = processor_of_this_machine();
        let external = self.program_images().await?;
        let compiled = self.compile_all().await?;
        let program = |variant| {
            let built: Option<&crate::project::BuiltApp> = compiled.binaries.get(variant);
            built.map(|built| built.program.clone()).expect("every variant of the plan was compiled")
        };
        let programs = compiled
            .plan
            .images
            .iter()
            .map(|image| (image.worker.clone(), program(&image.variant)))
            .collect();
        let files = self.files().await?;
        Ok(Binaries {
            manifest: compiled.manifest,
            programs,
            files,
            external,
            commit: self.git.clone(),
            build: self,
        })
    }

    async fn files(&self) -> Result<Vec<IncludedFile>, Failure> {
        let (directory, binary) = (self.package.directory.clone(), self.package.binary.clone());
        let patterns: Vec<Vec<String>> = self.config.build.include_lists().map(<[String]>::to_vec).collect();
        let lists = on_thread(move || all_included(&directory, &patterns, &binary)).await?;
        let lists = lists.map_err(ImagesError::Include)?;
        let left_out: BTreeSet<&LeftOut> = lists.iter().flat_map(|list| &list.left_out).collect();
        for left_out in left_out {
            self.output.warning(&left_out.to_string());
        }
        let files = lists.into_iter().flat_map(|list| list.files);
        // A file in several lists is the same one each time.
        let by_path: BTreeMap<String, IncludedFile> = files.map(|file| (file.path.clone(), file)).collect();
        Ok(by_path.into_values().collect())
    }
}

/// The processor that processes on this machine may expect, if it lacks what binaries expect by default.
fn processor_of_this_machine() -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let is_recent = has!("avx2")
            && has!("bmi1")
            && has!("bmi2")
            && has!("f16c")
            && has!("fma")
            && has!("lzcnt")
            && has!("movbe");
        (!is_recent).then(|| "x86-64".to_owned())
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

fn all_included(
    directory: &Path,
    patterns: &[Vec<String>],
    binary: &str,
) -> Result<Vec<Included>, IncludeError> {
    patterns.iter().map(|patterns| included(directory, patterns, binary)).collect()
}

impl Binaries<'_> {
    /// The crate's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.build.package.directory
    }
}

impl Drop for Binaries<'_> {
    fn drop(&mut self) {
        // The next build removes what is left.
        let _ = std::fs::remove_dir_all(self.build.directory.binaries());
    }
}

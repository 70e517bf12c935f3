//! `cargo xtask dist`: what people install without a compiler, as files to upload.
//!
//! For each target an archive with the static program `flash`, its completions, manual pages, licences and bill of
//! materials; beside them `install.sh` and `SHA256SUMS`. `compile` makes the program, `archive` the bytes. Publishing is left to
//! whoever has the rights.
mod archive;
mod compile;
#[cfg(test)]
mod install;
mod zig;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use self::{
    archive::{Archive, Mode},
    compile::{Compiled, Target},
};
use crate::{
    command::{cargo, read, run as run_command},
    failure::Failure,
    output,
    steps::Steps,
    workspace,
};

/// Files of the repository that each archive has.
const FILES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];
/// Shells, and what they call their completions.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "flash.bash"), ("zsh", "_flash"), ("fish", "flash.fish")];

/// Make the archives of a release: static programs, with completions, manual pages and checksums.
///
/// The same sources, compilers and targets give the same bytes. Each target needs Rust's standard library and a C compiler for
/// it; the task says what to install. Nothing is uploaded.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask dist\n  cargo xtask dist --target x86_64-unknown-linux-musl\n  \
                  cargo xtask dist --target x86_64-unknown-linux-gnu  linked statically, needs nothing else here"
)]
pub(crate) struct Arguments {
    /// What to compile for; once for each target.
    #[arg(
        long = "target",
        value_name = "TRIPLE",
        default_values = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"]
    )]
    targets: Vec<String>,
    /// Where the files go; by default target/dist.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Makes them.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let out = arguments.out.clone().unwrap_or_else(|| workspace::target().join("dist"));
    let work = workspace::target().join("dist-work");
    for directory in [&out, &work] {
        fs::create_dir_all(directory).map_err(Failure::at(directory.display()))?;
    }
    let targets: Vec<Target> = arguments.targets.iter().map(|triple| Target::new(triple)).collect();
    let mut steps = Steps::start();
    // Before the first build: it takes minutes.
    steps.take("check", || targets.iter().try_for_each(Target::check))?;
    let mut common = Vec::new();
    steps.take("texts", || {
        common = texts(&work)?;
        Ok(())
    })?;
    let script = read_file(&workspace::root().join("install.sh"))?;
    write(&out, "install.sh", &script)?;
    let mut files = vec![("install.sh".to_owned(), script)];
    for target in &targets {
        steps.take("archive", || {
            let compiled = target.compile(&work)?;
            let materials = materials(target, &compiled)?;
            let archive = archive_of(target.triple(), &common, compiled.program, materials);
            let packed = archive.packed().map_err(Failure::at(target.triple()))?;
            let name = format!("flash-{}.tar.gz", target.triple());
            // At once: the next target may take as long, and fail.
            write(&out, &name, &packed)?;
            files.push((name, packed));
            Ok(())
        })?;
    }
    let listed = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    write(&out, "SHA256SUMS", archive::sums(listed).as_bytes())?;
    steps.finish("dist");
    Ok(())
}

fn write(out: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = out.join(name);
    fs::write(&path, bytes).map_err(Failure::at(path.display()))?;
    output::say("Wrote", &path.display().to_string());
    Ok(())
}

/// A text of each archive, by its path.
type Text = (String, Vec<u8>);

/// The archive of a target.
fn archive_of(triple: &str, common: &[Text], program: Vec<u8>, materials: Vec<u8>) -> Archive {
    let mut archive = Archive::new(format!("flash-{triple}"));
    archive.add("flash", Mode::Program, program);
    archive.add("flash.cdx.json", Mode::Data, materials);
    for (path, bytes) in common {
        archive.add(path.clone(), Mode::Data, bytes.clone());
    }
    archive
}

/// What all archives have: files of the repository, completions, manual pages. The `flash` of this machine says the latter:
/// programs for other machines do not run here.
fn texts(work: &Path) -> Result<Vec<Text>, Failure> {
    let mut texts = Vec::new();
    for name in FILES {
        texts.push((name.to_owned(), read_file(&workspace::root().join(name))?));
    }
    for (shell, name) in COMPLETIONS {
        let script = read(&mut cargo(&["flash", "completions", shell]))?;
        texts.push((format!("completions/{name}"), script.into_bytes()));
    }
    let pages = work.join("man");
    if pages.exists() {
        fs::remove_dir_all(&pages).map_err(Failure::at(pages.display()))?;
    }
    run_command(cargo(&["flash", "man", "--dir"]).arg(&pages))?;
    for entry in fs::read_dir(&pages).map_err(Failure::at(pages.display()))? {
        let path = entry.map_err(Failure::at(pages.display()))?.path();
        let name = path.file_name().unwrap_or_default().display();
        texts.push((format!("man/man1/{name}"), read_file(&path)?));
    }
    Ok(texts)
}

/// The bill of materials of a program, as CycloneDX.
fn materials(target: &Target, compiled: &Compiled) -> Result<Vec<u8>, Failure> {
    let messages = fs::File::open(&compiled.messages).map_err(Failure::at(compiled.messages.display()))?;
    let mut example =
        cargo(&["run", "--quiet", "--package", "flash-image", "--example", "sbom", "--", "flash-cli"]);
    Ok(read(example.arg(target.triple()).stdin(messages))?.into_bytes())
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(Failure::at(path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_program_and_all_texts_twice_the_same() {
        let common: Vec<Text> =
            FILES.map(|name| (name.to_owned(), read_file(&workspace::root().join(name)).unwrap())).into();
        let packed = || archive_of("t", &common, b"#!/bin/sh\n".to_vec(), b"{}".to_vec()).packed().unwrap();
        assert_eq!(packed(), packed());
        let bytes = packed();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let paths: Vec<String> = tar
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        let expected = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "flash", "flash.cdx.json"]
            .map(|name| format!("flash-t/{name}"));
        assert_eq!(paths, expected);
    }
}

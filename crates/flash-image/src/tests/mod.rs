//! Whole images: assembled, verified, and read by other tools.
mod archive;
mod assemble;
mod programs;
mod tools;
mod verify;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use oci_spec::image::{
    Arch, Descriptor, ImageConfiguration, ImageManifest, MediaType, Os, Platform, PlatformBuilder,
};
use tempfile::TempDir;

use flash_test_support::skipped::{Needs, skip};

use super::{assemble::Part, layer::Access, tarball::SourceError, *};

/// A project's directory and what is built in it.
struct Project {
    directory: TempDir,
    layout: Layout,
}

impl Project {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let layout = Layout::create(&directory.path().join(".flash/build/images")).unwrap();
        let project = Self { directory, layout };
        project.write("binary", "the app");
        project.write("models/small.bin", "weights");
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// An image with a model and without a base.
    fn spec(&self, worker: &str) -> ImageSpec {
        let labels = ["title", "version", "revision", "source", "vendor", "licenses"];
        ImageSpec {
            name: worker.to_owned(),
            binary: Binary { path: self.path("binary"), name: "app".to_owned(), linkage: Linkage::Static },
            data: Vec::new(),
            included: included(self.directory.path(), &["models/**".to_owned()], "app").unwrap().files,
            base: Base::Scratch,
            platform: platform(Arch::Amd64),
            user: "65532:65532".to_owned(),
            env: BTreeMap::new(),
            labels: labels
                .iter()
                .map(|label| (format!("org.opencontainers.image.{label}"), worker.to_owned()))
                .collect(),
        }
    }

    /// The same with a binary that runs.
    fn running_spec(&self, worker: &str) -> ImageSpec {
        let binary = Binary {
            path: compiled(self.directory.path(), "+crt-static"),
            name: "app".to_owned(),
            linkage: Linkage::Static,
        };
        let platform = platform(this_machine());
        ImageSpec { binary, platform, ..self.spec(worker) }
    }

    fn assemble(&self, spec: &ImageSpec) -> Image {
        Assembler::new(&self.layout).assemble(spec).unwrap()
    }

    fn manifest(&self, image: &Image) -> ImageManifest {
        self.layout.read_json(&image.manifest).unwrap()
    }

    fn config(&self, image: &Image) -> ImageConfiguration {
        self.layout.read_json(&image.config).unwrap()
    }

    fn blobs(&self) -> usize {
        std::fs::read_dir(self.layout.directory().join("blobs/sha256")).unwrap().count()
    }
}

fn platform(architecture: Arch) -> Platform {
    PlatformBuilder::default().os(Os::Linux).architecture(architecture).build().unwrap()
}

fn this_machine() -> Arch {
    if cfg!(target_arch = "aarch64") { Arch::ARM64 } else { Arch::Amd64 }
}

/// A program that prints what it finds in its image.
const PROGRAM: &str = r#"
    fn main() {
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.len()).unwrap_or(0);
        let bundle = std::env::var("SSL_CERT_FILE").unwrap();
        let model = std::fs::read_to_string("models/small.bin").unwrap();
        std::fs::write("/tmp/scratch", &model).unwrap();
        println!("{} {model} {}", std::env::var("FLASH_WORKER").unwrap(), read(&bundle) > 100_000);
    }
"#;

/// Compiles it, with the C library linked statically (`+crt-static`) or dynamically (`-crt-static`).
fn compiled(directory: &Path, libraries: &str) -> PathBuf {
    let (source, binary) = (directory.join("app.rs"), directory.join("app"));
    std::fs::write(&source, PROGRAM).unwrap();
    let compiled = Command::new("rustc")
        .args([
            "--edition",
            "2021",
            "-C",
            "strip=symbols",
            "-C",
            &format!("target-feature={libraries}"),
            "-o",
        ])
        .args([&binary, &source])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    binary
}

/// A program on this machine. Where nothing may be skipped, it must exist.
fn tool(name: &str) -> Option<Command> {
    let there = Command::new(name).arg("--version").output().is_ok();
    if !there {
        skip(Needs::Containers, &format!("`{name}` is not installed"));
    }
    there.then(|| Command::new(name))
}

/// Its output, if it succeeds.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

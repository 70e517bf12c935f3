//! `examples/04_dependencies`: a worker type with files, a base image and a program of that image.
//!
//! The base comes from a registry of the test, which makes it: nothing is pulled from elsewhere.
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use flash_image::{
    Layout,
    registry::{self, Logins, Registry, RetryPolicy},
};
use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::{
    Client, Finished, Running, crate_files, finish_with, image_target,
    images::{Project, has_engine},
    registry::{DockerRegistry, has_programs},
    root,
};

/// The base that the example names.
const NAMED: &str = "python:3.13-slim";

fn example() -> PathBuf {
    root().join("examples/04_dependencies")
}

/// A copy of the example on another base, in one place, so that cargo has most of it from the run before.
struct Copy {
    directory: PathBuf,
    _alone: Flock<File>,
}

impl Copy {
    fn on(base: &str) -> Self {
        let place = root().join("target/test-dependencies");
        std::fs::create_dir_all(&place).unwrap();
        let lock = File::create(place.join("lock")).unwrap();
        let alone = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
        let directory = place.join("app");
        let _ = std::fs::remove_dir_all(directory.join(".flash"));
        let files =
            ["src/main.rs", "src/python.rs", "scripts/keywords.py", "data/stopwords.txt", "flash.toml"];
        let files = files.map(|file| (file, std::fs::read_to_string(example().join(file)).unwrap()));
        std::fs::create_dir_all(&directory).unwrap();
        let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (*file, text.as_str())).collect();
        crate_files("dependencies-of-tests", &directory, &files);
        let copy = Self { directory, _alone: alone };
        copy.change_settings(NAMED, base);
        copy
    }

    fn change_settings(&self, from: &str, to: &str) {
        let path = self.directory.join("flash.toml");
        let settings = std::fs::read_to_string(&path).unwrap();
        assert!(settings.contains(from), "{settings}");
        std::fs::write(path, settings.replace(from, to)).unwrap();
    }

    fn build(&self, arguments: &[&str]) -> Finished {
        let arguments: Vec<&str> = ["build", "--release-profile", "dev", "--no-sbom", "--json"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let target = image_target();
        let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap()), ("DOCKER_CONFIG", "/nowhere")];
        finish_with(&arguments, &self.directory, &environment)
    }

    /// Builds, and gives the image of `python_worker` in the record.
    fn built(&self, arguments: &[&str]) -> (Value, Finished) {
        let finished = self.build(arguments);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let record: Value = serde_json::from_str(&finished.stdout).unwrap();
        let images = record["images"].as_array().unwrap();
        let image = images.iter().find(|image| image["worker"] == "python_worker").unwrap().clone();
        (image, finished)
    }

    /// A JSON blob of its images.
    fn blob(&self, digest: &Value) -> Value {
        let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = self.directory.join(".flash/build/images/blobs/sha256").join(digest);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

/// A base image with a program at `/opt/python/bin/python3`, and settings of its own.
struct BaseImage {
    layout: Layout,
    directory: TempDir,
}

impl BaseImage {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let layout = Layout::create(&directory.path().join("layout")).unwrap();
        let source = root().join("flash-cli/tests/it/dependencies/python3.rs");
        let compiled = Command::new("rustc")
            .args(["--edition", "2024", "-C", "strip=symbols", "-C", "target-feature=+crt-static", "-o"])
            .arg(directory.path().join("python3"))
            .arg(source)
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Self { layout, directory }
    }

    /// Pushes a release of it, and gives the digest.
    async fn push(&self, release: &str, to: &str) -> String {
        let mut tar = tar::Builder::new(Vec::new());
        let program = self.directory.path().join("python3");
        tar.append_path_with_name(program, "opt/python/bin/python3").unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(release.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "etc/base-release", release.as_bytes()).unwrap();
        let tar = tar.into_inner().unwrap();
        let diff_id: String = Sha256::digest(&tar).iter().map(|byte| format!("{byte:02x}")).collect();
        let layer = self.layout.put(MediaType::ImageLayer, &tar).unwrap();
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {
                "Env": ["PATH=/opt/python/bin:/usr/bin", "LANG=C.UTF-8"],
                "Entrypoint": ["python3"],
                "User": "root",
                "WorkingDir": "/srv",
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
        });
        let config = self.layout.put_json(MediaType::ImageConfig, &config).unwrap();
        self.push_manifest(config, layer, to).await
    }

    async fn push_manifest(&self, config: Descriptor, layer: Descriptor, to: &str) -> String {
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(vec![layer])
            .build()
            .unwrap();
        let manifest = self.layout.put_json(MediaType::ImageManifest, &manifest).unwrap();
        let to = registry::reference(to).unwrap();
        let registry = Registry::of(&to, Logins::default(), RetryPolicy::default()).unwrap();
        registry::push(&registry, &self.layout, &manifest, &[], &to, &|_| {}).await.unwrap();
        manifest.digest().to_string()
    }
}

/// Runs its images, and asks for the keywords of a text.
async fn keywords_of(built: &Path, text: &str) -> Value {
    let project = Project::of(built, "");
    let app = project.start();
    Client::new().post(format!("{}/keywords", app.url), json!({ "text": text })).await.json()
}

#[tokio::test]
async fn the_example_runs_the_python_of_this_machine() {
    let app = Running::start(&example(), &["--no-reload"]);
    let text = json!({ "text": "The dog and the other dog" });
    let answer = Client::new().post(format!("{}/keywords", app.url), text).await;
    let words = json!([{ "word": "dog", "times": 2 }, { "word": "other", "times": 1 }]);
    assert_eq!((answer.status, &answer.json()["words"]), (200, &words), "{answer:?}");
    assert!(answer.json()["python"].as_str().unwrap().starts_with("3."), "{answer:?}");
    assert!(!app.stderr().contains("not found on this machine"), "{}", app.stderr());
}

#[tokio::test]
async fn an_image_has_its_base_below_the_app_and_keeps_to_the_digest_of_the_first_build() {
    if !has_programs(&["docker-registry"]) {
        return;
    }
    let mut server = DockerRegistry::start();
    let name = format!("{}/team/python:3", server.address);
    let base = BaseImage::new();
    let first_base = base.push("one", &name).await;
    let copy = Copy::on(&name);
    let (first, finished) = copy.built(&[]);
    assert!(finished.stderr.contains(&format!("{name}@{first_base}")), "{finished:?}");
    assert_eq!(first["base"], json!({ "name": name, "digest": first_base }));

    let manifest = copy.blob(&first["digest"]);
    assert_eq!(manifest["annotations"]["org.opencontainers.image.base.digest"], first_base.as_str());
    let config = &copy.blob(&manifest["config"]["digest"])["config"];
    let env = config["Env"].as_array().unwrap();
    assert!(env.contains(&json!("PATH=/opt/python/bin:/usr/bin")) && env.contains(&json!("LANG=C.UTF-8")));
    assert_eq!(config["Entrypoint"], json!(["/app/dependencies-of-tests"]));
    assert_eq!((&config["User"], &config["WorkingDir"]), (&json!("65532:65532"), &json!("/app")));

    let second_base = base.push("two", &name).await;
    let (again, _) = copy.built(&[]);
    assert_eq!(again["digest"], first["digest"], "the tag has moved, the build has not");
    let (updated, _) = copy.built(&["--update-base"]);
    assert_eq!(updated["base"]["digest"], second_base.as_str());
    assert_ne!(updated["digest"], first["digest"]);

    server.stop();
    let (offline, finished) = copy.built(&[]);
    assert_eq!(offline["digest"], updated["digest"], "{finished:?}");
    assert!(finished.stderr.contains("as in the last build"), "{finished:?}");

    if has_engine() {
        let answer = keywords_of(&copy.directory, "in a container").await;
        let stopwords = std::fs::read_to_string(example().join("data/stopwords.txt")).unwrap();
        let word = json!({ "word": "in a container", "times": stopwords.lines().count() });
        assert_eq!(answer["words"], json!([word]), "{answer}");
        assert!(answer["python"].as_str().unwrap().starts_with("two, a script of"), "{answer}");
    }
}

#[tokio::test]
async fn a_base_without_the_program_or_out_of_reach_is_one_line_with_what_to_do() {
    if !has_programs(&["docker-registry"]) {
        return;
    }
    let mut server = DockerRegistry::start();
    let name = format!("{}/team/python:3", server.address);
    BaseImage::new().push("one", &name).await;
    let copy = Copy::on(&name);
    let refused = |code: i32, parts: &[&str]| {
        let refused = copy.build(&[]);
        let errors = refused.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!((refused.code, errors), (Some(code), 1), "{refused:?}");
        for part in parts {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
        assert!(!copy.directory.join(".flash/build/manifest.json").exists(), "{refused:?}");
        refused.stderr.contains("Compiled")
    };
    copy.change_settings("needs = [\"python3\"]", "needs = [\"python3\", \"ffmpeg\"]");
    refused(
        2,
        &["`python_worker` needs `ffmpeg`, not found in its image", "/opt/python/bin:/usr/bin", "hint: "],
    );
    copy.change_settings("base = ", "# base = ");
    refused(2, &["its image has no base", "[build.workers.python_worker]"]);
    copy.change_settings("# base = ", "base = ");
    copy.change_settings("team/python:3\"", "team/nothing:1\"");
    let absent = format!("cannot pull base image {}/team/nothing:1 of `python_worker`", server.address);
    let absent_compiled = refused(1, &[&absent, "not found", "check the name and the tag"]);
    server.stop();
    let unreachable_compiled = refused(1, &[&absent, "cannot reach registry", "curl -i http://"]);
    assert!(!absent_compiled && !unreachable_compiled, "both show before anything is compiled");
}

#[test]
fn a_program_that_this_machine_lacks_is_told_by_run_and_doctor() {
    let source = "#[flash_sdk::remote(cpu = Cpu3c_1_2)]\npub async fn go() -> flash_sdk::Result<u8> { Ok(1) }\n\
                  #[flash_sdk::main]\nasync fn main() {}\n";
    let settings = "[build.workers.go]\nneeds = [\"no-such-tool\", \"sh\"]\n";
    let app = crate::support::crate_of("lacking-app", &[("src/main.rs", source), ("flash.toml", settings)]);
    let said = "`go` needs `no-such-tool`, not found on this machine";
    let doctor = finish_with(&["doctor", "--json"], app.path(), &[]);
    let found: Value =
        serde_json::from_str(&doctor.stdout).unwrap_or_else(|error| panic!("{error}: {doctor:?}"));
    let finding = found["findings"].as_array().unwrap().iter().find(|finding| finding["name"] == "programs");
    assert_eq!(finding.unwrap()["said"], said, "{doctor:?}");
    let target = root().join("target");
    let running = Running::start_with(app.path(), &[], &[("CARGO_TARGET_DIR", target.to_str().unwrap())]);
    let warnings = running.stderr();
    assert_eq!(warnings.matches(said).count(), 1, "{warnings}");
}

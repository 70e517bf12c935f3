//! `flash build` as its user sees it: what it makes, that it makes the same again, and what it says when it
//! cannot.
//!
//! With skopeo and a real registry; without them those tests do nothing, unless `FLASH_REQUIRE_CONTAINERS=1`
//! forbids such a gap.
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    self, Finished, finish_with, flash, image_target,
    registry::{DockerRegistry, Options, PASSWORD, USER, has_programs},
    root,
};

/// What the app of these tests does.
const SOURCE: &str = include_str!("build/app.rs");

/// A crate to build images of. All tests have it in one place, one after the other, so that cargo builds it once.
struct App {
    directory: PathBuf,
    _alone: Flock<File>,
}

impl App {
    fn new(settings: &str) -> Self {
        Self::of(SOURCE, settings)
    }

    fn of(source: &str, settings: &str) -> Self {
        let place = root().join("target/test-build");
        std::fs::create_dir_all(&place).unwrap();
        let lock = File::create(place.join("lock")).unwrap();
        let alone = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
        let directory = place.join("app");
        if directory.exists() {
            std::fs::remove_dir_all(&directory).unwrap();
        }
        let files = [("src/main.rs", source), ("flash.toml", settings), ("model/weights.bin", "0123456789")];
        std::fs::create_dir_all(&directory).unwrap();
        support::crate_files("built-app", &directory, &files);
        // A repository of its own, without a commit: that around it is of another project.
        output_of("git", &["-C", directory.to_str().unwrap(), "init", "--quiet"]);
        Self { directory, _alone: alone }
    }

    fn path(&self) -> &Path {
        &self.directory
    }

    fn build(&self, arguments: &[&str]) -> Finished {
        self.build_with(arguments, &[])
    }

    fn build_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let arguments: Vec<&str> = ["--release-profile", "dev"].iter().chain(arguments).copied().collect();
        self.build_as(&arguments, environment)
    }

    fn build_as(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let target = image_target();
        // What the machine's own configuration says is nobody's business here.
        let mut all = vec![("CARGO_TARGET_DIR", target.to_str().unwrap()), ("DOCKER_CONFIG", "/nowhere")];
        all.extend(environment);
        let arguments: Vec<&str> = ["build"].iter().chain(arguments).copied().collect();
        finish_with(&arguments, self.path(), &all)
    }

    /// Builds, and gives what was printed with `--json`.
    fn built(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let built = self.build(&arguments);
        assert_eq!(built.code, Some(0), "{built:?}");
        serde_json::from_str(&built.stdout).unwrap_or_else(|error| panic!("{error}: {built:?}"))
    }

    fn images(&self) -> PathBuf {
        self.path().join(".flash/build/images")
    }

    fn record(&self) -> String {
        std::fs::read_to_string(self.path().join(".flash/build/manifest.json")).unwrap()
    }
}

fn digest_of<'a>(record: &'a Value, worker: &str) -> &'a str {
    let images = record["images"].as_array().unwrap();
    let image = images.iter().find(|image| image["worker"] == worker);
    image.unwrap_or_else(|| panic!("no {worker} in {record}"))["digest"].as_str().unwrap()
}

/// Runs a program that must succeed, and gives what it prints.
fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_image_per_worker_type_holds_the_app_and_what_it_needs_and_nothing_else() {
    if !has_programs(&["skopeo"]) {
        return;
    }
    let app = App::new("[build]\ninclude = [\"model/**\"]\n");
    let record = app.built(&[]);
    assert_eq!(record["images"].as_array().unwrap().len(), 2, "{record}");
    assert_eq!(record["app"]["app"]["name"], "built-app");
    for image in record["images"].as_array().unwrap() {
        let compressed = image["compressed"].as_u64().unwrap();
        assert!(compressed > 1_000_000 && compressed < 30_000_000, "a binary of the dev profile: {image}");
    }
    let name = format!("oci:{}:cruncher", app.images().display());
    let image: Value = serde_json::from_str(&output_of("skopeo", &["inspect", &name])).unwrap();
    assert_eq!(image["Digest"], digest_of(&record, "cruncher"));
    let config: Value = serde_json::from_str(&output_of("skopeo", &["inspect", "--config", &name])).unwrap();
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/app/built-app"]));
    assert!(
        config["config"]["Env"].as_array().unwrap().contains(&"FLASH_WORKER=cruncher".into()),
        "{config}"
    );

    let mut files = Vec::new();
    for layer in image["Layers"].as_array().unwrap() {
        let blob = layer.as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = app.images().join("blobs/sha256").join(blob);
        files.extend(output_of("tar", &["-tzf", path.to_str().unwrap()]).lines().map(str::to_owned));
    }
    files.retain(|file| !file.ends_with('/'));
    assert_eq!(
        files,
        ["etc/ssl/certs/ca-certificates.crt", "app/model/weights.bin", "app/built-app"],
        "lowest layer first, the binary on top"
    );
    let bill = std::fs::read(app.path().join(".flash/build/sbom/cruncher.cdx.json")).unwrap();
    let bill: Value = serde_json::from_slice(&bill).unwrap();
    let has = |name: &str| bill["components"].as_array().unwrap().iter().any(|part| part["name"] == name);
    assert!(has("flash-sdk") && has("serde") && !has("trybuild"), "{bill}");

    let binary = digests_of_layers(&image);
    std::fs::write(app.path().join("model/weights.bin"), "9876543210").unwrap();
    app.built(&[]);
    let again: Value = serde_json::from_str(&output_of("skopeo", &["inspect", &name])).unwrap();
    let changed: Vec<bool> =
        binary.iter().zip(digests_of_layers(&again)).map(|(old, new)| *old != new).collect();
    assert_eq!(changed, [false, true, false], "a changed model uploads neither certificates nor binary");
}

fn digests_of_layers(image: &Value) -> Vec<String> {
    image["Layers"].as_array().unwrap().iter().map(|layer| layer.to_string()).collect()
}

/// The sources of an app with everything it is built from, in a directory of this name.
fn checkout(parent: &Path, name: &str) -> PathBuf {
    let directory = parent.join(name);
    for part in ["crates", "flash-sdk", "flash-macros"] {
        copy_all(&root().join(part), &directory.join(part));
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let workspace = manifest["workspace"].as_table_mut().unwrap();
    workspace.insert("members".to_owned(), vec!["flash-sdk", "flash-macros", "app"].into());
    workspace.remove("default-members");
    // Optimised, for that is when paths of the sources get into the binary; but no more than that takes. The sources of
    // other packages are at the same place for both.
    let profile = toml::toml! {
        opt-level = 1
        codegen-units = 16

        [package."*"]
        opt-level = 0
    };
    manifest.insert(
        "profile".to_owned(),
        toml::Table::from_iter([("release".to_owned(), profile.into())]).into(),
    );
    std::fs::write(directory.join("Cargo.toml"), manifest.to_string()).unwrap();
    std::fs::copy(root().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let app = directory.join("app");
    std::fs::create_dir_all(app.join("src")).unwrap();
    std::fs::write(app.join("src/main.rs"), include_str!("build/app.rs")).unwrap();
    std::fs::write(app.join("Cargo.toml"), include_str!("build/app.toml")).unwrap();
    app
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy_all(&from, &to),
            false => drop(std::fs::copy(from, to).unwrap()),
        }
    }
}

#[test]
fn two_checkouts_in_different_directories_give_the_same_digests() {
    let parent = TempDir::new().unwrap();
    let digests = ["one", "quite/another"].map(|name| {
        let app = checkout(parent.path(), name);
        // Each with a target directory of its own, as two machines have.
        let output = flash(&["build", "--json"]).current_dir(&app).env_remove("CARGO_TARGET_DIR").output();
        let built = Finished::of(output.unwrap());
        assert_eq!(built.code, Some(0), "{built:?}");
        let record: Value = serde_json::from_str(&built.stdout).unwrap();
        for worker in ["cruncher", "page"] {
            assert!(digest_of(&record, worker).starts_with("sha256:"));
        }
        let digests = ["cruncher", "page"].map(|worker| digest_of(&record, worker).to_owned());
        let bill = std::fs::read_to_string(app.join(".flash/build/sbom/page.cdx.json")).unwrap();
        // The disk is needed by the next one.
        std::fs::remove_dir_all(app.parent().unwrap().join("target")).unwrap();
        (digests, bill)
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn projects_that_share_a_target_directory_share_the_builds_of_their_dependencies() {
    let app = App::new("");
    let other = support::crate_of("other-built-app", &[("src/main.rs", SOURCE)]);
    let target = image_target();
    let build_other = || {
        let shared = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
        finish_with(&["build", "--release-profile", "dev"], other.path(), &shared)
    };
    let compiled = |finished: Finished| {
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let lines = finished.stderr.lines().filter_map(|line| line.trim_start().strip_prefix("Compiling "));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    compiled(app.build(&[]));
    compiled(build_other());
    let edit = |directory: &Path| {
        std::fs::write(directory.join("src/main.rs"), format!("{SOURCE}\n// Another one.\n")).unwrap();
    };
    edit(app.path());
    assert_eq!(compiled(app.build(&[])), ["built-app"]);
    edit(other.path());
    assert_eq!(compiled(build_other()), ["other-built-app"]);

    // One of the same name elsewhere, older than what was built, is not taken for the other.
    let namesake = support::crate_of("other-built-app", &[]);
    std::fs::create_dir(namesake.path().join("src")).unwrap();
    let (source, old) = (namesake.path().join("src/main.rs"), std::time::SystemTime::UNIX_EPOCH);
    std::fs::write(&source, SOURCE.replace("fn crunch(", "fn munch(")).unwrap();
    File::options().append(true).open(&source).unwrap().set_modified(old).unwrap();
    let shared = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
    let built = finish_with(&["build", "--release-profile", "dev"], namesake.path(), &shared);
    assert!(built.code == Some(0) && built.stdout.contains("munch"), "{built:?}");
}

#[test]
fn what_is_pushed_is_what_is_pulled_and_a_second_push_uploads_nothing() {
    if !has_programs(&["skopeo", "docker-registry"]) {
        return;
    }
    let registry = DockerRegistry::start();
    let app = App::new("");
    let repository = format!("{}/me/app", registry.address);
    let first = app.build(&["--push", &repository, "--tag", "v1"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stdout.contains(&format!("{repository}-cruncher:v1@sha256:")), "{first:?}");
    let second = app.build(&["--push", &repository, "--tag", "v1"]);
    let pushes: Vec<&str> = second.stderr.lines().filter(|line| line.contains("Pushed")).collect();
    assert_eq!(pushes.len(), 2, "{second:?}");
    assert!(pushes.iter().all(|line| line.contains("(0 blobs uploaded, 0 kB")), "{second:?}");

    let record: Value = serde_json::from_str(&app.record()).unwrap();
    let pulled = TempDir::new().unwrap();
    let to = format!("oci:{}:page", pulled.path().display());
    let from = format!("docker://{repository}-page:v1");
    output_of("skopeo", &["copy", "--quiet", "--src-tls-verify=false", &from, &to]);
    let image: Value = serde_json::from_str(&output_of("skopeo", &["inspect", &to])).unwrap();
    assert_eq!(image["Digest"], digest_of(&record, "page"));
    let hex = digest_of(&record, "page").replace(':', "-");
    assert!(registry.tags("me/app-page").contains(&hex), "the bill of materials is attached");
}

#[test]
fn a_registry_that_refuses_is_one_line_and_no_tag() {
    if !has_programs(&["docker-registry"]) {
        return;
    }
    let registry = DockerRegistry::start_with(&Options { password: true, ..Options::default() });
    let app = App::new("");
    let repository = format!("{}/app", registry.address);
    let push = ["--worker", "page", "--push", &repository, "--tag", "v1"];
    let credentials = |password| [("FLASH_REGISTRY_USERNAME", USER), ("FLASH_REGISTRY_PASSWORD", password)];
    let wrong = app.build_with(&push, &credentials("not-this-one"));
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    let errors: Vec<&str> = wrong.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && errors[0].contains("rejected the credentials"), "{wrong:?}");
    assert!(wrong.stderr.contains("hint: ") && !wrong.stderr.contains("not-this-one"), "{wrong:?}");
    assert!(!wrong.stderr.contains("Pushed") && !wrong.stdout.contains("page"), "{wrong:?}");
    assert!(!wrong.stderr.contains("Compiled"), "the login is tried before the build: {wrong:?}");
    let right = app.build_with(&push, &credentials(PASSWORD));
    assert_eq!(right.code, Some(0), "{right:?}");

    let address = registry.address.clone();
    drop(registry);
    let nobody = app.build(&push);
    let told = nobody.stderr.contains(&format!("cannot reach registry {address}"));
    assert!(nobody.code == Some(1) && told, "{nobody:?}");
}

#[test]
fn one_file_has_all_images_for_other_tools() {
    if !has_programs(&["skopeo"]) {
        return;
    }
    let app = App::new("");
    let file = app.path().join("images.tar");
    app.built(&[]);
    assert!(app.path().join(".flash/build/sbom/page.cdx.json").exists());
    let record = app.built(&["--tarball", file.to_str().unwrap(), "--no-sbom"]);
    for worker in ["cruncher", "page"] {
        let name = format!("oci-archive:{}:{worker}", file.display());
        let image: Value = serde_json::from_str(&output_of("skopeo", &["inspect", &name])).unwrap();
        assert_eq!(image["Digest"], digest_of(&record, worker));
    }
    assert!(!app.path().join(".flash/build/sbom/page.cdx.json").exists(), "none was wanted");
}

#[test]
fn what_cannot_be_built_is_told_with_what_to_do_and_the_last_build_stays() {
    let app = App::new("");
    app.built(&["--no-sbom"]);
    let before = app.record();
    let refused = |arguments: &[&str], settings: &str, code: i32, parts: &[&str]| {
        std::fs::write(app.path().join("flash.toml"), settings).unwrap();
        let refused = app.build(arguments);
        assert_eq!(refused.code, Some(code), "{refused:?}");
        for part in parts {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
        assert!(refused.stdout.is_empty(), "{refused:?}");
        assert_eq!(app.record(), before, "{refused:?}");
    };
    refused(&["--worker", "crunchr"], "", 2, &["no worker type `crunchr`", "did you mean `cruncher`?"]);
    refused(&["--gpu"], "", 2, &["no GPU worker type"]);
    refused(&["--require-clean"], "", 2, &["--require-clean", "not in a git repository"]);
    refused(&["--platform", "linux/mips"], "", 2, &["linux/amd64 or linux/arm64"]);
    refused(&["--push", "ghcr.io/me/app:v1"], "", 2, &["`ghcr.io/me/app:v1` has a tag", "--tag TAG"]);
    refused(
        &[],
        "[build]\nmax_size_mb = 1\n",
        1,
        &["over the limit of 1 MB", "/app/built-app", "max_size_mb"],
    );
    refused(&[], "[build]\ninclude = [\"modl/**\"]\n", 2, &["`modl/**` matches no file", "include"]);
    refused(
        &[],
        "[build]\ntarget_cpu = \"x86-64-v9\"\n",
        2,
        &["no processor `x86-64-v9`", "--print target-cpus"],
    );
    refused(&[], "[build.workers.crunch]\n", 2, &["flash.toml:1: the app has no worker type `crunch`"]);
    std::fs::write(app.path().join("flash.toml"), "").unwrap();
    let unknown = app.build_as(&["--release-profile", "relase"], &[]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("`relase` is not defined"), "{unknown:?}");
    std::fs::write(app.path().join(".env"), "SECRET=1").unwrap();
    refused(&[], "[build]\ninclude = [\".env\"]\n", 2, &["`.env` holds secrets"]);
}

#[test]
fn a_crate_without_functions_makes_no_images() {
    let empty = App::of("#[flash_sdk::main]\nasync fn main() {}\n", "");
    let refused = empty.build(&[]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("has no `#[remote]` items"), "{refused:?}");
    let nowhere = finish_with(&["build"], TempDir::new().unwrap().path(), &[]);
    assert!(nowhere.code == Some(2) && nowhere.stderr.contains("is not inside a crate"), "{nowhere:?}");
    assert!(flash(&["build", "--help"]).output().unwrap().status.success());
}

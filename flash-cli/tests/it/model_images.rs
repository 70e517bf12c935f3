//! Weights in images: `flash build` with a model of a Hub, for two worker types, pushed to a real registry.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use flash_test_support::hub::{COMMIT, FakeHub, Faults};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Finished, crate_of, finish_with, image_target,
    registry::{DockerRegistry, has_programs},
};

/// Two worker types with the same model, and one without.
const MAIN: &str = r#"
use flash_sdk::{ModelDir, Result, remote};

struct Reader(ModelDir);

#[remote(worker = "reader", cpu = Cpu3c_1_2, model = "org/tiny@v1", files = ["*.safetensors"])]
impl Reader {
    #[init]
    fn load(model: ModelDir) -> Self {
        Self(model)
    }

    pub fn read(&self) -> Result<usize> {
        Ok(std::fs::read(self.0.file("model.safetensors")?)?.len())
    }
}

struct Other(ModelDir);

#[remote(worker = "other", cpu = Cpu3c_1_2, model = "org/tiny@v1", files = ["*.safetensors"])]
impl Other {
    #[init]
    fn load(model: ModelDir) -> Self {
        Self(model)
    }

    pub fn find(&self) -> Result<bool> {
        Ok(self.0.file("model.safetensors").is_ok())
    }
}

#[remote(worker = "plain", cpu = Cpu3c_1_2)]
pub async fn plain() -> Result<u32> {
    Ok(1)
}

#[flash_sdk::main]
async fn main() {}
"#;

const BYTES: usize = 300_000;

struct App {
    hub: FakeHub,
    directory: TempDir,
    cache: TempDir,
}

impl App {
    fn new() -> Self {
        let hub = FakeHub::start();
        // Bytes that do not become fewer when they are compressed.
        let mut state = 1_u32;
        let weights: Vec<u8> = (0..BYTES)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        hub.add("org/tiny", &[("model.safetensors", &weights), ("README.md", b"nobody needs it")]);
        let directory = crate_of("app-with-model-in-images", &[("src/main.rs", MAIN)]);
        Self { hub, directory, cache: TempDir::new().unwrap() }
    }

    fn flash(&self, arguments: &[&str]) -> Finished {
        let target = image_target();
        let environment = [
            ("CARGO_TARGET_DIR", target.to_str().unwrap()),
            ("DOCKER_CONFIG", "/nowhere"),
            ("HF_ENDPOINT", self.hub.endpoint()),
            ("HF_HUB_CACHE", self.cache.path().to_str().unwrap()),
            ("HF_HUB_OFFLINE", ""),
            ("HF_TOKEN", ""),
        ];
        finish_with(arguments, self.directory.path(), &environment)
    }

    fn build(&self, arguments: &[&str]) -> Finished {
        let all: Vec<&str> =
            ["build", "--release-profile", "dev", "--no-sbom"].iter().chain(arguments).copied().collect();
        self.flash(&all)
    }

    #[track_caller]
    fn fails(&self, finished: Finished, code: i32, said: &[&str]) {
        assert_eq!(finished.code, Some(code), "{finished:#?}");
        let errors = finished.stderr.lines().filter(|line| line.starts_with("error"));
        assert_eq!(errors.count(), 1, "{finished:#?}");
        for part in said {
            assert!(finished.stderr.contains(part), "{part}: {finished:#?}");
        }
    }

    #[track_caller]
    fn succeeds(&self, finished: Finished) -> Finished {
        assert_eq!(finished.code, Some(0), "{finished:#?}");
        finished
    }

    fn blob(&self, digest: &str) -> PathBuf {
        let images = self.directory.path().join(".flash/build/images");
        images.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
    }

    /// The layers of a worker type's image, lowest first, and its variables.
    fn image(&self, worker: &str) -> (Vec<String>, Vec<String>) {
        let json = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let record = json(&self.directory.path().join(".flash/build/manifest.json"));
        let images = record["images"].as_array().unwrap();
        let image = images.iter().find(|image| image["worker"] == worker).unwrap();
        let manifest = json(&self.blob(image["digest"].as_str().unwrap()));
        let digest = |part: &Value| part["digest"].as_str().unwrap().to_owned();
        let config = json(&self.blob(&digest(&manifest["config"])));
        let texts = |list: &Value| {
            list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let layers = manifest["layers"].as_array().unwrap().iter().map(digest).collect();
        (layers, texts(&config["config"]["Env"]))
    }

    /// The files in a layer.
    fn files(&self, layer: &str) -> Vec<String> {
        let listed = Command::new("tar").arg("-tzf").arg(self.blob(layer)).output().unwrap();
        let names = String::from_utf8(listed.stdout).unwrap();
        names.lines().filter(|name| !name.ends_with('/')).map(str::to_owned).collect()
    }

    /// Of a push, by worker type: how many blobs were sent.
    fn sent(pushed: &Finished) -> Vec<(String, u32)> {
        let lines = pushed.stderr.lines().filter(|line| line.contains("Pushed"));
        let parse = |line: &str| {
            let count = line.split_once('(')?.1.split(' ').next()?.parse().ok()?;
            let worker = ["reader", "other", "plain"].into_iter().find(|name| line.contains(name))?;
            Some((worker.to_owned(), count))
        };
        lines.map(|line| parse(line).unwrap_or_else(|| panic!("{line}"))).collect()
    }
}

#[test]
fn a_model_is_one_layer_for_all_worker_types_pushed_once_and_only_as_it_is_locked() {
    if !has_programs(&["docker-registry"]) {
        return;
    }
    let app = App::new();
    app.fails(
        app.build(&[]),
        2,
        &["there is no flash.models.lock", "`org/tiny@v1`", "hint: run `flash models pull`"],
    );
    app.hub.fail(Faults { claimed_size: Some(1 << 60), ..Faults::default() });
    app.fails(app.flash(&["models", "pull"]), 1, &["needs 1152921504606846976 bytes more", "are free"]);
    app.hub.fail(Faults::default());
    app.succeeds(app.flash(&["models", "pull"]));

    let registry = DockerRegistry::start();
    let repository = format!("{}/me/app", registry.address);
    let first = app.succeeds(app.build(&["--push", &repository, "--tag", "v1"]));
    let (reader, variables) = app.image("reader");
    let (other, _) = app.image("other");
    let (plain, of_plain) = app.image("plain");
    assert_eq!((&reader, reader.len()), (&other, 3), "certificates, the model, the binary");
    assert_eq!(app.files(&reader[1]), [format!("models/org--tiny/{COMMIT}/model.safetensors")]);
    let directory = format!("FLASH_MODEL_DIR=/models/org--tiny/{COMMIT}");
    assert!(variables.contains(&directory) && !of_plain.contains(&directory), "{variables:?}, {of_plain:?}");
    assert_eq!(plain, [reader[0].clone(), reader[2].clone()], "nothing of the model");
    // All have a configuration of their own. The layers are sent once: the others get them within the registry.
    let mut sent: Vec<u32> = App::sent(&first).into_iter().map(|(_, count)| count).collect();
    sent.sort_unstable();
    assert_eq!((sent.len(), sent.iter().sum::<u32>()), (3, 3 + 3), "{first:#?}");

    // A change of the code leaves the model's layer as it is.
    let source = app.directory.path().join("src/main.rs");
    fs::write(&source, MAIN.replace("Ok(1)", "Ok(2)")).unwrap();
    let second = app.succeeds(app.build(&["--push", &repository, "--tag", "v2"]));
    let (changed, _) = app.image("reader");
    assert_eq!(changed[..2], reader[..2]);
    assert_ne!(changed[2], reader[2]);
    let sent: u32 = App::sent(&second).into_iter().map(|(_, count)| count).sum();
    assert_eq!(sent, 3 + 1, "the configurations and the binary: {second:#?}");

    // Of the right size, and another content.
    let snapshot = app.cache.path().join("models--org--tiny/snapshots").join(COMMIT);
    let content = fs::canonicalize(snapshot.join("model.safetensors")).unwrap();
    let mut weights = fs::read(&content).unwrap();
    weights[BYTES / 2] ^= 1;
    fs::write(&content, weights).unwrap();
    app.fails(
        app.build(&[]),
        1,
        &[
            "`model.safetensors` of the model `org/tiny@v1` is not the one in flash.models.lock",
            "models verify",
        ],
    );
    assert_eq!(app.flash(&["models", "verify"]).code, Some(1));
    app.succeeds(app.flash(&["models", "pull"]));
    app.succeeds(app.build(&[]));
    assert_eq!(app.image("reader").0, changed, "and the same layer again");
}

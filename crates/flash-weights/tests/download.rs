//! Downloads against a server that speaks the Hub's protocol, with everything that goes wrong on the way.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use flash_protocol::{HubModel, ModelReference};
use flash_test_support::{
    hub::{COMMIT, FakeHub, Faults, TOKEN},
    skipped::{Needs, skip},
};
use flash_weights::{
    HubCache, LockedModel, Patterns,
    download::{
        Damage, DownloadError, Hub, HubSettings, Pulled, Request, RetryPolicy, Token, discard, prune, pull,
        verify,
    },
};
use tempfile::TempDir;

const REPO: &str = "org/tiny";

/// Bytes that no cut and no shift leaves equal.
fn weights(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 251) as u8).collect()
}

struct Setup {
    hub: FakeHub,
    directory: TempDir,
}

impl Setup {
    fn new() -> Self {
        let hub = FakeHub::start();
        let weights = weights(100_000);
        hub.add(
            REPO,
            &[
                ("config.json", b"{}"),
                ("model.safetensors", &weights),
                ("nested/tokenizer.json", b"{\"a\": 1}"),
                ("README.md", b"read me"),
            ],
        );
        Self { hub, directory: TempDir::new().unwrap() }
    }

    fn cache(&self) -> HubCache {
        HubCache::at(self.directory.path())
    }

    fn repo(&self) -> PathBuf {
        self.directory.path().join("models--org--tiny")
    }

    fn client(&self, change: impl FnOnce(&mut HubSettings)) -> Hub {
        client(self.hub.endpoint(), change)
    }

    async fn pull(&self, patterns: &[&str]) -> Result<Pulled, DownloadError> {
        self.pull_as(&self.client(|_| {}), "org/tiny@v1", patterns, None).await
    }

    async fn pull_as(
        &self,
        hub: &Hub,
        model: &str,
        patterns: &[&str],
        locked: Option<&LockedModel>,
    ) -> Result<Pulled, DownloadError> {
        let patterns = Patterns::new(patterns);
        pull(hub, &self.cache(), &Request { model: &model_of(model), patterns: &patterns, locked }, &|_| {})
            .await
    }
}

fn client(endpoint: &str, change: impl FnOnce(&mut HubSettings)) -> Hub {
    let pause = Duration::from_millis(1);
    let mut settings = HubSettings {
        endpoint: endpoint.to_owned(),
        token: None,
        offline: false,
        retry: RetryPolicy { max_attempts: 4, first_pause: pause, longest_pause: pause, max_elapsed: None },
    };
    change(&mut settings);
    Hub::new(settings).unwrap()
}

fn model_of(reference: &str) -> HubModel {
    match ModelReference::parse(reference).unwrap() {
        ModelReference::Hub(model) => model,
        other => panic!("{other}"),
    }
}

const NEEDED: [&str; 3] = ["*.safetensors", "config.json", "*/tokenizer.json"];

#[tokio::test]
async fn a_model_lies_in_the_hubs_layout_and_a_second_pull_uses_no_network() {
    let setup = Setup::new();
    let pulled = setup.pull(&NEEDED).await.unwrap();
    assert_eq!(pulled.locked.commit, COMMIT);
    assert_eq!(pulled.directory, setup.repo().join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(setup.repo().join("refs/v1")).unwrap(), COMMIT);
    assert_eq!(fs::read(pulled.directory.join("model.safetensors")).unwrap(), weights(100_000));
    assert_eq!(fs::read_to_string(pulled.directory.join("nested/tokenizer.json")).unwrap(), "{\"a\": 1}");
    assert!(!pulled.directory.join("README.md").exists(), "nobody asked for it");
    let hash = &pulled.locked.files["model.safetensors"].sha256;
    let link = fs::read_link(pulled.directory.join("model.safetensors")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(hash));
    let link = fs::read_link(pulled.directory.join("nested/tokenizer.json")).unwrap();
    assert!(link.starts_with("../../../blobs"), "{link:?}");
    // Of a small file, whose name in the cache is git's hash, the lock has the SHA-256 too.
    let small = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(pulled.locked.files["config.json"].sha256, small);

    let before = setup.hub.requests().len();
    let hub = setup.client(|settings| settings.offline = true);
    let again = setup.pull_as(&hub, "org/tiny@v1", &NEEDED, Some(&pulled.locked)).await.unwrap();
    assert_eq!((again.fetched, &again.locked), (0, &pulled.locked));
    assert_eq!(setup.hub.requests().len(), before);
    let unlocked = setup.pull_as(&hub, "org/tiny@v1", &NEEDED, None).await.unwrap();
    assert_eq!((unlocked.fetched, &unlocked.locked), (0, &pulled.locked));
}

#[tokio::test]
async fn a_content_that_is_cut_again_and_again_is_continued_and_not_fetched_twice() {
    let setup = Setup::new();
    setup.hub.fail(Faults { cut_after: vec![10_000; 8], ..Faults::default() });
    let pulled = setup.pull(&["*.safetensors"]).await.unwrap();
    assert_eq!(fs::read(pulled.directory.join("model.safetensors")).unwrap(), weights(100_000));
    assert_eq!(setup.hub.sent(), 100_000, "no byte twice");
    let contents = setup.hub.requests().iter().filter(|request| *request == "GET /storage").count();
    assert_eq!(contents, 9);
}

#[tokio::test]
async fn a_server_without_ranges_or_hashes_in_its_list_and_one_that_is_busy_for_a_while_work_too() {
    let setup = Setup::new();
    setup.hub.fail(Faults {
        cut_after: vec![50_000],
        no_ranges: true,
        bare_list: true,
        refused: (2, 503),
        ..Faults::default()
    });
    let pulled = setup.pull(&NEEDED).await.unwrap();
    assert_eq!(fs::read(pulled.directory.join("model.safetensors")).unwrap(), weights(100_000));
    assert!(setup.hub.requests().contains(&"HEAD /org/tiny/resolve/model.safetensors".to_owned()));
}

#[tokio::test]
async fn wrong_bytes_are_fetched_once_more_and_never_get_a_name() {
    let setup = Setup::new();
    setup.hub.fail(Faults { wrong: 1, ..Faults::default() });
    let pulled = setup.pull(&["*.safetensors"]).await.unwrap();
    assert_eq!(fs::read(pulled.directory.join("model.safetensors")).unwrap(), weights(100_000));

    let setup = Setup::new();
    setup.hub.fail(Faults { wrong: 2, ..Faults::default() });
    let error = setup.pull(&["*.safetensors"]).await.unwrap_err();
    assert!(matches!(&error, DownloadError::Damaged { file, .. } if file == "model.safetensors"), "{error}");
    assert_eq!(fs::read_dir(setup.repo().join("blobs")).unwrap().count(), 0);
    assert!(!setup.repo().join("refs/v1").exists());
}

#[tokio::test]
async fn what_an_earlier_try_left_damaged_is_noticed() {
    let setup = Setup::new();
    let hash = setup.pull(&["*.safetensors"]).await.unwrap().locked.files["model.safetensors"].sha256.clone();
    let blobs = setup.repo().join("blobs");
    fs::remove_file(blobs.join(&hash)).unwrap();
    fs::write(blobs.join(format!("{hash}.incomplete")), vec![7; 60_000]).unwrap();
    let pulled = setup.pull(&["*.safetensors"]).await.unwrap();
    assert_eq!(fs::read(pulled.directory.join("model.safetensors")).unwrap(), weights(100_000));
}

#[tokio::test]
async fn a_hub_that_is_gone_is_given_up_with_the_number_of_tries() {
    let setup = Setup::new();
    setup.hub.fail(Faults { refused: (99, 503), ..Faults::default() });
    let error = setup.pull(&NEEDED).await.unwrap_err();
    assert!(matches!(error, DownloadError::GivenUp { tries: 4, .. }), "{error}");
    let closed = client("http://127.0.0.1:1", |_| {});
    let error = setup.pull_as(&closed, "org/tiny", &NEEDED, None).await.unwrap_err();
    assert!(matches!(error, DownloadError::GivenUp { .. }), "{error}");
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_one_line_with_the_name_and_what_to_do() {
    let setup = Setup::new();
    setup.hub.add_gated("org/gated", &[("config.json", b"{}")]);
    let with = |token: &str| setup.client(|settings| settings.token = Token::new(token));
    let anybody = setup.client(|_| {});
    for (hub, model, patterns, parts) in [
        (&anybody, "org/gated", &[][..], &["`org/gated` is gated", "/org/gated,", "HF_TOKEN"][..]),
        (&with("hf_of_another"), "org/gated", &[], &["is gated", "the one that is set may not"]),
        (&anybody, "org/none", &[], &["no model `org/none`", "if it is private, set HF_TOKEN"]),
        (&with(TOKEN), "org/none", &[], &["no model `org/none`", "may not read it"]),
        (&anybody, "org/tiny@v9", &[], &["no revision `v9`", "/org/tiny/tree/main"]),
        (&anybody, "org/tiny", &["*.gguf"], &["no file `*.gguf`", "it has README.md, config.json"]),
        (&anybody, "org/tiny", &["confg.json"], &["did you mean `config.json`?"]),
        (&setup.client(|settings| settings.offline = true), "org/tiny", &[], &["HF_HUB_OFFLINE forbids"]),
    ] {
        let error = setup.pull_as(hub, model, patterns, None).await.unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("hf_") && !error.contains('\n'), "{error}");
    }
    setup.pull_as(&with(TOKEN), "org/gated", &[], None).await.unwrap();
}

#[tokio::test]
async fn what_has_no_room_on_the_disk_is_refused_with_both_figures_before_a_byte_arrives() {
    const EXBIBYTE: u64 = 1 << 60;
    let setup = Setup::new();
    setup.hub.fail(Faults { claimed_size: Some(EXBIBYTE), ..Faults::default() });
    let error = setup.pull(&["*.safetensors"]).await.unwrap_err();
    let DownloadError::NoRoom { needed, free, ref directory, .. } = error else { panic!("{error}") };
    assert_eq!((needed, directory.as_path()), (EXBIBYTE, setup.directory.path()));
    assert!((1..EXBIBYTE).contains(&free), "{free}");
    let message = error.to_string();
    for part in ["`org/tiny`", &EXBIBYTE.to_string(), &free.to_string(), "HF_HUB_CACHE"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(setup.hub.sent(), 0);
}

#[tokio::test]
async fn the_token_goes_to_the_hub_and_not_to_the_storage_that_it_redirects_to() {
    let setup = Setup::new();
    let hub = setup.client(|settings| settings.token = Token::new(TOKEN));
    setup.pull_as(&hub, REPO, &["*.safetensors"], None).await.unwrap();
    let requests = setup.hub.requests();
    assert!(requests.contains(&"GET /org/tiny/resolve/model.safetensors +token".to_owned()), "{requests:?}");
    assert!(requests.contains(&"GET /storage".to_owned()), "{requests:?}");
}

#[tokio::test]
async fn a_lock_that_the_hub_no_longer_has_is_refused() {
    let setup = Setup::new();
    let pulled = setup.pull(&NEEDED).await.unwrap();
    fs::remove_dir_all(setup.repo()).unwrap();
    let hub = setup.client(|_| {});
    let mut other = pulled.locked.clone();
    other.files.get_mut("model.safetensors").unwrap().sha256 = "ab".repeat(32);
    let error = setup.pull_as(&hub, "org/tiny@v1", &NEEDED, Some(&other)).await.unwrap_err();
    assert!(
        matches!(&error, DownloadError::NotAsLocked { file, .. } if file == "model.safetensors"),
        "{error}"
    );
    let mut other = pulled.locked.clone();
    other.files.get_mut("config.json").unwrap().sha256 = "ab".repeat(32);
    let error = setup.pull_as(&hub, "org/tiny@v1", &NEEDED, Some(&other)).await.unwrap_err();
    assert!(matches!(&error, DownloadError::NotAsLocked { file, .. } if file == "config.json"), "{error}");
}

#[tokio::test]
async fn nothing_is_pruned_while_a_pull_has_files_without_a_name() {
    let setup = Setup::new();
    let (hub, cache, model) = (setup.client(|_| {}), setup.cache(), model_of("org/tiny@v1"));
    let refused = std::sync::atomic::AtomicUsize::new(0);
    let during = |_| {
        let outcome = prune(&cache, &model, &BTreeSet::new(), false);
        assert!(matches!(outcome, Err(DownloadError::BeingFetched { .. })), "{outcome:?}");
        refused.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    };
    let patterns = Patterns::new(["*"]);
    let request = Request { model: &model, patterns: &patterns, locked: None };
    let pulled = pull(&hub, &cache, &request, &during).await.unwrap();
    assert!(refused.into_inner() > 0);
    assert!(!pulled.locked.files.is_empty());
    assert_eq!(prune(&cache, &model, &BTreeSet::from([pulled.locked.commit]), false).unwrap().blobs, 0);
}

#[tokio::test]
async fn files_that_a_pull_is_about_to_bring_are_not_reported_as_damaged() {
    let setup = Setup::new();
    let locked = setup.pull(&NEEDED).await.unwrap().locked;
    fs::remove_dir_all(setup.repo()).unwrap();
    let (hub, cache, model) = (setup.client(|_| {}), setup.cache(), model_of("org/tiny@v1"));
    let unfinished = std::sync::atomic::AtomicUsize::new(0);
    // The callback is called by the pull, so another thread verifies meanwhile.
    let beside = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(verify(&cache, &model, &locked, &|_| {}))
    };
    let during = |_| match std::thread::scope(|scope| scope.spawn(beside).join().unwrap()) {
        Ok(damaged) => assert_eq!(damaged, []),
        Err(DownloadError::BeingFetched { .. }) => {
            unfinished.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
        Err(other) => panic!("{other}"),
    };
    let patterns = Patterns::new(NEEDED);
    let request = Request { model: &model, patterns: &patterns, locked: Some(&locked) };
    pull(&hub, &cache, &request, &during).await.unwrap();
    assert!(unfinished.into_inner() > 0);
    assert_eq!(verify(&cache, &model, &locked, &|_| {}).await.unwrap(), []);
}

#[tokio::test]
async fn verify_names_what_is_damaged_and_prune_removes_what_nothing_needs() {
    let setup = Setup::new();
    let pulled = setup.pull(&NEEDED).await.unwrap();
    let (cache, model) = (setup.cache(), model_of("org/tiny@v1"));
    let damaged = async || verify(&cache, &model, &pulled.locked, &|_| {}).await.unwrap();
    assert_eq!(damaged().await, []);
    fs::remove_file(pulled.directory.join("config.json")).unwrap();
    let blob = setup.repo().join("blobs").join(&pulled.locked.files["model.safetensors"].sha256);
    fs::write(&blob, "rubbish").unwrap();
    let expected =
        [("config.json".to_owned(), Damage::Missing), ("model.safetensors".to_owned(), Damage::Different)];
    assert_eq!(damaged().await, expected);

    discard(&cache, &model, COMMIT, "model.safetensors").unwrap();
    discard(&cache, &model, COMMIT, "config.json").unwrap();
    assert!(!blob.exists());
    let again =
        setup.pull_as(&setup.client(|_| {}), "org/tiny@v1", &NEEDED, Some(&pulled.locked)).await.unwrap();
    assert_eq!((again.fetched, damaged().await), (100_000, Vec::new()));

    let keep = BTreeSet::from([COMMIT.to_owned()]);
    let unfinished = setup.repo().join("blobs/abc.incomplete");
    fs::write(&unfinished, "ab").unwrap();
    let would = prune(&cache, &model, &keep, true).unwrap();
    assert_eq!((would.blobs, would.bytes, would.commits.len()), (1, 2, 0));
    assert!(unfinished.exists());
    assert_eq!(prune(&cache, &model, &keep, false).unwrap(), would);
    assert!(!unfinished.exists() && blob.exists());
    let all = prune(&cache, &model, &BTreeSet::new(), false).unwrap();
    assert_eq!(all.commits, [COMMIT]);
    assert!(!blob.exists());
}

#[tokio::test]
async fn two_pulls_at_once_fetch_every_byte_once() {
    let setup = Setup::new();
    let (one, other) = tokio::join!(setup.pull(&["*.safetensors"]), setup.pull(&["*.safetensors"]));
    assert_eq!(one.unwrap().locked, other.unwrap().locked);
    assert_eq!(setup.hub.sent(), 100_000);
}

/// The variables of a child that only pulls.
const ENDPOINT: &str = "FLASH_TEST_PULL_FROM";
const CACHE: &str = "FLASH_TEST_PULL_INTO";

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child_that_pulls() {
    let (Ok(endpoint), Ok(cache)) = (std::env::var(ENDPOINT), std::env::var(CACHE)) else { return };
    let request =
        Request { model: &model_of(REPO), patterns: &Patterns::new(["*.safetensors"]), locked: None };
    pull(&client(&endpoint, |_| {}), &HubCache::at(cache), &request, &|_| {}).await.unwrap();
}

fn start_child(setup: &Setup) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_pulls", "--nocapture"])
        .env(ENDPOINT, setup.hub.endpoint())
        .env(CACHE, setup.directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The sizes of files in the cache, by name.
fn blobs(setup: &Setup) -> BTreeMap<String, u64> {
    let Ok(entries) = fs::read_dir(setup.repo().join("blobs")) else { return BTreeMap::new() };
    let size = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, entry.metadata().map_or(0, |file| file.len()))
    };
    entries.map(|entry| size(entry.unwrap())).collect()
}

#[test]
fn a_download_killed_at_20_points_leaves_nothing_corrupt_and_continues() {
    const SIZE: u64 = 1 << 20;
    let setup = Setup::new();
    let content = weights(SIZE as usize);
    setup.hub.add(REPO, &[("model.safetensors", &content)]);
    for point in 1..=20 {
        // Odd points are in the middle of a piece; the last is the last byte but one.
        let limit = (SIZE - 1) * point / 20;
        setup.hub.send_up_to(limit);
        let mut child = start_child(&setup);
        let deadline = Instant::now() + Duration::from_secs(60);
        while blobs(&setup).values().copied().max().unwrap_or(0) < limit {
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "at {limit}: {ended:?}, {:?}",
                blobs(&setup)
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Before it may send more, which nobody would take.
        while !setup.hub.is_idle() {
            assert!(Instant::now() < deadline, "the Hub has not noticed the end of its client");
            std::thread::sleep(Duration::from_millis(2));
        }
        let there = blobs(&setup);
        assert!(there.keys().all(|name| name.ends_with(".incomplete")), "{there:?}");
        assert!(!setup.repo().join("snapshots").exists(), "nothing is named before it is whole");
        let incomplete = setup.repo().join("blobs").join(there.keys().next().unwrap());
        assert!(
            content.starts_with(&fs::read(incomplete).unwrap()),
            "at {limit}: other bytes than the Hub's"
        );
    }
    setup.hub.send_up_to(u64::MAX);
    assert!(start_child(&setup).wait().unwrap().success());
    let whole = setup.repo().join("snapshots").join(COMMIT).join("model.safetensors");
    assert_eq!(fs::read(whole).unwrap(), content);
    assert_eq!(setup.hub.sent(), SIZE, "each try continued where the one before was killed");
}

/// The interpreter with `huggingface_hub`, of `cargo xtask test`.
fn python() -> Option<PathBuf> {
    let Some(python) = std::env::var_os("FLASH_TEST_PYTHON") else {
        skip(Needs::Python, "FLASH_TEST_PYTHON names no Python with the package `huggingface_hub`");
        return None;
    };
    Some(python.into())
}

/// Runs the Hub's own client, which prints the directory of the model.
fn snapshot_download(python: &Path, setup: &Setup, offline: bool) -> PathBuf {
    let script = "import sys, huggingface_hub as h; print(h.snapshot_download('org/tiny', revision='v1', \
                  allow_patterns=['*.safetensors', 'config.json', '*/tokenizer.json']))";
    let output = Command::new(python)
        .args(["-c", script])
        .env("HF_ENDPOINT", setup.hub.endpoint())
        .env("HF_HUB_CACHE", setup.directory.path())
        .env("HF_HOME", setup.directory.path().join("home"))
        .env("HF_HUB_OFFLINE", if offline { "1" } else { "0" })
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env_remove("HF_TOKEN")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    PathBuf::from(text(&output.stdout).trim())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hubs_own_client_reads_our_cache_and_we_read_its() {
    let Some(python) = python() else { return };
    let ours = Setup::new();
    let pulled = ours.pull(&NEEDED).await.unwrap();
    let before = ours.hub.requests().len();
    let read = tokio::task::block_in_place(|| snapshot_download(&python, &ours, true));
    assert_eq!(read, pulled.directory);
    let asked = tokio::task::block_in_place(|| snapshot_download(&python, &ours, false));
    assert_eq!(asked, pulled.directory);
    let requests = ours.hub.requests().split_off(before);
    assert!(!requests.contains(&"GET /storage".to_owned()), "it has what it needs: {requests:?}");

    let its = Setup::new();
    let made = tokio::task::block_in_place(|| snapshot_download(&python, &its, false));
    let found = its.cache().find(&model_of("org/tiny@v1"), &Patterns::new(NEEDED)).unwrap();
    assert_eq!(found.directory, made);
    let hub = its.client(|settings| settings.offline = true);
    let again = its.pull_as(&hub, "org/tiny@v1", &NEEDED, Some(&pulled.locked)).await.unwrap();
    assert_eq!((again.fetched, again.directory), (0, made));
}

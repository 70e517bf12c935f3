use std::{collections::BTreeMap, sync::Arc, time::Duration};

use flash_target::{
    EnvironmentId, NewEnvironment, Problem, ReleaseRecord, ReleaseSpec, ReleaseState, SecretValue, Serving,
    Status, Step, TargetError,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc};

use super::{handle::Environments, prune, release, running::RunState};
use crate::{
    artifact::stage,
    directory::DataDirectory,
    report::Report,
    specs::{digest, spec_of, worker},
};

struct Silent;

impl Report for Silent {
    fn status(&self, _: &str, _: &str) {}
    fn warning(&self, _: &str) {}
    fn error(&self, _: &str) {}
    fn flush(&self) {}
}

struct Bench {
    environments: Environments,
    directory: DataDirectory,
    id: EnvironmentId,
    steps: Vec<Step>,
}

fn id(name: &str) -> EnvironmentId {
    EnvironmentId::new("app", name).unwrap()
}

fn new(name: &str) -> NewEnvironment {
    NewEnvironment { id: id(name), listen: None, port: None }
}

async fn open(data: &TempDir) -> Bench {
    let directory = DataDirectory::open(data.path()).unwrap();
    let environments = Environments::open(directory.clone(), None, Arc::new(Silent)).await.unwrap();
    Bench { environments, directory, id: id("production"), steps: Vec::new() }
}

/// Two worker types that have no workers.
fn spec(of: u8) -> ReleaseSpec {
    spec_of(digest(of), vec![worker("one", 0, ""), worker("two", 0, "")])
}

impl Bench {
    async fn send(&mut self, base: Option<u64>, spec: ReleaseSpec) -> Result<ReleaseRecord, TargetError> {
        stage(&self.directory.environment(&self.id), &spec.artifact, &BTreeMap::new(), |_, _| ()).unwrap();
        let (steps, mut received) = mpsc::unbounded_channel();
        let sent = self.environments.send(&self.id, base, spec, None, &steps).await;
        drop(steps);
        self.steps.clear();
        while let Some(step) = received.recv().await {
            self.steps.push(step);
        }
        sent
    }

    async fn rollback(&self, to: Option<u64>) -> Result<ReleaseRecord, TargetError> {
        let (steps, _received) = mpsc::unbounded_channel();
        let base = self.environments.environment(&self.id).await?.live.map(|live| live.number);
        self.environments.rollback(&self.id, base, to, None, &steps).await
    }

    async fn undeploy(&self, worker: Option<&str>) -> Result<Option<ReleaseRecord>, TargetError> {
        let (steps, _received) = mpsc::unbounded_channel();
        self.environments.undeploy(&self.id, worker, &steps).await
    }

    async fn status(&self) -> Status {
        self.environments.status(&self.id).await.unwrap()
    }

    async fn serving(&self) -> Serving {
        self.status().await.serving
    }

    async fn until_status(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            assert!(tokio::time::Instant::now() < until, "still {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_serving(&self, wanted: impl Fn(&Serving) -> bool) -> Serving {
        self.until_status(|status| wanted(&status.serving)).await.serving
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_environment_has_a_port_of_its_own_and_a_key_that_is_told_once() {
    let data = TempDir::new().unwrap();
    let Bench { environments, .. } = open(&data).await;
    let first = environments.create(new("production")).await.unwrap();
    let second = environments.create(new("staging")).await.unwrap();
    assert_ne!(first.environment.url, second.environment.url);
    assert_eq!(first.key.as_ref().unwrap().entry.label, "first");
    let again = environments.create(new("production")).await.unwrap_err();
    assert_eq!(again.problem, Problem::Exists);
    let port = first.environment.url.unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let taken = NewEnvironment { port: Some(port), ..new("third") };
    let refused = environments.create(taken).await.unwrap_err();
    assert!(refused.message.contains("belongs to another environment"), "{refused}");
    assert_eq!(environments.environments().await.unwrap().len(), 2);
    // No file on disk contains the key.
    let text = std::fs::read(data.path().join("flash.db-wal")).unwrap();
    let key = first.key.unwrap().key;
    let key = key.expose().as_bytes();
    assert!(!text.windows(key.len()).any(|part| part == key));
    environments.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_is_refused_when_another_release_is_live_than_its_sender_saw() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    bench.environments.create(new("production")).await.unwrap();
    assert_eq!(bench.send(None, spec(1)).await.unwrap().number, 1);
    assert_eq!(bench.steps, [Step::Starting { release: 1 }, Step::Live { release: 1 }]);
    let moved = bench.send(None, spec(2)).await.unwrap_err();
    assert_eq!(moved.problem, Problem::Moved);
    assert!(
        moved.message.contains("nothing was live when the plan was made; now release 1 is, since "),
        "{moved}"
    );
    assert_eq!(bench.send(Some(1), spec(2)).await.unwrap().number, 2);
    let memory = bench.status().await.job_memory.expect("its platform runs");
    assert!(memory.held_bytes == 0 && memory.limit_bytes > 0, "{memory:?}");
    assert_eq!(bench.steps[2], Step::Draining { release: 1 });
    let running = bench.environments.host.find(&bench.id).unwrap();
    let change = running.begin().await.unwrap();
    let busy = bench.send(Some(2), spec(3)).await.unwrap_err();
    assert!(busy.problem == Problem::Moved && busy.message.contains("has been running since"), "{busy}");
    drop(change);
    bench.environments.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_a_new_release_of_what_was_live_before() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    bench.environments.create(new("production")).await.unwrap();
    assert_eq!(bench.rollback(None).await.unwrap_err().problem, Problem::NotFound);
    bench.send(None, spec(1)).await.unwrap();
    bench.send(Some(1), spec(2)).await.unwrap();
    let back = bench.rollback(None).await.unwrap();
    assert_eq!((back.number, back.rollback_of, back.digest), (3, Some(1), digest(1)));
    // The plan to go back was made while release 2 was live.
    let (steps, _received) = mpsc::unbounded_channel();
    let stale = bench.environments.rollback(&bench.id, Some(2), Some(2), None, &steps).await.unwrap_err();
    assert_eq!(stale.problem, Problem::Moved);
    assert!(stale.message.contains("release 2 was live when the plan was made; now release 3 is"), "{stale}");
    assert_eq!(bench.rollback(Some(3)).await.unwrap_err().problem, Problem::Refused);
    assert_eq!(bench.rollback(Some(9)).await.unwrap_err().problem, Problem::NotFound);
    std::fs::remove_dir_all(bench.directory.environment(&bench.id).artifact(&digest(2))).unwrap();
    let gone = bench.rollback(Some(2)).await.unwrap_err();
    assert!(gone.message.contains("is no longer kept"), "{gone}");
    let history = bench.environments.history(&bench.id).await.unwrap();
    assert_eq!(history.iter().map(|release| release.kept).collect::<Vec<_>>(), [true, false, true]);
    bench.environments.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_does_not_become_ready_is_told_with_its_last_lines_and_the_old_one_stays() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    bench.environments.create(new("production")).await.unwrap();
    bench.send(None, spec(1)).await.unwrap();
    let broken = spec_of(digest(2), vec![worker("bad", 1, "echo no such model >&2; exit 3")]);
    let error = bench.send(Some(1), broken).await.unwrap_err();
    assert_eq!(error.problem, Problem::NotReady);
    assert_eq!(error.last_lines, ["no such model"]);
    assert!(error.text().contains("release 1 keeps serving"), "{error:?}");
    assert_eq!(bench.serving().await, Serving::Live { release: 1 });
    let history = bench.environments.history(&bench.id).await.unwrap();
    assert!(matches!(&history[0].state, ReleaseState::Failed { reason } if reason.contains("exit code 3")));
    assert_eq!(bench.rollback(Some(2)).await.unwrap_err().problem, Problem::Refused);
    bench.environments.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_types_are_taken_out_one_by_one_or_all_and_stay_out() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    bench.environments.create(new("production")).await.unwrap();
    assert_eq!(bench.undeploy(None).await.unwrap_err().problem, Problem::NothingLive);
    bench.send(None, spec(1)).await.unwrap();
    assert_eq!(bench.undeploy(Some("three")).await.unwrap_err().problem, Problem::NotFound);
    assert_eq!(bench.undeploy(Some("one")).await.unwrap().unwrap().number, 2);
    let environment = bench.environments.environment(&bench.id).await.unwrap();
    assert_eq!(environment.endpoints.iter().map(|own| own.worker.as_str()).collect::<Vec<_>>(), ["two"]);
    let last = bench.undeploy(Some("two")).await.unwrap_err();
    assert_eq!(last.hint.unwrap(), "remove everything: flash undeploy production");
    assert!(bench.undeploy(None).await.unwrap().is_none());
    assert_eq!(bench.serving().await, Serving::Empty);
    bench.environments.stop().await;
    drop(bench);
    let bench = open(&data).await;
    assert_eq!(bench.serving().await, Serving::Empty);
    bench.environments.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_end_the_live_release_is_back_on_its_port_with_its_keys() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    let created = bench.environments.create(new("production")).await.unwrap();
    let key = created.key.unwrap();
    bench.send(None, spec(1)).await.unwrap();
    bench.environments.stop().await;
    drop(bench);
    let bench = open(&data).await;
    bench.until_serving(|serving| *serving == Serving::Live { release: 1 }).await;
    let environment = bench.environments.environment(&bench.id).await.unwrap();
    assert_eq!(environment.url, created.environment.url);
    let client = flash_http::client().no_proxy().build().unwrap();
    let url = format!("{}/v2/one/health", environment.url.unwrap());
    let ask = async |key: &str| client.get(&url).bearer_auth(key).send().await.unwrap().status().as_u16();
    assert_eq!(ask(key.key.expose()).await, 200);
    assert_eq!(ask("flash_wrong").await, 401);
    let other = bench.environments.create(new("staging")).await.unwrap();
    assert_eq!(ask(other.key.as_ref().unwrap().key.expose()).await, 403);
    bench.environments.revoke_key(&bench.id, &key.entry.prefix).await.unwrap();
    assert_eq!(ask(key.key.expose()).await, 401);
    bench.environments.stop().await;
}

/// A free port that stays free while nobody listens on it: the system gives it to no socket, and no environment that is
/// made without a port gets it, such as those of tests beside this one.
fn own_port() -> u16 {
    let start = std::process::id() % 10_000;
    let mut ports = (0..10_000).map(|number| u16::try_from(20_000 + (start + number) % 10_000).unwrap());
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).expect("one of ten thousand")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_keeps_one_environment_down_and_no_other() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    let production = NewEnvironment { port: Some(own_port()), ..new("production") };
    let created = bench.environments.create(production).await.unwrap();
    bench.environments.create(new("staging")).await.unwrap();
    bench.send(None, spec(1)).await.unwrap();
    bench.id = id("staging");
    bench.send(None, spec(1)).await.unwrap();
    bench.environments.stop().await;
    drop(bench);
    let address = created.environment.url.unwrap();
    let taken = TcpListener::bind(address.strip_prefix("http://").unwrap()).await.unwrap();
    let mut bench = open(&data).await;
    let is_taken = |serving: &Serving| matches!(serving, Serving::Down { release: 1, reason } if reason.contains("in use"));
    bench.until_serving(is_taken).await;
    bench.id = id("staging");
    bench.until_serving(|serving| matches!(serving, Serving::Live { .. })).await;
    drop(taken);
    bench.id = id("production");
    bench.until_serving(|serving| matches!(serving, Serving::Live { .. })).await;
    bench.environments.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_workers_of_the_next_release_only() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    bench.environments.create(new("production")).await.unwrap();
    bench.send(None, spec(1)).await.unwrap();
    let set = |value: &str| SecretValue::new(value.to_owned());
    bench.environments.set_secret(&bench.id, "TOKEN", set("hush")).await.unwrap();
    assert!(bench.environments.set_secret(&bench.id, "FLASH_X", set("no")).await.is_err());
    assert!(bench.environments.spec(&bench.id, None).await.unwrap().secrets.is_empty());
    bench.send(Some(1), spec(1)).await.unwrap();
    let stored = bench.environments.spec(&bench.id, None).await.unwrap();
    assert_eq!(stored.secrets, [("TOKEN".to_owned(), 1)].into());
    let running = bench.environments.host.find(&bench.id).unwrap();
    // The live release keeps the secrets it started with, whatever was set or removed since.
    bench.environments.set_secret(&bench.id, "TOKEN", set("other")).await.unwrap();
    bench.environments.remove_secret(&bench.id, "TOKEN").await.unwrap();
    let release = release::prepare(&bench.environments.host, &running, 2, &stored).await.unwrap();
    assert_eq!(release.environment, [("TOKEN".to_owned(), "hush".to_owned())]);
    assert!(bench.environments.secrets(&bench.id).await.unwrap().is_empty());
    bench.environments.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_leaves_nothing_and_its_name_is_free_again() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    bench.environments.create(new("production")).await.unwrap();
    bench.send(None, spec(1)).await.unwrap();
    bench.environments.remove(&bench.id).await.unwrap();
    assert_eq!(bench.environments.environment(&bench.id).await.unwrap_err().problem, Problem::NoEnvironment);
    assert!(!bench.directory.environment(&bench.id).path().exists());
    bench.environments.create(new("production")).await.unwrap();
    assert!(bench.environments.history(&bench.id).await.unwrap().is_empty());
    assert!(bench.environments.host.running().contains_key(&bench.id));
    assert!(bench.environments.host.find(&bench.id).unwrap().recorded_costs.lock().workers.is_empty());
    bench.environments.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_last_ten_releases_can_be_gone_back_to() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    bench.environments.create(new("production")).await.unwrap();
    for number in 1..=12_u8 {
        let base = (number > 1).then(|| u64::from(number) - 1);
        bench.send(base, spec(number)).await.unwrap();
        // Files of a release that is still draining are never deleted.
        bench.until_status(|status| status.draining.is_empty()).await;
    }
    let history = bench.environments.history(&bench.id).await.unwrap();
    let kept: Vec<u64> =
        history.iter().filter(|release| release.kept).map(|release| release.number).collect();
    assert_eq!(kept, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    bench.environments.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_a_removal_left_behind_is_deleted_at_the_next_start_and_no_other() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    bench.environments.create(new("production")).await.unwrap();
    bench.send(None, spec(1)).await.unwrap();
    bench.environments.stop().await;
    let left = [bench.directory.environment(&id("left")), {
        let id = EnvironmentId::new("other", "left").unwrap();
        bench.directory.environment(&id)
    }];
    left.iter().for_each(|directory| directory.make().unwrap());
    drop(bench);
    let bench = open(&data).await;
    assert!(left.iter().all(|directory| !directory.path().exists()));
    bench.until_serving(|serving| *serving == Serving::Live { release: 1 }).await;
    bench.environments.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_listens_nothing_is_pruned_and_the_service_is_not_idle() {
    let data = TempDir::new().unwrap();
    let mut bench = open(&data).await;
    bench.environments.create(new("production")).await.unwrap();
    assert!(bench.environments.has_nothing_to_lose().await);
    bench.send(None, spec(1)).await.unwrap();
    let unknown = bench.directory.environment(&bench.id).artifact("of-a-release-with-jobs");
    std::fs::create_dir_all(&unknown).unwrap();
    let running = bench.environments.host.find(&bench.id).unwrap();
    let state = running.state();
    running.set_state(RunState::Down { reason: "the port is taken".to_owned() });
    prune::prune(&bench.environments.host, &running).await;
    assert!(unknown.exists());
    assert!(!bench.environments.has_nothing_to_lose().await);
    running.set_state(state);
    prune::prune(&bench.environments.host, &running).await;
    assert!(!unknown.exists());
    bench.environments.stop().await;
}

use flash_protocol::manifest::{App, Manifest};
use flash_target::{ArtifactSpec, BuildOrigin, RuntimeSettings};

use super::*;

const MINUTE: u64 = 60_000;

fn id() -> EnvironmentId {
    EnvironmentId::new("app", "production").unwrap()
}

fn spec() -> ReleaseSpec {
    ReleaseSpec {
        manifest: Manifest {
            version: 1,
            app: App { name: "app".into(), version: "0".into() },
            sdk_version: String::new(),
            workers: Vec::new(),
            functions: Vec::new(),
            definitions: serde_json::Map::new(),
        },
        commands: Vec::new(),
        artifact: ArtifactSpec::Images {
            digest: "d".into(),
            images: [("gpu".to_owned(), "registry/image@sha256:00".to_owned())].into(),
        },
        origin: BuildOrigin::default(),
        variables: Default::default(),
        secrets: Default::default(),
        prices: Default::default(),
        runtime: RuntimeSettings::default(),
        cloud: Default::default(),
        models: Default::default(),
    }
}

fn kept(entry: &Entry) -> Template {
    let new = entry.template(&id()).unwrap();
    Template {
        id: format!("t{}{}", entry.number, entry.sender),
        name: new.name,
        image: new.image,
        env: new.env,
        serverless: true,
        public: false,
    }
}

fn entry(number: u64, state: State) -> Entry {
    Entry { state, ..Entry::starting(number, spec(), None, None) }
}

#[test]
fn a_record_comes_back_as_it_was() {
    let mut own = entry(3, State::Failed("no worker".into()));
    own.notes = Some("faster".into());
    own.rollback_of = Some(1);
    // Far more than one variable holds, and nearly incompressible.
    let noise: String = (0..60_000).map(|_| fastrand::alphanumeric()).collect();
    own.spec.variables.insert("NOISE".into(), noise);
    let template = kept(&own);
    assert!(template.env.contains_key("FLASH_SPEC_1"));
    assert!(template.env.values().all(|value| value.len() <= PIECE));
    assert_eq!(entries(&id(), &[template]).unwrap()[0].entry, own);
}

#[test]
fn templates_of_others_are_passed_over() {
    let ours = kept(&entry(1, State::Live));
    let renamed = Template { name: "mine".into(), ..ours.clone() };
    let mut unmarked = ours.clone();
    unmarked.env.remove(APP);
    let public = Template { public: true, ..ours.clone() };
    assert!(entries(&id(), &[renamed, unmarked, public]).unwrap().is_empty());
    let other = EnvironmentId::new("app", "prod").unwrap();
    assert!(entries(&other, &[ours]).unwrap().is_empty());
}

#[test]
fn a_damaged_record_is_told_and_not_taken_for_none() {
    let mut broken = kept(&entry(1, State::Live));
    broken.env.insert("FLASH_SPEC_0".into(), "?".into());
    let error = entries(&id(), &[broken]).unwrap_err().to_string();
    assert!(error.contains("flash.app.production.r1: its spec is damaged"), "{error}");
}

#[test]
fn the_latest_that_says_so_is_live() {
    let templates: Vec<Template> =
        [entry(1, State::Live), entry(3, State::Failed("x".into())), entry(2, State::Live)]
            .iter()
            .map(kept)
            .collect();
    let entries = entries(&id(), &templates).unwrap();
    assert_eq!(live(&entries).map(|kept| kept.entry.number), Some(2));
    assert_eq!(entries.iter().map(|kept| kept.entry.number).collect::<Vec<_>>(), [3, 2, 1]);
}

#[test]
fn a_send_without_a_heartbeat_counts_as_failed() {
    let own = entry(1, State::Starting);
    assert_eq!(own.record(own.heartbeat_ms + MINUTE).state, ReleaseState::Starting);
    let dead = own.record(own.heartbeat_ms + MINUTE + 1).state;
    assert_eq!(dead, ReleaseState::Failed { reason: "its sender was cut off".into() });
}

#[test]
fn of_two_senders_the_one_that_began_first_goes_on() {
    let now = now_ms();
    let sender = |sender: &str, created_ms| Entry {
        sender: sender.into(),
        created_ms,
        heartbeat_ms: now,
        ..entry(4, State::Starting)
    };
    let (early, late) = (sender("b", now - 10), sender("a", now));
    let both = entries(&id(), &[kept(&late), kept(&early)]).unwrap();
    assert_eq!(concurrent_send(&both, &late, now), Some(ConcurrentSend { entry: &early, is_first: true }));
    assert_eq!(concurrent_send(&both, &early, now), Some(ConcurrentSend { entry: &late, is_first: false }));
    // A dead sender blocks nobody.
    assert_eq!(concurrent_send(&both, &late, now + MINUTE + 1), None);
    // Within the same millisecond, the sender decides.
    let (one, other) = (sender("a", now), sender("b", now));
    let both = entries(&id(), &[kept(&other), kept(&one)]).unwrap();
    assert_eq!(concurrent_send(&both, &other, now), Some(ConcurrentSend { entry: &one, is_first: true }));
    assert_eq!(concurrent_send(&both, &one, now), Some(ConcurrentSend { entry: &other, is_first: false }));
}

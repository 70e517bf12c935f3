use std::{net::Ipv4Addr, time::Duration};

use flash_platform::KeyHash;
use flash_protocol::catalogue::NanoDollars;
use flash_target::{CostQuery, EnvironmentId, Grain, ManualScale, NewEnvironment, ReleaseState};
use tempfile::TempDir;

use super::{environment_key::EnvironmentKey, error::Result, *};
use crate::{cipher::Sealed, specs::empty_spec};

fn database() -> (TempDir, Database) {
    let directory = TempDir::new().unwrap();
    let database = Database::open(&directory.path().join("flash.db")).unwrap();
    (directory, database)
}

fn environment(database: &Database, name: &str, port: u16) -> Result<StoredEnvironment> {
    let new = NewEnvironment { id: EnvironmentId::new("app", name).unwrap(), listen: None, port: None };
    database.add_environment(&new, Ipv4Addr::LOCALHOST.into(), port)
}

fn add(database: &Database, environment: EnvironmentKey) -> u64 {
    let spec = empty_spec();
    let row = NewRow { spec: &spec, notes: Some("n"), rollback_of: None };
    database.add_release(environment, &row).unwrap().number
}

#[test]
fn what_was_written_is_there_after_the_file_was_closed() {
    let (directory, database) = database();
    let stored = environment(&database, "production", 8900).unwrap();
    let number = add(&database, stored.key);
    database.set_live(stored.key, Some(number)).unwrap();
    drop(database);
    let database = Database::open(&directory.path().join("flash.db")).unwrap();
    assert_eq!(database.environments().unwrap(), std::slice::from_ref(&stored));
    assert_eq!(database.live(stored.key).unwrap().unwrap().record.number, 1);
    assert_eq!(database.spec(stored.key, 1).unwrap(), Some(empty_spec()));
}

#[test]
fn limits_set_by_hand_are_kept_until_the_next_release_also_in_a_file_made_before_there_were_any() {
    let (directory, database) = database();
    let key = environment(&database, "production", 8900).unwrap().key;
    let number = add(&database, key);
    drop(database);
    let path = directory.path().join("flash.db");
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch("DROP TABLE scale; PRAGMA user_version = 1;").unwrap();
    drop(file);
    let database = Database::open(&path).unwrap();
    let scale = ManualScale {
        worker: "model".to_owned(),
        workers_min: 1,
        workers_max: 5,
        set_ms: 7,
        until_ms: Some(9),
    };
    database.set_scale(key, &ManualScale { workers_min: 0, until_ms: None, ..scale.clone() }).unwrap();
    database.set_scale(key, &scale).unwrap();
    drop(database);
    let database = Database::open(&path).unwrap();
    assert_eq!(database.scales(key).unwrap(), std::slice::from_ref(&scale));
    database.set_live(key, Some(number)).unwrap();
    assert_eq!(database.scales(key).unwrap(), []);
    database.set_scale(key, &scale).unwrap();
    database.forget_scale(key, "model").unwrap();
    assert_eq!(database.scales(key).unwrap(), []);
}

#[test]
fn a_name_or_a_port_is_given_once() {
    let (_directory, database) = database();
    environment(&database, "production", 8900).unwrap();
    assert!(matches!(environment(&database, "production", 8901), Err(DatabaseError::Exists)));
    assert!(matches!(environment(&database, "staging", 8900), Err(DatabaseError::Exists)));
}

#[test]
fn what_belongs_to_a_removed_environment_is_not_said_to_exist() {
    let (_directory, database) = database();
    let key = environment(&database, "production", 8900).unwrap().key;
    database.remove_environment(key).unwrap();
    let spec = empty_spec();
    let row = NewRow { spec: &spec, notes: None, rollback_of: None };
    assert!(matches!(database.add_release(key, &row), Err(DatabaseError::Gone)));
}

#[test]
fn a_damaged_file_is_said_to_be_damaged_when_it_is_opened() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("flash.db");
    std::fs::write(&path, "no database".repeat(1000)).unwrap();
    assert!(matches!(Database::open(&path), Err(DatabaseError::Damaged(_))));
}

#[test]
fn one_release_is_live_and_numbers_are_never_given_again() {
    let (_directory, database) = database();
    let key = environment(&database, "production", 8900).unwrap().key;
    let (first, second) = (add(&database, key), add(&database, key));
    database.set_live(key, Some(first)).unwrap();
    database.set_live(key, Some(second)).unwrap();
    let third = add(&database, key);
    database.set_failed(key, third, "no model").unwrap();
    let fourth = add(&database, key);
    database.fail_starting("the service ended").unwrap();
    let states: Vec<_> = database
        .releases(key)
        .unwrap()
        .into_iter()
        .map(|release| (release.record.number, release.record.state))
        .collect();
    let failed = |reason: &str| ReleaseState::Failed { reason: reason.into() };
    assert_eq!(
        states,
        [
            (fourth, failed("the service ended")),
            (third, failed("no model")),
            (second, ReleaseState::Live),
            (first, ReleaseState::Replaced)
        ]
    );
    database.set_live(key, None).unwrap();
    assert!(database.live(key).unwrap().is_none());
}

#[test]
fn a_revoked_key_is_listed_and_counts_no_more() {
    let (_directory, database) = database();
    let key = environment(&database, "production", 8900).unwrap().key;
    database.add_key(key, "flash_aaaaaa", KeyHash::of("one"), "first").unwrap();
    database.add_key(key, "flash_bbbbbb", KeyHash::of("two"), "ci").unwrap();
    assert_eq!(database.key_hashes().unwrap().len(), 2);
    database.revoke_key(key, "flash_aaaaaa").unwrap();
    assert_eq!(database.key_hashes().unwrap(), [(key, KeyHash::of("two"))]);
    let listed = database.keys(key).unwrap();
    assert!(listed[0].revoked_ms.is_some() && listed[1].revoked_ms.is_none());
}

#[test]
fn a_secret_that_was_removed_counts_on_and_its_value_goes_when_nobody_needs_it() {
    let (_directory, database) = database();
    let key = environment(&database, "production", 8900).unwrap().key;
    let set = || {
        database
            .set_secret::<DatabaseError>(key, "TOKEN", |version| {
                Ok(Sealed { nonce: vec![1], ciphertext: vec![u8::try_from(version).unwrap()] })
            })
            .unwrap()
            .version
    };
    assert_eq!((set(), set()), (1, 2));
    assert!(database.remove_secret(key, "TOKEN").unwrap());
    assert!(!database.remove_secret(key, "TOKEN").unwrap());
    assert!(database.secrets(key).unwrap().is_empty());
    let versions = |version: u64| [("TOKEN".to_owned(), version)].into();
    database.forget_secrets(key, &[versions(2)]).unwrap();
    assert!(database.sealed_secrets(key, &versions(1)).unwrap()[0].sealed.is_none());
    assert!(database.sealed_secrets(key, &versions(2)).unwrap()[0].sealed.is_some());
    assert_eq!(set(), 3);
}

#[test]
fn costs_are_summed_by_time_and_day() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let (_directory, database) = database();
    let key = environment(&database, "production", 8900).unwrap().key;
    let spent = |bill: u64| Spent {
        workers: vec![WorkerSpent {
            worker: "gpu".into(),
            bill,
            start: 1,
            run: 2,
            run_time: Duration::from_millis(500),
            started: 1,
            ..WorkerSpent::default()
        }],
        functions: vec![FunctionSpent {
            worker: "gpu".into(),
            function: "f".into(),
            calls: 1,
            cost: 2,
            ran: Duration::from_millis(500),
        }],
    };
    database.add_costs(key, 10 * DAY, &spent(10)).unwrap();
    database.add_costs(key, 10 * DAY + 1000, &spent(20)).unwrap();
    database.add_costs(key, 11 * DAY, &spent(40)).unwrap();
    let ask =
        |since_ms, until_ms, grain| database.costs(key, &CostQuery { since_ms, until_ms, grain }).unwrap();
    let whole = ask(0, 20 * DAY, Grain::Whole);
    assert_eq!(
        (whole.workers.len(), whole.workers[0].bill, whole.workers[0].split.unwrap().idle),
        (1, NanoDollars(70), NanoDollars(61))
    );
    assert_eq!(
        (
            whole.workers[0].day_ms,
            whole.workers[0].split.unwrap().started,
            whole.workers[0].split.unwrap().run_seconds
        ),
        (None, 3, 1.5)
    );
    assert_eq!((whole.functions[0].calls, whole.functions[0].seconds), (3, 1.5));
    let days: Vec<_> =
        ask(0, 20 * DAY, Grain::Day).workers.iter().map(|cost| (cost.day_ms, cost.bill.0)).collect();
    assert_eq!(days, [(Some(10 * DAY), 30), (Some(11 * DAY), 40)]);
    assert_eq!(ask(0, 11 * DAY, Grain::Whole).workers[0].bill, NanoDollars(30));
    assert_eq!(database.bills(key).unwrap()["gpu"], NanoDollars(70));
    database.remove_environment(key).unwrap();
    assert!(ask(0, 20 * DAY, Grain::Whole).workers.is_empty());
}

#[test]
fn a_file_of_a_newer_flash_is_not_touched() {
    let (directory, database) = database();
    database.connection().pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let path = directory.path().join("flash.db");
    assert!(matches!(Database::open(&path), Err(DatabaseError::Newer { found: 99, .. })));
}

#[test]
fn a_damaged_row_stops_nothing_but_itself_and_is_told_of() {
    let cases = [
        ("UPDATE environment SET listen = 'nowhere' WHERE name = 'staging'", "environment 2"),
        ("UPDATE environment SET name = x'ff' WHERE name = 'staging'", "environment 2"),
        ("UPDATE environment SET created_ms = -1 WHERE name = 'staging'", "environment 2"),
        ("UPDATE release SET state = '{' WHERE number = 1", "release 1"),
        ("UPDATE release SET origin = '{' WHERE number = 1", "release 1"),
        ("UPDATE release SET digest = x'ff' WHERE number = 2", "release 2"),
        ("UPDATE release SET state = 'live' WHERE number = 2", "release 2"),
        ("UPDATE key SET created_ms = 'now' WHERE prefix = 'one'", "key one"),
        ("UPDATE key SET sha256 = 'x' WHERE prefix = 'one'", "key of environment 1"),
        ("UPDATE secret SET set_ms = 'now' WHERE name = 'ONE'", "secret ONE"),
        ("UPDATE worker_cost SET bill = -7 WHERE worker = 'gpu'", "worker_cost gpu"),
    ];
    for (damage, place) in cases {
        let (directory, database) = database();
        let key = environment(&database, "production", 8900).unwrap().key;
        environment(&database, "staging", 8901).unwrap();
        for _ in 0..2 {
            let number = add(&database, key);
            database.set_live(key, Some(number)).unwrap();
        }
        for name in ["one", "two"] {
            database.add_key(key, name, KeyHash::of(name), "label").unwrap();
        }
        for name in ["ONE", "TWO"] {
            let sealed = Sealed { nonce: vec![1], ciphertext: vec![2] };
            database.set_secret(key, name, |_| Ok::<_, DatabaseError>(sealed)).unwrap();
        }
        let spent =
            |worker: &str| WorkerSpent { worker: worker.to_owned(), bill: 5, ..WorkerSpent::default() };
        let spent = Spent { workers: vec![spent("cpu"), spent("gpu")], functions: Vec::new() };
        database.add_costs(key, 0, &spent).unwrap();
        database.connection().execute(damage, []).unwrap();
        drop(database);
        let database = Database::open(&directory.path().join("flash.db")).unwrap();
        // Everything that the service queries; at most one row is missing.
        let names: Vec<String> =
            database.environments().unwrap().into_iter().map(|own| own.id.name).collect();
        assert!(names.contains(&"production".to_owned()), "{damage}");
        assert_eq!(database.live_number(key).unwrap(), Some(2), "{damage}");
        let live = database.live(key).unwrap().unwrap();
        assert_eq!((live.record.number, live.record.state), (2, ReleaseState::Live), "{damage}");
        assert_eq!(database.spec(key, 2).unwrap(), Some(empty_spec()), "{damage}");
        let counts = [
            names.len(),
            database.releases(key).unwrap().len(),
            database.keys(key).unwrap().len(),
            database.key_hashes().unwrap().len(),
            database.secrets(key).unwrap().len(),
            database.bills(key).unwrap().len(),
        ];
        assert_eq!(counts.iter().sum::<usize>(), 11, "{damage}: {counts:?}");
        let unreported = database.unreported_damage();
        assert!(
            matches!(unreported.as_slice(), [one] if one.contains(&format!("the row of {place}, "))),
            "{unreported:?}"
        );
        assert!(database.unreported_damage().is_empty(), "once");
        let shown = [database.damaged(None), database.damaged(Some(key))].concat();
        assert_eq!(shown, unreported);
    }
}

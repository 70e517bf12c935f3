//! What is left of `flash.db` when the power goes: exactly the changes whose functions had returned.
use std::net::Ipv4Addr;

use flash_platform::KeyHash;
use flash_target::{EnvironmentId, NewEnvironment};
use flash_test_support::wal_cuts::{Cut, checkpoints, cuts, end_of, log_of};
use tempfile::TempDir;

use super::*;
use crate::{cipher::Sealed, specs::empty_spec};

/// All that the service asks for.
fn moment(database: &Database) -> String {
    let environments = database.environments().unwrap();
    let of = |environment: &StoredEnvironment| {
        let key = environment.key;
        format!(
            "{environment:?} {:?} {:?} {:?} {:?} {:?}",
            database.releases(key).unwrap(),
            database.live_number(key).unwrap(),
            database.keys(key).unwrap(),
            database.secrets(key).unwrap(),
            database.bills(key).unwrap()
        )
    };
    environments.iter().map(of).collect::<Vec<_>>().join("\n")
}

fn assert_found(cut: &Cut, moments: &[String]) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("flash.db");
    cut.write(&path);
    let found = moment(&Database::open(&path).unwrap());
    assert!(found == moments[cut.commits], "{}: {found}\n\n{}", cut.what, moments[cut.commits]);
}

/// One environment with all that can be in it, a commit each.
fn run(database: &Database, name: &str, port: u16, after_each: &mut impl FnMut(&Database)) {
    let new = NewEnvironment { id: EnvironmentId::new("app", name).unwrap(), listen: None, port: None };
    let key = database.add_environment(&new, Ipv4Addr::LOCALHOST.into(), port).unwrap().key;
    after_each(database);
    for number in 1..=2 {
        let spec = empty_spec();
        database.add_release(key, &NewRow { spec: &spec, notes: None, rollback_of: None }).unwrap();
        after_each(database);
        database.set_live(key, Some(number)).unwrap();
        after_each(database);
    }
    database.add_key(key, name, KeyHash::of(name), "label").unwrap();
    after_each(database);
    let sealed = Sealed { nonce: vec![1], ciphertext: vec![2; 6000] };
    database.set_secret(key, "TOKEN", |_| Ok::<_, DatabaseError>(sealed)).unwrap();
    after_each(database);
    database.remove_secret(key, "TOKEN").unwrap();
    after_each(database);
    database.forget_secrets(key, &[]).unwrap();
    after_each(database);
    let worker = WorkerSpent { worker: "gpu".to_owned(), bill: 5, ..WorkerSpent::default() };
    database.add_costs(key, 0, &Spent { workers: vec![worker], functions: Vec::new() }).unwrap();
    after_each(database);
}

#[test]
fn a_power_cut_leaves_exactly_the_changes_that_were_told() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("flash.db");
    let database = Database::open(&path).unwrap();
    let level: i64 = database.connection().query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
    assert_eq!(level, 2, "each change is on the disk before its function returns");
    let files = || (std::fs::read(&path).unwrap(), std::fs::read(log_of(&path)).unwrap());
    let checkpoint = || {
        database.connection().query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    };
    checkpoint();
    let (before, old) = files();
    let (mut ends, mut moments) = (vec![32], vec![moment(&database)]);
    run(&database, "production", 8900, &mut |database| {
        ends.push(end_of(&std::fs::read(log_of(&path)).unwrap()));
        moments.push(moment(database));
    });
    let (_, log) = files();
    cuts(&before, &log, &old, &ends, |cut| assert_found(cut, &moments));
    checkpoint();
    let (after, _) = files();
    checkpoints(&before, &after, &log, moments.len() - 1, |cut| assert_found(cut, &moments));
    let (mut ends, mut moments) = (vec![32], vec![moment(&database)]);
    run(&database, "staging", 8901, &mut |database| {
        ends.push(end_of(&std::fs::read(log_of(&path)).unwrap()));
        moments.push(moment(database));
    });
    let (_, new) = files();
    cuts(&after, &new, &log, &ends, |cut| assert_found(cut, &moments));
}

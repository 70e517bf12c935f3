//! The background service as a process: started, found, killed, stopped. What it hosts is tested elsewhere.
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Finished, SOON, descendants, flash, is_alive, wait_for};

/// A data directory whose service ends with the test.
struct Service {
    _outer: TempDir,
    data: PathBuf,
    config: PathBuf,
}

impl Service {
    fn new() -> Self {
        Self::below("data")
    }

    fn below(path: &str) -> Self {
        let outer = TempDir::new().unwrap();
        let (data, config) = (outer.path().join(path), outer.path().join("config"));
        Self { _outer: outer, data, config }
    }

    fn command(&self, action: &str) -> std::process::Command {
        let mut command = flash(&["service", action, "--json"]);
        // Without a home there is no unit of systemd: the service is a process of ours.
        command.env("FLASH_DATA_DIR", &self.data).env("FLASH_CONFIG_DIR", &self.config);
        command.env("XDG_CONFIG_HOME", &self.config);
        command
    }

    fn act(&self, action: &str) -> Finished {
        Finished::of(self.command(action).output().unwrap())
    }

    /// What it prints when it goes well.
    fn said(&self, action: &str) -> Value {
        let finished = self.act(action);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
    }

    fn pid(&self) -> i32 {
        pid_of(&self.said("status"))
    }

    /// The supervisor.
    fn supervisor(&self) -> i32 {
        std::fs::read_to_string(self.data.join("service.pid")).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.command("stop").output();
    }
}

fn pid_of(said: &Value) -> i32 {
    i32::try_from(said["service"]["pid"].as_i64().unwrap_or_else(|| panic!("{said}"))).unwrap()
}

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

fn until_gone(pid: i32) {
    wait_for(
        "the end of a process",
        SOON,
        || if is_alive(pid) { Err(format!("{pid} lives")) } else { Ok(()) },
    );
}

#[test]
fn a_service_is_started_seen_and_stopped_and_leaves_no_process() {
    let service = Service::new();
    let absent = service.act("status");
    assert_eq!(absent.code, Some(1));
    assert!(absent.stderr.contains("flash service start"), "{absent:?}");
    let started = service.said("start");
    assert_eq!(started["started"], true);
    assert_eq!(service.said("start")["started"], false);
    let status = service.said("status");
    assert_eq!(status["service"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["environments"], serde_json::json!([]));
    let processes: Vec<i32> =
        [service.supervisor()].into_iter().chain(descendants(service.supervisor())).collect();
    assert!(processes.contains(&pid_of(&started)));
    assert_eq!(service.said("stop")["stopped"], "clean");
    processes.into_iter().for_each(until_gone);
    assert!(!service.data.join("service.sock").exists());
    assert_eq!(service.said("stop")["stopped"], "already");
}

#[test]
fn a_killed_service_comes_back_by_itself() {
    let service = Service::new();
    let first = pid_of(&service.said("start"));
    end(first);
    until_gone(first);
    let second = wait_for("the next service", SOON, || {
        let status = service.act("status");
        if status.code == Some(0) { Ok(service.pid()) } else { Err(format!("{status:?}")) }
    });
    assert_ne!(first, second);
}

#[test]
fn after_both_were_killed_the_next_start_brings_it_back() {
    let service = Service::new();
    let first = pid_of(&service.said("start"));
    let supervisor = service.supervisor();
    // In this order: the supervisor would bring it back.
    end(supervisor);
    end(first);
    until_gone(supervisor);
    until_gone(first);
    assert_ne!(pid_of(&service.said("start")), first);
}

#[test]
fn a_service_does_not_outlive_its_supervisor() {
    let service = Service::new();
    let pid = pid_of(&service.said("start"));
    end(service.supervisor());
    until_gone(pid);
}

#[test]
fn many_starts_at_once_make_one_service() {
    let service = Service::new();
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let mut command = service.command("start");
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut pids: Vec<i32> = starts
        .into_iter()
        .map(|start| {
            let finished = Finished::of(start.wait_with_output().unwrap());
            assert_eq!(finished.code, Some(0), "{finished:?}");
            pid_of(&serde_json::from_str(&finished.stdout).unwrap())
        })
        .collect();
    pids.dedup();
    assert_eq!(pids, [service.pid()]);
    // No start leaves anybody behind who brings it back.
    assert_eq!(service.said("stop")["stopped"], "clean");
    assert_eq!(service.act("status").code, Some(1));
}

#[test]
fn a_start_waits_for_a_service_that_is_ending_and_then_starts_another() {
    let service = Service::new();
    std::fs::create_dir_all(&service.data).unwrap();
    // As one that ends holds them: without a socket.
    let locks: Vec<File> = ["supervisor.lock", "service.lock"]
        .iter()
        .map(|name| {
            let file = File::create(service.data.join(name)).unwrap();
            file.lock().unwrap();
            file
        })
        .collect();
    let mut command = service.command("start");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = command.spawn().unwrap();
    let pid = i32::try_from(start.id()).unwrap();
    let has_supervisor = |wished: bool| {
        let found = descendants(pid);
        if found.is_empty() != wished { Ok(()) } else { Err(format!("{found:?}")) }
    };
    wait_for("the first supervisor", SOON, || has_supervisor(true));
    wait_for("its end: another one holds the lock", SOON, || has_supervisor(false));
    drop(locks);
    let finished = Finished::of(start.wait_with_output().unwrap());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(pid_of(&serde_json::from_str(&finished.stdout).unwrap()), service.pid());
}

#[test]
fn a_service_that_hangs_is_stopped_by_force_and_that_is_said() {
    let service = Service::new();
    let pid = pid_of(&service.said("start"));
    let supervisor = service.supervisor();
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    let mut command = service.command("stop");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut stop = command.spawn().unwrap();
    // It waits for an answer, then for the end; each has its bound.
    wait_for("the end of the stop", SOON, || match stop.try_wait().unwrap() {
        Some(_) => Ok(()),
        None => Err("it still waits".to_owned()),
    });
    let finished = Finished::of(stop.wait_with_output().unwrap());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("\"killed\""), "{finished:?}");
    [supervisor, pid].into_iter().for_each(until_gone);
    service.said("start");
}

#[test]
fn a_restart_makes_another_process() {
    let service = Service::new();
    let first = pid_of(&service.said("start"));
    assert_ne!(pid_of(&service.said("restart")), first);
    until_gone(first);
}

#[test]
fn the_log_of_a_service_that_runs_is_bounded() {
    let service = Service::new();
    service.said("start");
    let log = service.data.join("service.log");
    let older = service.data.join("service.log.1");
    // As if it had printed that.
    let mut file = File::options().append(true).open(&log).unwrap();
    std::io::Write::write_all(&mut file, &vec![b'\n'; 10 << 20]).unwrap();
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    wait_for("a new log", SOON, || match (length(&log), length(&older)) {
        (log, older) if log < 1 << 20 && older >= 10 << 20 => Ok(()),
        lengths => Err(format!("{lengths:?}")),
    });
    // Nothing is lost: the supervisor follows within a second, so what it says until then is in the older file.
    let said = || {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        format!("{}{}", read(&older).trim(), read(&log))
    };
    end(service.pid());
    wait_for("what the supervisor says", SOON, || {
        let said = said();
        if said.contains("restarting it") { Ok(()) } else { Err(said) }
    });
    wait_for("the next service", SOON, || {
        let status = service.act("status");
        if status.code == Some(0) { Ok(()) } else { Err(format!("{status:?}")) }
    });
    service.said("stop");
    assert!(said().contains("Stopped"), "{}", said());
}

#[test]
fn a_directory_with_a_long_name_works_as_any_other() {
    let service = Service::below(&format!("{0}/{0}", "long".repeat(40)));
    service.said("start");
    service.pid();
    assert_eq!(service.said("stop")["stopped"], "clean");
}

#[test]
fn data_of_a_newer_flash_keep_the_service_from_starting_and_its_reason_is_shown() {
    let service = Service::new();
    std::fs::create_dir_all(&service.data).unwrap();
    rusqlite::Connection::open(service.data.join("flash.db"))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let failed = service.act("start");
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("was written by a newer version of flash"), "{failed:?}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let service = Service::below("file/data");
    std::fs::write(service.data.parent().unwrap(), "").unwrap();
    let failed = service.act("start");
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("cannot use the directory"), "{failed:?}");
    assert!(Path::new(&service.data).parent().unwrap().is_file());
}

//! A directory tree replaces the kernel's: its files exist or are created by a write, and a new group has none.
//! `flash-cli/tests/it/limits.rs` tests the effect of real groups.
use std::fs;

use tempfile::TempDir;

use super::{super::MemoryKill, *};

const LIMITS: Limits = Limits { vcpus: Some(1), memory_gb: Some(2), processes: 4096 };

struct Stand(TempDir);

impl Stand {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, path: &str) -> PathBuf {
        // Not `join("")`, which would end with a slash.
        if path.is_empty() { self.0.path().to_owned() } else { self.0.path().join(path) }
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A group of v2 other than the root.
    fn v2(&self, group: &str, controllers: &str, handed_down: &str, procs: &str) -> &Self {
        self.file(&format!("{group}/cgroup.type"), "domain\n")
            .file(&format!("{group}/cgroup.controllers"), controllers)
            .file(&format!("{group}/cgroup.subtree_control"), handed_down)
            .file(&format!("{group}/cgroup.procs"), procs)
    }

    fn membership(&self, mount: &str, own: &str) -> Membership {
        Membership { mount: self.path(mount), own: self.path(own), read_only: false }
    }

    fn unified(&self, own: &str) -> Layout {
        Layout { unified: Some(self.membership("", own)), v1: Vec::new() }
    }
}

/// In these trees, processes below 100 belong to `flash`.
fn detect(layout: &Layout) -> (Option<Cgroups>, String) {
    let Detected { cgroups, missing } = Cgroups::within(layout, &OwnProcess { id: 7, owns: |id| id < 100 });
    (cgroups, missing.unwrap_or_default())
}

#[test]
fn v1_is_used_where_we_stand_in_each_hierarchy() {
    let stand = Stand::new();
    for hierarchy in ["cpu,cpuacct/a", "memory/b", "pids", "unified"] {
        stand.file(&format!("{hierarchy}/flash-7/w/cgroup.procs"), "");
    }
    stand.file("memory/b/flash-7/w/memory.memsw.limit_in_bytes", "");
    let layout = Layout {
        unified: Some(stand.membership("unified", "unified")),
        v1: vec![
            (vec![Controller::Cpu], stand.membership("cpu,cpuacct", "cpu,cpuacct/a")),
            (vec![Controller::Memory], stand.membership("memory", "memory/b")),
            (vec![Controller::Pids], stand.membership("pids", "pids")),
        ],
    };
    stand.file("unified/cgroup.procs", "7\n500\n").file("unified/cgroup.controllers", "hugetlb\n");
    let (cgroups, missing) = detect(&layout);
    assert_eq!(missing, "");
    let group = cgroups.unwrap().group("w", &LIMITS).unwrap();
    assert_eq!(group.procs().len(), 4, "v2 too, where all can be killed at once");
    assert_eq!(stand.read("cpu,cpuacct/a/flash-7/w/cpu.cfs_quota_us"), "100000");
    assert_eq!(stand.read("cpu,cpuacct/a/flash-7/w/cpu.cfs_period_us"), "100000");
    for file in ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] {
        assert_eq!(stand.read(&format!("memory/b/flash-7/w/{file}")), "2147483648");
    }
    assert_eq!(stand.read("pids/flash-7/w/pids.max"), "4096");

    assert_eq!(group.memory_kill(), None);
    stand.file("memory/b/flash-7/w/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
    stand.file("memory/b/flash-7/w/memory.max_usage_in_bytes", "90000\n");
    assert_eq!(group.memory_kill(), Some(MemoryKill::Machine));
    stand.file("memory/b/flash-7/w/memory.max_usage_in_bytes", "2147479552\n");
    assert_eq!(group.memory_kill(), Some(MemoryKill::OverLimit { gb: 2 }));
}

#[test]
fn v2_in_a_group_of_our_own_moves_us_down_and_hands_controllers_down() {
    let stand = Stand::new();
    stand.v2("scope", "cpu io memory pids\n", "", "7\n8\n").file("scope/flash-7/w/cgroup.procs", "");
    let (cgroups, missing) = detect(&stand.unified("scope"));
    assert_eq!(missing, "");
    let cgroups = cgroups.unwrap();
    // The last process moved, the last controller enabled: the kernel takes each write as a command.
    assert_eq!(stand.read("scope/flash-7/platform/cgroup.procs"), "8");
    assert_eq!(stand.read("scope/cgroup.subtree_control"), "+pids");
    let back = cgroups.left().back.clone().unwrap();
    assert_eq!((back.to, back.controllers.join(" ")), (stand.path("scope"), "cpu memory pids".to_owned()));

    let group = cgroups.group("w", &LIMITS).unwrap();
    assert_eq!(stand.read("scope/flash-7/w/cpu.max"), "100000 100000");
    assert_eq!(stand.read("scope/flash-7/w/memory.max"), "2147483648");
    assert_eq!(stand.read("scope/flash-7/w/pids.max"), "4096");
    stand.file("scope/flash-7/w/memory.events", "max 9\noom 1\noom_kill 1\n");
    assert_eq!(group.memory_kill(), Some(MemoryKill::OverLimit { gb: 2 }));
    stand.file("scope/flash-7/w/memory.events", "max 0\noom 0\noom_kill 1\n");
    assert_eq!(group.memory_kill(), Some(MemoryKill::Machine));
}

#[test]
fn v2_with_strangers_in_our_group_uses_the_nearest_that_hands_controllers_down() {
    let stand = Stand::new();
    stand
        .v2("user", "cpu memory pids\n", "cpu memory pids\n", "")
        .v2("user/app", "cpu memory pids\n", "memory pids\n", "")
        .v2("user/app/scope", "memory pids\n", "", "7\n500\n");
    let (cgroups, missing) = detect(&stand.unified("user/app/scope"));
    assert_eq!(missing, "");
    let left = cgroups.unwrap().left().clone();
    assert_eq!(left.directories, [stand.path("user/flash-7")]);
    assert!(left.back.is_none(), "nobody is moved");
    assert_eq!(
        stand.read("user/cgroup.subtree_control"),
        "cpu memory pids\n",
        "nothing of others is changed"
    );
}

#[test]
fn v2_at_the_root_hands_controllers_down_whoever_is_there() {
    let stand = Stand::new();
    stand.file("cgroup.controllers", "cpu memory pids\n").file("cgroup.procs", "1\n500\n");
    stand.file("cgroup.subtree_control", "memory\n");
    let (cgroups, missing) = detect(&stand.unified(""));
    assert_eq!((missing.as_str(), cgroups.unwrap().left().back.is_some()), ("", false));
    assert_eq!(stand.read("cgroup.subtree_control"), "+pids");
}

#[test]
fn what_a_group_is_not_given_is_said_and_the_rest_applied() {
    let stand = Stand::new();
    stand.v2("scope", "memory pids\n", "", "7\n").file("scope/flash-7/w/cgroup.procs", "");
    let (cgroups, missing) = detect(&stand.unified("scope"));
    let expected = format!(
        "CPU limits of instances are not applied: the control group {} does not have their controllers",
        stand.path("scope").display()
    );
    assert_eq!(missing, expected);
    let group = cgroups.unwrap().group("w", &LIMITS);
    assert!(group.is_ok() && !stand.path("scope/flash-7/w/cpu.max").exists());
    assert_eq!(stand.read("scope/flash-7/w/memory.max"), "2147483648");
}

#[test]
fn where_nothing_can_be_limited_it_says_which_and_why() {
    let all = "CPU, memory and process limits of instances are not applied: ";
    let stand = Stand::new();
    stand.v2("scope", "cpu memory pids\n", "", "7\n500\n");
    let scope = stand.path("scope");
    let shared = format!(
        "{all}the control group {} also holds other processes, so it cannot delegate cpu, memory, pids",
        scope.display()
    );
    let in_container = Membership { mount: scope.clone(), own: scope, read_only: false };
    let layout = Layout { unified: Some(in_container.clone()), v1: Vec::new() };
    let (cgroups, missing) = detect(&layout);
    assert_eq!((cgroups.is_none(), missing), (true, shared));

    let read_only = Membership { mount: "/sys/fs/cgroup".into(), read_only: true, ..in_container };
    for layout in [
        Layout { unified: Some(read_only.clone()), v1: Vec::new() },
        Layout { unified: None, v1: vec![(Controller::ALL.to_vec(), read_only)] },
    ] {
        let (cgroups, missing) = detect(&layout);
        assert_eq!((cgroups.is_none(), missing), (true, format!("{all}/sys/fs/cgroup is read-only")));
    }
    let (cgroups, missing) = detect(&Layout::default());
    assert_eq!((cgroups.is_none(), missing), (true, format!("{all}this machine has no control groups")));
}

#[test]
fn two_platforms_with_one_id_have_groups_of_their_own() {
    let stand = Stand::new();
    stand.v2("user", "cpu memory pids\n", "cpu memory pids\n", "");
    let (first, _) = detect(&stand.unified("user"));
    let (second, _) = detect(&stand.unified("user"));
    let directories = [first, second].map(|cgroups| cgroups.unwrap().left().directories.clone());
    assert_eq!(directories, [vec![stand.path("user/flash-7")], vec![stand.path("user/flash-7-1")]]);
}

//! Finds this process in the machine's control groups, from the content of two files of `/proc`. No I/O.
use std::path::{Path, PathBuf};

use super::controller::Controller;

/// One hierarchy that this process can see itself in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Membership {
    /// The hierarchy's directory, as mounted here.
    pub mount: PathBuf,
    /// The directory of the group that this process is in.
    pub own: PathBuf,
    pub read_only: bool,
}

/// All hierarchies that concern us.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The one hierarchy of v2. In a hybrid layout it has no controllers that v1 holds.
    pub unified: Option<Membership>,
    /// Hierarchies of v1, with what each limits.
    pub v1: Vec<(Vec<Controller>, Membership)>,
}

/// A line of `mountinfo` that mounts control groups.
struct Mount<'a> {
    /// Which group of the hierarchy is mounted.
    root: PathBuf,
    point: PathBuf,
    read_only: bool,
    is_unified: bool,
    super_options: &'a str,
}

impl Layout {
    /// Reads `/proc/self/cgroup` and `/proc/self/mountinfo`.
    pub(super) fn read(groups: &str, mountinfo: &str) -> Self {
        let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(mount).collect();
        let mut layout = Self::default();
        for line in groups.lines() {
            // `ID:CONTROLLERS:PATH`; no controllers for v2. A path may hold colons.
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
            if names.is_empty() {
                layout.unified = membership(path, mounts.iter().filter(|mount| mount.is_unified));
                continue;
            }
            let controllers = Controller::named_in(names, |char| char == ',');
            if controllers.is_empty() {
                continue;
            }
            let same = |mount: &&Mount<'_>| {
                let mounted = Controller::named_in(mount.super_options, |char| char == ',');
                !mount.is_unified && mounted == controllers
            };
            if let Some(membership) = membership(path, mounts.iter().filter(same)) {
                layout.v1.push((controllers, membership));
            }
        }
        layout
    }
}

/// The group at `path`, by the mount that shows it; one that can be written to is preferred.
fn membership<'a>(path: &str, mounts: impl Iterator<Item = &'a Mount<'a>>) -> Option<Membership> {
    let seen = mounts.filter_map(|mount| {
        // A group outside the mount (or outside the namespace: `/../x`) cannot be accessed.
        let below = Path::new(path).strip_prefix(&mount.root).ok()?;
        let reachable = !below.components().any(|part| part == std::path::Component::ParentDir);
        let own = if below.as_os_str().is_empty() { mount.point.clone() } else { mount.point.join(below) };
        reachable.then(|| Membership { mount: mount.point.clone(), own, read_only: mount.read_only })
    });
    seen.min_by_key(|membership| membership.read_only)
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG…] - TYPE SOURCE SUPER_OPTIONS`
fn mount(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point, options) = (before.next()?, before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, super_options) = (after.next()?, after.nth(1).unwrap_or_default());
    let is_unified = match kind {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let read_only = [options, super_options].iter().any(|list| list.split(',').any(|option| option == "ro"));
    Some(Mount { root: unescaped(root), point: unescaped(point), read_only, is_unified, super_options })
}

/// The kernel writes space, tab, newline and backslash as `\040` and so on.
fn unescaped(field: &str) -> PathBuf {
    let mut path = field.to_owned();
    for (escape, char) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        path = path.replace(escape, char);
    }
    path.into()
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("cgroup_layout", |data| {
    let text = String::from_utf8_lossy(data);
    let (groups, mountinfo) = text.split_once('\0').unwrap_or((&text, &text));
    let _ = Layout::read(groups, mountinfo);
});

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mount: &str, own: &str) -> Membership {
        Membership { mount: mount.into(), own: own.into(), read_only: false }
    }

    #[test]
    fn v2_alone_is_found() {
        let groups = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n";
        let mounts = "24 23 0:23 / /sys rw,nosuid - sysfs sysfs rw\n\
                      30 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope";
        let expected = Layout { unified: Some(at("/sys/fs/cgroup", own)), v1: Vec::new() };
        assert_eq!(Layout::read(groups, mounts), expected);
    }

    #[test]
    fn v1_and_hybrid_are_found_by_controller() {
        let groups = "9:name=systemd:/init\n5:cpu,cpuacct:/\n4:memory:/jobs/a:b\n3:cpuset:/\n0::/\n";
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let layout = Layout::read(groups, mounts);
        assert_eq!(layout.unified, Some(at("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified")));
        let cpu = at("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct");
        let memory = at("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/jobs/a:b");
        assert_eq!(layout.v1, [(vec![Controller::Cpu], cpu), (vec![Controller::Memory], memory)]);
        // Pure v1: the line of v2 exists, but its mount does not.
        let without: String =
            mounts.lines().filter(|line| !line.contains("cgroup2")).collect::<Vec<_>>().join("\n");
        assert_eq!(Layout::read(groups, &without).unified, None);
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_mount() {
        // With its own cgroup namespace, and with the host's.
        for (path, root) in [("/", "/"), ("/docker/abc", "/docker/abc")] {
            let groups = format!("4:memory:{path}\n0::{path}\n");
            let mounts = format!(
                "5 4 0:2 {root} /sys/fs/cgroup/memory ro,nosuid master:3 - cgroup cgroup rw,memory\n\
                 6 4 0:3 {root} /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n"
            );
            let layout = Layout::read(&groups, &mounts);
            assert_eq!(layout.unified, Some(at("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified")));
            let memory =
                Membership { read_only: true, ..at("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory") };
            assert_eq!(layout.v1, [(vec![Controller::Memory], memory)]);
        }
    }

    #[test]
    fn a_group_that_is_not_mounted_here_is_none() {
        let mounts = "6 4 0:3 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(Layout::read("0::/docker/other\n", mounts), Layout::default());
        assert_eq!(Layout::read("0::/../outside\n", &mounts.replace("/docker/abc", "/")), Layout::default());
        assert_eq!(Layout::read("0::/\n", ""), Layout::default());
        assert_eq!(Layout::read("", mounts), Layout::default());
        assert_eq!(Layout::read("nonsense\n1:\n", "nonsense\n - cgroup2\n"), Layout::default());
    }

    #[test]
    fn a_mount_that_can_be_written_is_preferred_and_spaces_are_read() {
        let mounts = "6 4 0:3 / /ro ro - cgroup2 cgroup rw\n7 4 0:3 / /my\\040groups rw - cgroup2 cgroup rw\n\
                      8 4 0:3 / /also-ro rw - cgroup2 cgroup ro\n";
        assert_eq!(Layout::read("0::/a\n", mounts).unified, Some(at("/my groups", "/my groups/a")));
    }
}

//! The groups of one platform: detects what this machine allows, and creates them.
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    controller::{Controller, Version},
    files::{make_directory, processes, read, write},
    group::{Group, Limits},
    layout::{Layout, Membership},
    leftovers::{self, Leftovers},
    platform_group::{OWN_GROUP, PlatformGroup},
};

/// The platform's groups. Cheap to share.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    homes: Arc<Vec<PlatformGroup>>,
    left: Leftovers,
}

/// The limits that a machine supports.
pub(crate) struct Detected {
    pub cgroups: Option<Cgroups>,
    /// Which limits do not apply and why, as a message.
    pub missing: Option<String>,
}

impl Cgroups {
    /// Makes the platform's groups, as far as this machine allows it.
    pub(crate) fn detect() -> Detected {
        let proc = Path::new("/proc/self");
        let layout = Layout::read(&read(proc, "cgroup"), &read(proc, "mountinfo"));
        Self::within(&layout, &OwnProcess::of_this_process())
    }

    fn within(layout: &Layout, myself: &OwnProcess) -> Detected {
        let mut homes = Vec::new();
        let mut left = Leftovers::default();
        let mut problems = Vec::new();
        for (controllers, membership) in &layout.v1 {
            match home_of_v1(membership, controllers, myself) {
                Ok(home) => homes.push(home),
                Err(problem) => problems.push(problem),
            }
        }
        let held_by_v1 = |controller: &Controller| {
            layout.v1.iter().any(|(controllers, _)| controllers.contains(controller))
        };
        let wanted: Vec<Controller> =
            Controller::ALL.into_iter().filter(|controller| !held_by_v1(controller)).collect();
        match &layout.unified {
            Some(membership) => match home_of_v2(membership, &wanted, layout.v1.is_empty(), myself) {
                Ok((home, moved)) => {
                    homes.push(home);
                    left.back = moved;
                }
                Err(problem) => problems.push(problem),
            },
            None if layout.v1.is_empty() => problems.push("this machine has no control groups".to_owned()),
            None => {}
        }
        let missing: Vec<Controller> = Controller::ALL
            .into_iter()
            .filter(|controller| !homes.iter().any(|home| home.controllers.contains(controller)))
            .collect();
        homes.iter().for_each(PlatformGroup::weigh);
        left.directories = homes.iter().map(|home| home.directory.clone()).collect();
        let reason = problems.into_iter().next().or_else(|| {
            let own = &layout.unified.as_ref()?.own;
            Some(format!("the control group {} does not have their controllers", own.display()))
        });
        let cgroups = (!homes.is_empty()).then(|| Self { homes: Arc::new(homes), left });
        Detected { cgroups, missing: not_applied(&missing, reason.as_deref()) }
    }

    /// A group for one worker.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is left behind then.
    pub(crate) fn group(&self, name: &str, limits: &Limits) -> io::Result<Group> {
        Group::create(&self.homes, name, limits)
    }

    /// What must be removed after this process has ended.
    pub(crate) fn left(&self) -> &Leftovers {
        &self.left
    }
}

/// This process, as far as groups are concerned.
pub(super) struct OwnProcess {
    pub id: u32,
    /// Whether a process is this one or descends from it.
    pub owns: fn(i32) -> bool,
}

impl OwnProcess {
    fn of_this_process() -> Self {
        Self { id: std::process::id(), owns: is_descendant }
    }
}

/// Walks up from a process, by `/proc`.
fn is_descendant(process: i32) -> bool {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut at = process;
    // Bounded: ids may be reused while this walks.
    for _ in 0..64 {
        if at == own {
            return true;
        }
        let stat = read(Path::new("/proc"), &format!("{at}/stat"));
        // The name in parentheses may hold anything; state and parent come after it.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        match parent {
            Some(parent) if parent > 1 => at = parent,
            _ => return false,
        }
    }
    false
}

fn not_applied(missing: &[Controller], problem: Option<&str>) -> Option<String> {
    let labels: Vec<&str> = missing.iter().map(|controller| controller.label()).collect();
    let what = match labels.as_slice() {
        [] => return None,
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    };
    let problem = problem.unwrap_or("the kernel does not provide them");
    Some(format!("{what} limits of instances are not applied: {problem}"))
}

/// v1: each hierarchy is used at the group of this process.
fn home_of_v1(
    membership: &Membership,
    controllers: &[Controller],
    myself: &OwnProcess,
) -> Result<PlatformGroup, String> {
    if membership.read_only {
        return Err(format!("{} is read-only", membership.mount.display()));
    }
    leftovers::sweep(&membership.own);
    let mut home = PlatformGroup::create(&membership.own, myself.id, Version::One)
        .map_err(|error| format!("cannot create a control group in {}: {error}", membership.own.display()))?;
    home.controllers = controllers.to_vec();
    Ok(home)
}

/// How to move processes back that were moved out of the way.
type Moved = Option<leftovers::MoveBack>;

/// v2: in the own group if all its processes belong to `flash`; otherwise in the nearest group above that already
/// delegates controllers, or at the root.
fn home_of_v2(
    membership: &Membership,
    wanted: &[Controller],
    is_alone: bool,
    myself: &OwnProcess,
) -> Result<(PlatformGroup, Moved), String> {
    if membership.read_only {
        return Err(format!("{} is read-only", membership.mount.display()));
    }
    let mut best: Option<(usize, PathBuf)> = None;
    let mut refused = None;
    // From the own group up to the mount.
    let groups: Vec<&Path> =
        membership.own.ancestors().take_while(|group| group.starts_with(&membership.mount)).collect();
    for group in &groups {
        let offered = offered(group, group == &membership.own, myself, wanted);
        if let Err(error) = may_make_groups(group) {
            refused.get_or_insert(format!(
                "cannot create a control group in {}: {error} (`systemd-run --user --scope -p Delegate=yes \
                 flash run` starts in one that allows it)",
                group.display()
            ));
            continue;
        }
        if best.as_ref().is_none_or(|(count, _)| *count < offered.len()) {
            best = Some((offered.len(), group.to_path_buf()));
        }
    }
    let hint = || {
        let missing = wanted.iter().map(|controller| controller.name()).collect::<Vec<_>>().join(", ");
        refused.clone().unwrap_or_else(|| {
            let own = membership.own.display();
            if processes(&membership.own).iter().all(|id| (myself.owns)(*id)) {
                format!("the control group {own} does not have the controllers {missing}")
            } else {
                format!("the control group {own} also holds other processes, so it cannot delegate {missing}")
            }
        })
    };
    let (count, base) = best.ok_or_else(hint)?;
    if count == 0 && is_alone {
        return Err(hint());
    }
    settle(&base, base == membership.own, wanted, myself)
        .map_err(|error| format!("cannot create a control group in {}: {error}", base.display()))
}

/// Whether groups can be created in a group and processes moved into them: the kernel requires write access to the
/// `cgroup.procs` of the common ancestor of a move.
fn may_make_groups(group: &Path) -> io::Result<()> {
    use nix::unistd::{AccessFlags, access};
    access(group, AccessFlags::W_OK)?;
    access(&group.join("cgroup.procs"), AccessFlags::W_OK)?;
    Ok(())
}

/// Which controllers groups below this one would have.
fn offered(group: &Path, is_own: bool, myself: &OwnProcess, wanted: &[Controller]) -> Vec<Controller> {
    let list = |file| Controller::named_in(&read(group, file), char::is_whitespace);
    // Only the root has no type. There the rule of no processes does not hold.
    let is_root = !group.join("cgroup.type").exists();
    let all_ours = is_own && processes(group).iter().all(|id| (myself.owns)(*id));
    let available = if is_root || all_ours {
        list("cgroup.controllers")
    } else {
        // A group of others: used unchanged.
        list("cgroup.subtree_control")
    };
    available.into_iter().filter(|controller| wanted.contains(controller)).collect()
}

/// Makes the platform's group in `base` with as many of the controllers as it gets.
fn settle(
    base: &Path,
    is_own: bool,
    wanted: &[Controller],
    myself: &OwnProcess,
) -> io::Result<(PlatformGroup, Moved)> {
    leftovers::sweep(base);
    let mut home = PlatformGroup::create(base, myself.id, Version::Two)?;
    let handed_down = Controller::named_in(&read(base, "cgroup.subtree_control"), char::is_whitespace);
    let offered = offered(base, is_own, myself, wanted);
    let to_enable: Vec<Controller> =
        offered.iter().copied().filter(|controller| !handed_down.contains(controller)).collect();
    let mut moved = None;
    if !to_enable.is_empty() {
        let is_root = !base.join("cgroup.type").exists();
        if !is_root {
            let own = home.directory.join(OWN_GROUP);
            make_directory(&own)?;
            moved = Some(leftovers::MoveBack { to: base.to_owned(), controllers: names(&to_enable) });
            leftovers::move_all(base, &own);
        }
        for controller in &to_enable {
            // A refused controller is missing in the group, and is reported.
            let _ = write(base, "cgroup.subtree_control", &format!("+{}", controller.name()));
        }
    }
    for controller in &offered {
        let enable = format!("+{}", controller.name());
        if write(&home.directory, "cgroup.subtree_control", &enable).is_ok() {
            home.controllers.push(*controller);
        }
    }
    Ok((home, moved))
}

fn names(controllers: &[Controller]) -> Vec<String> {
    controllers.iter().map(|controller| controller.name().to_owned()).collect()
}

#[cfg(test)]
mod tests;

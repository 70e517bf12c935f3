//! Free disk space, the workers' limits, GPUs.
use std::path::{Path, PathBuf};

use flash_platform::{MachineCapabilities, detect_capabilities};

use super::{Finding, Project};

/// With less than this, even the smallest app does not build.
const TOO_LITTLE: u64 = 500_000_000;
/// An app with a model takes about 1 GB for each build variant.
const SCARCE: u64 = 3_000_000_000;

pub(super) async fn findings(project: &Project) -> Vec<Finding> {
    let mut places = vec![project.directory.join(".flash")];
    places.extend(project.package.as_ref().map(|package| package.target_directory.clone()));
    let rooms: Vec<_> = places.into_iter().map(|place| (room(&place), place)).collect();
    let capabilities = detect_capabilities().await;
    vec![of_rooms(&rooms), of_limits(&capabilities), of_gpus(&capabilities)]
}

/// Bytes that this user may still write there, found at the nearest existing directory.
fn room(place: &Path) -> Option<u64> {
    let there = place.ancestors().find(|above| above.is_dir())?;
    let data = nix::sys::statvfs::statvfs(there).ok()?;
    // Their types differ between systems.
    #[allow(clippy::useless_conversion, reason = "u32 on some systems")]
    let bytes = u64::from(data.blocks_available()).saturating_mul(u64::from(data.fragment_size()));
    Some(bytes)
}

fn of_rooms(rooms: &[(Option<u64>, PathBuf)]) -> Finding {
    const NAME: &str = "disk";
    const FOR: &str = "flash run and flash build compile an app there";
    let known = rooms.iter().filter_map(|(room, place)| Some(((*room)?, place)));
    let Some((room, place)) = known.min_by_key(|(room, _)| *room) else {
        return Finding::note(NAME, "free space unknown", FOR);
    };
    let said = format!("{} free for {}", size(room), place.display());
    match room {
        TOO_LITTLE.. if room >= SCARCE => Finding::good(NAME, said),
        TOO_LITTLE.. => Finding::note(NAME, said, FOR).fix("cargo clean removes earlier build output"),
        _ => Finding::bad(NAME, said, FOR).fix("free space: cargo clean removes earlier build output"),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

fn of_limits(capabilities: &MachineCapabilities) -> Finding {
    const NAME: &str = "limits";
    match &capabilities.missing_limits {
        None => Finding::good(NAME, "workers get the CPU time and memory of their instance (control groups)"),
        Some(missing) => Finding::note(
            NAME,
            missing,
            "flash run works; its workers may use more of this machine than they will have in production",
        )
        .fix("systemd-run --user --scope -p Delegate=yes flash run, or as root"),
    }
}

fn of_gpus(capabilities: &MachineCapabilities) -> Finding {
    const NAME: &str = "GPU";
    const FOR: &str = "GPU worker types run on the CPU here; building for GPUs needs no GPU";
    match (capabilities.has_driver, capabilities.gpus.len()) {
        (true, 1) => Finding::good(NAME, "1 with a driver"),
        (true, count @ 2..) => Finding::good(NAME, format!("{count} with a driver")),
        (true, _) => Finding::note(NAME, "a driver, but no GPU that this user may use", FOR)
            .fix("`nvidia-smi -L` must list the GPUs; start a container with access to them"),
        (false, _) => Finding::note(NAME, "no NVIDIA driver", FOR),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn the_place_with_the_least_room_decides() {
        let rooms = |bytes: &[Option<u64>]| {
            let named = |(index, room): (usize, &Option<u64>)| (*room, PathBuf::from(format!("/{index}")));
            of_rooms(&bytes.iter().enumerate().map(named).collect::<Vec<_>>())
        };
        assert_eq!(rooms(&[Some(9_000_000_000), None]).state, State::Good);
        let scarce = rooms(&[Some(9_000_000_000), Some(2_000_000_000)]);
        assert_eq!((scarce.state, &*scarce.said), (State::Note, "2.0 GB free for /1"));
        let full = rooms(&[Some(100_000_000), Some(9_000_000_000)]);
        assert_eq!((full.state, &*full.said), (State::Bad, "100 MB free for /0"));
        assert_eq!(rooms(&[None]).state, State::Note);
    }

    #[test]
    fn room_is_that_of_the_nearest_directory_that_exists() {
        let directory = tempfile::TempDir::new().unwrap();
        assert!(room(&directory.path().join("not/there/yet")).is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn neither_limits_nor_a_gpu_are_needed() {
        let capabilities = |missing_limits: Option<&str>, has_driver, gpus: &[&str]| MachineCapabilities {
            missing_limits: missing_limits.map(str::to_owned),
            has_driver,
            gpus: gpus.iter().map(|gpu| (*gpu).to_owned()).collect(),
        };
        let whole = capabilities(None, true, &["GPU-a"]);
        assert_eq!((of_limits(&whole).state, of_gpus(&whole).state), (State::Good, State::Good));
        let bare = capabilities(Some("memory limits of instances are not applied"), false, &[]);
        assert_eq!((of_limits(&bare).state, of_gpus(&bare).state), (State::Note, State::Note));
        assert!(of_gpus(&capabilities(None, true, &[])).said.contains("no GPU"));
    }
}

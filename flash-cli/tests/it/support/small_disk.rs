//! A file system of a few megabytes, where this machine allows one.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// See the module. Gone when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// In this directory; `None` where nothing can be mounted.
    pub fn mount(place: &Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        mount(place, &format!("size={megabytes}m")).then(|| Self(place.to_owned()))
    }

    /// From now on it is so large.
    pub fn grow(&self, megabytes: u32) {
        assert!(mount(&self.0, &format!("remount,size={megabytes}m")));
    }

    /// Takes all of what is free but this much.
    pub fn fill_but(&self, bytes: u64) {
        let filler = self.filler();
        let chunk = vec![0; 1_000_000];
        let mut file = std::fs::File::create(&filler).unwrap();
        while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(bytes)).unwrap();
    }

    /// Gives back what [`SmallDisk::fill_but`] took.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

fn mount(place: &Path, options: &str) -> bool {
    let arguments = ["-t", "tmpfs", "-o", options, "none"];
    Command::new("mount").args(arguments).arg(place).output().is_ok_and(|output| output.status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

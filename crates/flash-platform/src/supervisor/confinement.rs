//! Protects a directory of the service from the processes that it starts, if the kernel supports it (Landlock, Linux
//! 5.19).
//!
//! Landlock cannot express "everything except", so the rules list what stays open: everything next to the closed
//! directory, at each level of its path. So files that are created later directly in a directory above it are closed
//! too.
//!
//! Each worker has its own domain. From within a domain, the kernel refuses debugger access to processes outside:
//! their memory, environment variables and open files in `/proc` are closed too. (Newer kernels still let root read
//! memory.)
use std::path::PathBuf;

/// The directory that workers must not access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Closed, with all that is in it. A path without symbolic links.
    pub closed: PathBuf,
    /// Directories in it that are open all the same.
    pub open: Vec<PathBuf>,
    /// Directories in it whose files may be read, but not changed.
    pub readable: Vec<PathBuf>,
}

/// Why a directory stays open.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum NotClosed {
    #[error("this kernel has no Landlock")]
    Unsupported,
    #[error("could not list {}", directory.display())]
    Unlisted { directory: PathBuf, source: std::io::Error },
    #[error("the kernel refused the rules")]
    #[cfg(target_os = "linux")]
    Refused(#[from] landlock::RulesetError),
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, path::PathBuf};

    use landlock::{
        ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
        RulesetCreated, RulesetCreatedAttr as _, Scope, path_beneath_rules,
    };
    use tokio::process::Command;

    use super::{Confinement, NotClosed};

    /// Rules for a process.
    pub struct Rules(RulesetCreated);

    impl Confinement {
        /// Creates the rules for one worker, because the files next to the closed directory change.
        pub fn rules(&self) -> Result<Rules, NotClosed> {
            // Before it, files could not be moved between directories at all.
            let least = Ruleset::default()
                .set_compatibility(CompatLevel::HardRequirement)
                .handle_access(AccessFs::Refer)
                .map_err(|_| NotClosed::Unsupported)?;
            let rules = least
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(handled())?
                .scope(Scope::Signal)?
                .create()?
                .add_rules(path_beneath_rules(self.beside()?, handled()))?
                .add_rules(path_beneath_rules(&self.open, handled()))?
                .add_rules(path_beneath_rules(&self.readable, AccessFs::ReadFile))?;
            Ok(Rules(rules))
        }

        /// Everything next to the closed directory and the directories above it.
        fn beside(&self) -> Result<Vec<PathBuf>, NotClosed> {
            let mut beside = Vec::new();
            for (inner, outer) in self.closed.ancestors().zip(self.closed.ancestors().skip(1)) {
                let unlisted = |source| NotClosed::Unlisted { directory: outer.to_owned(), source };
                for entry in std::fs::read_dir(outer).map_err(unlisted)?.flatten() {
                    // The target of a link has its own rule, or is closed.
                    let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                    if !is_link && entry.path() != inner {
                        beside.push(entry.path());
                    }
                }
            }
            Ok(beside)
        }
    }

    impl Rules {
        /// Applies them to the program and its children.
        pub fn hold(self, command: &mut Command) {
            let mut rules = Some(self.0);
            let hold = move || match rules.take().map(RulesetCreated::restrict_self) {
                Some(Err(_)) => Err(io::Error::from_raw_os_error(nix::libc::EPERM)),
                Some(Ok(_)) | None => Ok(()),
            };
            // SAFETY: between fork and exec only `prctl`, `landlock_restrict_self` and `close` are called; nothing is
            // allocated.
            unsafe {
                command.pre_exec(hold);
            }
        }
    }

    /// All but listing directories, running programs and talking to devices.
    fn handled() -> BitFlags<AccessFs> {
        let none: BitFlags<AccessFs> = AccessFs::ReadDir | AccessFs::Execute | AccessFs::IoctlDev;
        AccessFs::from_all(ABI::V9) & !none
    }

    #[cfg(test)]
    mod tests {
        use tempfile::TempDir;

        use super::*;

        #[test]
        fn all_is_open_but_the_closed_directory_and_links_to_it() {
            let outer = TempDir::new().unwrap();
            let base = outer.path().canonicalize().unwrap();
            let closed = base.join("share").join("flash");
            std::fs::create_dir_all(&closed).unwrap();
            std::fs::create_dir(base.join("other")).unwrap();
            std::fs::write(base.join("share").join("file"), "").unwrap();
            std::os::unix::fs::symlink(&closed, base.join("link")).unwrap();
            let confinement = Confinement { closed: closed.clone(), open: Vec::new(), readable: Vec::new() };
            let beside = confinement.beside().unwrap();
            for open in [base.join("other"), base.join("share").join("file"), "/proc".into(), "/dev".into()] {
                assert!(beside.contains(&open), "{open:?}: {beside:?}");
            }
            assert!(
                !beside.iter().any(|open| closed.starts_with(open) || open.ends_with("link")),
                "{beside:?}"
            );
        }

        #[tokio::test]
        async fn a_program_reads_and_changes_nothing_in_the_closed_directory() {
            let outer = TempDir::new().unwrap();
            let closed = outer.path().canonicalize().unwrap().join("data");
            let (open, readable) = (closed.join("work"), closed.join("artifacts"));
            for directory in [&closed, &open, &readable] {
                std::fs::create_dir_all(directory).unwrap();
                std::fs::write(directory.join("file"), "secret").unwrap();
            }
            std::fs::write(outer.path().join("beside"), "").unwrap();
            let confinement = Confinement {
                closed: closed.clone(),
                open: vec![open.clone()],
                readable: vec![readable.clone()],
            };
            let Ok(rules) = confinement.rules() else { return };
            let script = r#"
                ! cat file && ! rm file && ! echo x >file && ! echo x >new && ! mv file work/file2 &&
                cat work/file artifacts/file && ! echo x >artifacts/file && echo x >work/new && rm work/new &&
                echo x >../beside && ! ls "/proc/$1/root/" && ls /proc/self/root/ >/dev/null
            "#;
            let parent = std::process::id().to_string();
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "sh", &parent]).current_dir(&closed);
            rules.hold(&mut shell);
            let output = shell.output().await.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(output.stdout, b"secretsecret");
            assert_eq!(std::fs::read(closed.join("file")).unwrap(), b"secret");
        }
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::Rules;

/// There are none.
#[cfg(not(target_os = "linux"))]
pub enum Rules {}

#[cfg(not(target_os = "linux"))]
impl Confinement {
    pub fn rules(&self) -> Result<Rules, NotClosed> {
        Err(NotClosed::Unsupported)
    }
}

#[cfg(not(target_os = "linux"))]
impl Rules {
    pub fn hold(self, _command: &mut tokio::process::Command) {
        match self {}
    }
}

//! The service as a unit of the user's systemd: started with the machine, and again after a crash.
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use flash_target::{Problem, TargetError};
use tokio::process::Command;

use super::{
    directory::{DATA_DIRECTORY, DataDirectory},
    invocation::{ARGUMENT, CANNOT_START, SYSTEMD},
};

const NAME: &str = "flash.service";

/// The unit that is installed.
#[derive(Debug)]
pub struct Unit {
    path: PathBuf,
}

/// Whether systemd had to kill the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forced {
    Yes,
    No,
}

/// The directory of this user's units.
fn path() -> Option<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")))?;
    Some(config.join("systemd").join("user").join(NAME))
}

/// The unit for this directory, if one is installed.
pub(super) fn unit_of(directory: &DataDirectory) -> Option<Unit> {
    let path = path()?;
    let text = std::fs::read_to_string(&path).ok()?;
    let line = data_line(directory);
    text.lines().any(|own| own == line).then_some(Unit { path })
}

fn data_line(directory: &DataDirectory) -> String {
    format!("Environment={}", quoted(&format!("{DATA_DIRECTORY}={}", directory.path().display())))
}

/// The directory that a unit of this text serves.
fn data_of(text: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("Environment=\"{DATA_DIRECTORY}="))?.strip_suffix('"'))?;
    let mut data = String::new();
    let mut rest = line.chars();
    while let Some(next) = rest.next() {
        // Of an escaped character, the second one counts.
        data.push(if matches!(next, '\\' | '%') { rest.next()? } else { next });
    }
    Some(data)
}

/// In systemd's syntax for a word: `%` begins a specifier.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{escaped}\"")
}

fn text(program: &Path, directory: &DataDirectory) -> String {
    // `$` begins a variable in the command only.
    let program = quoted(&program.display().to_string()).replace('$', "$$");
    // One word to the end of the line, without quotes.
    let log = directory.log().display().to_string().replace('%', "%%");
    format!(
        "[Unit]\n\
         Description=Flash: local environments\n\
         # Systemd never gives up.\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={program} {ARGUMENT} {SYSTEMD}\n\
         {}\n\
         StandardOutput=append:{log}\n\
         StandardError=append:{log}\n\
         Restart=always\n\
         RestartSec=1\n\
         # The service ends its workers itself.\n\
         KillMode=mixed\n\
         TimeoutStopSec=60\n\
         # Workers get control groups of their own.\n\
         Delegate=yes\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        data_line(directory)
    )
}

async fn systemctl(arguments: &[&str]) -> Result<String, TargetError> {
    let words = format!("systemctl --user {}", arguments.join(" "));
    let ran = Command::new("systemctl").arg("--user").args(arguments).stdin(Stdio::null()).output().await;
    let failed = TargetError::new(Problem::Failed, format!("`{words}` failed"));
    let output = match ran {
        Ok(output) => output,
        Err(error) => return Err(failed.because(error)),
    };
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failed
            .because(String::from_utf8_lossy(&output.stderr).trim())
            .hint("see why: journalctl --user -u flash.service")),
    }
}

/// Whether a unit for this directory can be installed.
///
/// # Errors
/// Without systemd, and if a unit for another directory is installed.
pub async fn check_free(directory: &DataDirectory) -> Result<(), TargetError> {
    if systemctl(&["show", "--property=Version"]).await.is_err() {
        let message = "no systemd found for this user (`systemctl --user` does not answer)";
        return Err(TargetError::new(Problem::Failed, message)
            .hint("start the service at boot by other means, such as cron: @reboot flash service start"));
    }
    let Some(path) = path().filter(|path| path.is_file()) else { return Ok(()) };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        TargetError::new(Problem::Failed, format!("cannot read {}", path.display())).because(error)
    })?;
    if text.lines().any(|line| line == data_line(directory)) {
        return Ok(());
    }
    let other = data_of(&text).unwrap_or_else(|| "another directory".to_owned());
    let message = format!("{} is installed and serves {other}", path.display());
    Err(TargetError::new(Problem::Refused, message)
        .hint("uninstall that one first, which stops it: flash service uninstall"))
}

/// Writes the unit and starts it. No other service of this directory may be running.
///
/// # Errors
/// When systemd rejects the unit.
pub async fn install(directory: &DataDirectory) -> Result<Unit, TargetError> {
    let problem = |message: String| TargetError::new(Problem::Failed, message);
    let path = path().ok_or_else(|| problem("no directory found for units: set HOME".to_owned()))?;
    let program = std::env::current_exe()
        .map_err(|error| problem("cannot find the flash executable".to_owned()).because(error))?;
    let write = || {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&path, text(&program, directory))
    };
    write().map_err(|error| problem(format!("cannot write {}", path.display())).because(error))?;
    systemctl(&["daemon-reload"]).await?;
    systemctl(&["enable", NAME]).await?;
    // Not `--now`: that does not restart a service started by an older unit.
    systemctl(&["restart", NAME]).await?;
    Ok(Unit { path })
}

/// Whether this user's units run without a login; `None` if unknown.
pub async fn lingers() -> Option<bool> {
    let user = std::env::var("USER").ok()?;
    let output = Command::new("loginctl")
        .args(["show-user", &user, "--property=Linger"])
        .stdin(Stdio::null())
        .output()
        .await
        .ok()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "Linger=yes" => Some(true),
        "Linger=no" => Some(false),
        _ => None,
    }
}

/// The installed unit, whichever directory it serves.
pub fn installed() -> Option<Unit> {
    path().filter(|path| path.is_file()).map(|path| Unit { path })
}

impl Unit {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn start(&self) -> Result<(), TargetError> {
        systemctl(&["start", NAME]).await.map(drop)
    }

    /// Why systemd does not have it running; `None` while it does, or still tries.
    pub(super) async fn failure(&self) -> Option<String> {
        let shown = ["show", "--property=ActiveState,SubState,ExecMainStatus", NAME];
        failure_in(&systemctl(&shown).await.ok()?)
    }

    /// Stops the service, by force if it takes too long.
    pub(super) async fn stop(&self) -> Result<Forced, TargetError> {
        systemctl(&["stop", NAME]).await?;
        let result = systemctl(&["show", "--property=Result", NAME]).await?;
        Ok(if result.trim() == "Result=timeout" { Forced::Yes } else { Forced::No })
    }

    /// Stops the service and removes the unit.
    pub async fn uninstall(self) -> Result<(), TargetError> {
        systemctl(&["disable", "--now", NAME]).await?;
        std::fs::remove_file(&self.path).map_err(|error| {
            TargetError::new(Problem::Failed, format!("cannot remove {}", self.path.display())).because(error)
        })?;
        systemctl(&["daemon-reload"]).await.map(drop)
    }
}

/// What systemd's properties say about a failed start.
fn failure_in(properties: &str) -> Option<String> {
    let property =
        |name: &str| properties.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let status = property("ExecMainStatus").unwrap_or("0");
    let has_failed = property("ActiveState") == Some("failed");
    // Systemd will try again, but that does not help.
    let cannot = property("SubState") == Some("auto-restart") && status == CANNOT_START.to_string();
    (has_failed || cannot).then(|| format!("systemd reports that it ended with status {status}"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_unit_names_program_and_data_in_full_and_starts_again_after_a_crash() {
        let data = TempDir::new().unwrap();
        let directory = DataDirectory::open(&data.path().join("a %d \"b\"")).unwrap();
        let text = text(Path::new("/opt/my $flash/flash"), &directory);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.contains(&"ExecStart=\"/opt/my $$flash/flash\" __service systemd"), "{text}");
        assert!(lines.contains(&"Restart=always"), "{text}");
        assert_eq!(data_of(&text), Some(directory.path().display().to_string()));
        let log = directory.log().display().to_string().replace('%', "%%");
        assert!(lines.contains(&format!("StandardError=append:{log}").as_str()), "{text}");
        let data = directory.path().display().to_string().replace('"', "\\\"").replace('%', "%%");
        let line = format!("Environment=\"FLASH_DATA_DIR={data}\"");
        assert!(lines.contains(&line.as_str()), "{text}");
    }

    #[test]
    fn a_start_has_failed_when_trying_again_does_not_help() {
        let said = |active: &str, sub: &str, status: i32| {
            failure_in(&format!("ActiveState={active}\nSubState={sub}\nExecMainStatus={status}\n")).is_some()
        };
        assert!(said("failed", "failed", 203));
        assert!(said("activating", "auto-restart", 1));
        assert!(!said("activating", "auto-restart", 3));
        assert!(!said("active", "running", 0));
    }
}

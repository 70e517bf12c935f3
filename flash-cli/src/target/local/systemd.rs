//! The service as a unit of the user's systemd: it starts with the machine, and again after a crash.
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use super::{
    directory::{DATA_DIRECTORY, DataDirectory},
    service::{ARGUMENT, SYSTEMD},
};
use crate::target::{Problem, TargetError};

const NAME: &str = "flash.service";

/// The unit that is installed.
#[derive(Debug)]
pub(crate) struct Unit {
    path: PathBuf,
}

/// Where units of this user are.
fn path() -> Option<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")))?;
    Some(config.join("systemd").join("user").join(NAME))
}

/// The unit, where one is installed that serves this directory.
pub(super) fn unit_of(directory: &DataDirectory) -> Option<Unit> {
    let path = path()?;
    let text = std::fs::read_to_string(&path).ok()?;
    let line = data_line(directory);
    text.lines().any(|own| own == line).then_some(Unit { path })
}

fn data_line(directory: &DataDirectory) -> String {
    format!("Environment={}", quoted(&format!("{DATA_DIRECTORY}={}", directory.path().display())))
}

/// As systemd reads a word: `%` begins a specifier.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{escaped}\"")
}

fn text(program: &Path, directory: &DataDirectory) -> String {
    // `$` begins a variable in the command only.
    let program = quoted(&program.display().to_string()).replace('$', "$$");
    format!(
        "[Unit]\n\
         Description=Flash: local environments\n\
         \n\
         [Service]\n\
         ExecStart={program} {ARGUMENT} {SYSTEMD}\n\
         {}\n\
         Restart=always\n\
         RestartSec=1\n\
         # The service ends its workers itself.\n\
         KillMode=mixed\n\
         TimeoutStopSec=70\n\
         # Workers get control groups of their own.\n\
         Delegate=yes\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        data_line(directory)
    )
}

/// Whether the user has a systemd that answers.
pub(crate) async fn is_usable() -> bool {
    systemctl(&["show", "--property=Version"]).await.is_ok()
}

async fn systemctl(arguments: &[&str]) -> Result<(), TargetError> {
    let words = format!("systemctl --user {}", arguments.join(" "));
    let ran = Command::new("systemctl").arg("--user").args(arguments).stdin(Stdio::null()).output().await;
    let failed = |reason: String| TargetError::new(Problem::Failed, format!("`{words}` failed: {reason}"));
    let output = ran.map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())
            .hint("see why: journalctl --user -u flash.service")),
    }
}

/// Writes the unit and starts it.
///
/// # Errors
/// Without systemd, and when it does not take the unit.
pub(crate) async fn install(directory: &DataDirectory) -> Result<Unit, TargetError> {
    let problem = |reason: String| TargetError::new(Problem::Failed, reason);
    if !is_usable().await {
        return Err(problem("this user has no systemd that answers (`systemctl --user`)".to_owned()).hint(
            "start the service at each boot by other means, such as cron: @reboot flash service start",
        ));
    }
    let path = path().ok_or_else(|| problem("there is no directory for units: set HOME".to_owned()))?;
    let program = std::env::current_exe()
        .map_err(|error| problem(format!("cannot find the program of flash: {error}")))?;
    let write = || {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&path, text(&program, directory))
    };
    write().map_err(|error| problem(format!("cannot write {}: {error}", path.display())))?;
    systemctl(&["daemon-reload"]).await?;
    systemctl(&["enable", "--now", NAME]).await?;
    Ok(Unit { path })
}

/// Whether units of this user run without a login; `None` where nobody can tell.
pub(crate) async fn lingers() -> Option<bool> {
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

/// The unit that is installed, whichever directory it serves.
pub(crate) fn installed() -> Option<Unit> {
    path().filter(|path| path.is_file()).map(|path| Unit { path })
}

impl Unit {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn start(&self) -> Result<(), TargetError> {
        systemctl(&["start", NAME]).await
    }

    pub(super) async fn stop(&self) -> Result<(), TargetError> {
        systemctl(&["stop", NAME]).await
    }

    /// Ends the service and removes the unit.
    pub(crate) async fn uninstall(self) -> Result<(), TargetError> {
        systemctl(&["disable", "--now", NAME]).await?;
        std::fs::remove_file(&self.path).map_err(|error| {
            TargetError::new(Problem::Failed, format!("cannot remove {}: {error}", self.path.display()))
        })?;
        systemctl(&["daemon-reload"]).await
    }
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
        let data = directory.path().display().to_string().replace('"', "\\\"").replace('%', "%%");
        let line = format!("Environment=\"FLASH_DATA_DIR={data}\"");
        assert!(lines.contains(&line.as_str()), "{text}");
    }
}

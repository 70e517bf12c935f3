//! A terminal of its own for a command, by `script`: what it shows, and keys that are pressed.
use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

use tempfile::NamedTempFile;

use super::{PATIENCE, wait_for};

/// What Ctrl-C sends.
pub const CTRL_C: &[u8] = &[3];

/// See the module.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: NamedTempFile,
}

impl Terminal {
    /// Runs a line of a shell there. `flash` keeps its state in `data` of the directory.
    pub fn start(directory: &Path, line: &str) -> Self {
        let shown = NamedTempFile::new().unwrap();
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--return", "--command", line, "/dev/null"]);
        command.current_dir(directory).env("FLASH_DATA_DIR", directory.join("data"));
        command.env("FLASH_CONFIG_DIR", directory.join("config"));
        let output = File::create(shown.path()).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(output).spawn().unwrap();
        let keys = child.stdin.take().unwrap();
        Self { child, keys, shown }
    }

    /// All that was shown so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.shown.path()).unwrap()).into_owned()
    }

    /// Waits until what is shown fits.
    pub fn wait_until(&self, what: &str, fits: impl Fn(&str) -> bool) {
        wait_for(what, PATIENCE, || {
            let text = self.text();
            fits(&text).then_some(()).ok_or(text)
        });
    }

    pub fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// Waits for the end of the command, and returns how it ended and all that was shown.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.text())
    }
}

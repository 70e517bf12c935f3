//! A real registry for one test: Debian's `docker-registry`, on a free port, with a directory of its own.
use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::skipped::{Needs, skip};

/// The user of a registry that wants a password.
pub const USER: &str = "flash";
/// Their password.
pub const PASSWORD: &str = "correct horse";
/// How long it may take to start.
const START: Duration = Duration::from_secs(60);
/// Both, as `htpasswd -B` writes them.
const HTPASSWD: &str = "flash:$2y$04$c8EGGRFtOyY8iM7MdwYLZuyiH1S6s3C7wfKGdfcgEnVkwWQxdhf4O\n";

/// Whether these programs are here. `cargo xtask test` installs them and takes none of them for granted: it
/// sets a variable that makes a missing one an error.
#[allow(clippy::print_stderr, reason = "a test that does nothing says so")]
pub fn has_programs(programs: &[&str]) -> bool {
    let path = search_path();
    let is_here = |program: &&&str| std::env::split_paths(&path).any(|at| at.join(program).is_file());
    let missing: Vec<&&str> = programs.iter().filter(|program| !is_here(program)).collect();
    if missing.is_empty() {
        return true;
    }
    skip(Needs::Containers, &format!("not installed: {missing:?}; `cargo xtask test` installs them"));
    false
}

/// Where programs are, Debian's place for some of them included, which is on root's path only.
fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin");
    path
}

/// What a registry asks for, and how it fails.
#[derive(Default)]
pub struct Options {
    /// A user and a password.
    pub password: bool,
    /// Tokens: the `token` part of its settings.
    pub tokens: Option<String>,
    /// A certificate and its key.
    pub tls: Option<(String, String)>,
    /// No file longer than this, as on a full disk.
    pub largest_file_kib: Option<u32>,
}

/// A running registry. Ended and removed when dropped.
pub struct DockerRegistry {
    child: Child,
    /// Host and port.
    pub address: String,
    directory: TempDir,
}

impl DockerRegistry {
    /// One that takes everything from everybody.
    pub fn start() -> Self {
        Self::start_with(&Options::default())
    }

    /// One that does not.
    pub fn start_with(options: &Options) -> Self {
        let directory = TempDir::new().unwrap();
        let config = write_config(directory.path(), options);
        let (child, address) = serve(&config, options.largest_file_kib);
        Self { child, address, directory }
    }

    /// Kills it, without a chance to finish anything, and starts it again on another port with what it has.
    #[allow(dead_code, reason = "the tests of the registry client use it")]
    pub fn restart(&mut self) {
        self.stop();
        (self.child, self.address) = serve(&self.directory.path().join("config.yml"), None);
    }

    /// Kills it.
    pub fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// The file of a blob.
    #[allow(dead_code, reason = "the tests of the registry client use it")]
    pub fn blob(&self, hex: &str) -> PathBuf {
        let blobs = self.directory.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// The tags of a repository.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let repositories = self.directory.path().join("data/docker/registry/v2/repositories");
        let Ok(tags) = std::fs::read_dir(repositories.join(repository).join("_manifests/tags")) else {
            return Vec::new();
        };
        tags.map(|tag| tag.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write_config(directory: &Path, options: &Options) -> PathBuf {
    let at = |name: &str| directory.join(name).display().to_string();
    let mut config = format!(
        "version: 0.1\n\
         log: {{ accesslog: {{ disabled: true }}, level: info, formatter: json }}\n\
         storage: {{ filesystem: {{ rootdirectory: {:?} }}, delete: {{ enabled: true }} }}\n\
         http:\n  addr: 127.0.0.1:0\n  secret: of-this-test\n",
        at("data")
    );
    if let Some((certificate, key)) = &options.tls {
        std::fs::write(at("certificate.pem"), certificate).unwrap();
        std::fs::write(at("key.pem"), key).unwrap();
        config +=
            &format!("  tls: {{ certificate: {:?}, key: {:?} }}\n", at("certificate.pem"), at("key.pem"));
    }
    if options.password {
        std::fs::write(at("htpasswd"), HTPASSWD).unwrap();
        config += &format!("auth: {{ htpasswd: {{ realm: tests, path: {:?} }} }}\n", at("htpasswd"));
    }
    if let Some(tokens) = &options.tokens {
        config += &format!("auth:\n  token: {tokens}\n");
    }
    std::fs::write(at("config.yml"), config).unwrap();
    directory.join("config.yml")
}

/// Starts it and reads from its log where it listens.
fn serve(config: &Path, largest_file_kib: Option<u32>) -> (Child, String) {
    let limit = largest_file_kib.map_or("unlimited".to_owned(), |kib| (2 * kib).to_string());
    let script = format!("ulimit -f {limit}; exec docker-registry serve \"$0\"");
    let mut child = Command::new("sh")
        .env("PATH", search_path())
        .args(["-c", &script])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = child.stderr.take().unwrap();
    match listening(log) {
        Ok(address) => (child, address),
        Err(seen) => {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait().unwrap();
            panic!("docker-registry did not start:\n{seen}");
        }
    }
}

/// Where it listens by its log, which is read to its end: a full pipe would stop it.
///
/// # Errors
/// With the log, when that does not show in time.
fn listening(log: ChildStderr) -> Result<String, String> {
    let (lines, read) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens once it is known where it does.
        BufReader::new(log).lines().map_while(Result::ok).for_each(|line| drop(lines.send(line)));
    });
    let (started, mut seen) = (Instant::now(), String::new());
    while let Ok(line) = read.recv_timeout(START.saturating_sub(started.elapsed())) {
        if let Some((_, rest)) = line.split_once("listening on ") {
            return Ok(rest.split(['"', ',']).next().unwrap_or_default().to_owned());
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    Err(seen)
}

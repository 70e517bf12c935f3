//! `install.sh`, run as a user runs it: the archive comes from a server on this machine.
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use tempfile::TempDir;

use super::archive::{Archive, Mode, sums};
use crate::workspace;

const TRIPLES: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// A release on a server, and somebody who installs it.
struct Place {
    directory: TempDir,
    url: String,
}

/// Answers each request with the file of its name, until the process ends.
fn serve(directory: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let directory = Arc::new(directory);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let name = request.split(' ').nth(1).unwrap().trim_start_matches('/');
            let (status, body) = match fs::read(directory.join(name)) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A client may have enough before the end.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    format!("http://{address}")
}

impl Place {
    /// A release whose program prints `it runs`.
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let release = directory.path().join("release");
        fs::create_dir(&release).unwrap();
        let mut files = Vec::new();
        for triple in TRIPLES {
            let mut archive = Archive::new(format!("flash-{triple}"));
            archive.add("flash", Mode::Program, "#!/bin/sh\necho it runs\n");
            archive.add("README.md", Mode::Data, "# Flash\n");
            files.push((format!("flash-{triple}.tar.gz"), archive.packed().unwrap()));
        }
        for (name, bytes) in &files {
            fs::write(release.join(name), bytes).unwrap();
        }
        let listed = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        fs::write(release.join("SHA256SUMS"), sums(listed)).unwrap();
        let url = serve(release);
        Self { directory, url }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn archives(&self) -> [PathBuf; 2] {
        TRIPLES.map(|triple| self.path("release").join(format!("flash-{triple}.tar.gz")))
    }

    fn install(&self, more: &[(&str, &str)]) -> Output {
        let mut command = Command::new("sh");
        command.arg(workspace::root().join("install.sh")).current_dir(self.directory.path());
        command.env("FLASH_INSTALL_URL", &self.url).env("FLASH_INSTALL_DIR", self.path("bin"));
        command.env("TMPDIR", self.directory.path()).envs(more.iter().copied());
        command.output().unwrap()
    }

    /// What lies where the program would be; and that nothing temporary is left.
    fn installed(&self) -> Vec<String> {
        let names = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let left: Vec<String> =
            names(self.directory.path()).into_iter().filter(|name| name.starts_with("tmp.")).collect();
        assert!(left.is_empty(), "{left:?}");
        names(&self.path("bin"))
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_program_whose_checksum_is_right_is_installed_and_replaces_an_older_one() {
    let place = Place::new();
    fs::create_dir(place.path("bin")).unwrap();
    fs::write(place.path("bin/flash"), "older").unwrap();
    let done = place.install(&[]);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(place.installed(), ["flash"]);
    let program = place.path("bin/flash");
    assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
    let output = Command::new(program).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "it runs\n");
    assert!(said(&done).contains("add it to your PATH"), "{}", said(&done));
}

#[test]
fn without_a_directory_it_goes_to_the_users_programs() {
    let place = Place::new();
    let home = place.path("home");
    let done = place.install(&[("FLASH_INSTALL_DIR", ""), ("HOME", home.to_str().unwrap())]);
    assert!(done.status.success() && home.join(".local/bin/flash").is_file(), "{}", said(&done));
}

#[test]
fn an_archive_with_a_changed_byte_is_refused_before_anything_is_installed() {
    let place = Place::new();
    for archive in place.archives() {
        let mut bytes = fs::read(&archive).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&archive, bytes).unwrap();
    }
    let done = place.install(&[]);
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    assert!(said(&done).contains("the checksum of flash-") && said(&done).contains("nothing was installed"));
    assert!(place.installed().is_empty() && !place.path("bin").exists());
}

#[test]
fn an_archive_that_is_missing_or_not_listed_is_an_error_that_names_it() {
    let place = Place::new();
    for archive in place.archives() {
        fs::remove_file(archive).unwrap();
    }
    let done = place.install(&[]);
    assert!(!done.status.success() && said(&done).contains("cannot download"), "{}", said(&done));
    let place = Place::new();
    fs::write(place.path("release/SHA256SUMS"), "").unwrap();
    let done = place.install(&[]);
    assert!(!done.status.success() && said(&done).contains("does not list flash-"), "{}", said(&done));
    assert!(place.installed().is_empty());
}

#[test]
fn an_unknown_platform_and_an_address_without_encryption_are_refused_before_any_request() {
    let place = Place::new();
    let programs = place.path("programs");
    fs::create_dir(&programs).unwrap();
    let uname = programs.join("uname");
    fs::write(&uname, "#!/bin/sh\n[ \"$1\" = -s ] && echo Plan9 || echo mips\n").unwrap();
    fs::set_permissions(&uname, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let done = place.install(&[("PATH", &path), ("FLASH_INSTALL_URL", "http://127.0.0.1:1")]);
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    assert!(said(&done).contains("no program for Plan9 on mips"), "{}", said(&done));
    let done = place.install(&[("FLASH_INSTALL_URL", "http://example.com/flash")]);
    assert!(!done.status.success() && said(&done).contains("https://"), "{}", said(&done));
    assert!(place.installed().is_empty());
}

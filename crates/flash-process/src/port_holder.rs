//! Which process listens on a port, from `/proc`. On systems other than Linux no process is found, and the kernel
//! hides processes of other users.
use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pid: u32,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// `flash run`, for the crate in this directory.
    FlashRun(PathBuf),
    /// The background service, with its environments.
    FlashService,
    /// Its program, and its script if that comes right after. The rest of a command line may be secret.
    Other(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, what } = self;
        match what {
            What::FlashRun(directory) => {
                write!(f, "another `flash run` in {} (process {pid})", directory.display())
            }
            What::FlashService => {
                write!(f, "an environment of flash's background service (process {pid})")
            }
            What::Other(command) => write!(f, "`{command}` (process {pid})"),
        }
    }
}

/// Which process listens on a port, on any address. Reads `/proc`: call it only when nothing else waits.
pub fn holder_of(port: u16) -> Option<Holder> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let sockets: BTreeSet<String> = tables
        .iter()
        .flat_map(|table| listening(table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = processes.find(|pid| holds_any(*pid, &sockets))?;
    Some(Holder { pid, what: what(pid) })
}

/// The sockets that listen on a port, from a table of the kernel.
fn listening(table: &str, port: u16) -> impl Iterator<Item = &str> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(move |line| {
        let mut columns = line.split_whitespace().skip(1);
        let (_, own) = columns.next()?.rsplit_once(':')?;
        let state = columns.nth(1)?;
        let inode = columns.nth(5)?;
        let is_it = state == LISTEN && u16::from_str_radix(own, 16) == Ok(port);
        is_it.then_some(inode)
    })
}

fn holds_any(pid: u32, sockets: &BTreeSet<String>) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.any(|target| target.to_str().is_some_and(|target| sockets.contains(target)))
}

fn what(pid: u32) -> What {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let place = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    what_of(&words, &place)
}

/// Identified by its command line and its working directory.
fn what_of(words: &[String], place: &Path) -> What {
    let name = words.first().map_or("?", |word| word.rsplit('/').next().unwrap_or(word));
    match words.get(1).map(String::as_str) {
        Some("run" | "dev") if name == "flash" => {
            let is_crate = |word: &&String| !word.starts_with('-') && place.join(word).is_dir();
            let named = words.iter().skip(2).find(is_crate);
            What::FlashRun(named.map_or_else(|| place.to_owned(), |named| place.join(named)))
        }
        Some(SERVICE) if name == "flash" => What::FlashService,
        Some(script) if !script.starts_with('-') && !script.contains(['=', ' ', ':']) => {
            What::Other(format!("{name} {}", script.rsplit('/').next().unwrap_or(script)))
        }
        _ => What::Other(name.to_owned()),
    }
}

/// The command line of the background service.
const SERVICE: &str = "__service";

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn whoever_listens_is_found_and_a_free_port_is_nobodys() {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(holder_of(port).map(|holder| holder.pid), Some(std::process::id()), "{address}");
            drop(listener);
            assert_ne!(holder_of(port).map(|holder| holder.pid), Some(std::process::id()), "{address}");
        }
    }

    #[test]
    fn a_holder_is_told_by_what_it_does_without_the_rest_of_its_command_line() {
        let place = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(place.path().join("shop")).unwrap();
        let said = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            Holder { pid: 7, what: what_of(&words, place.path()) }.to_string()
        };
        let here = place.path().display();
        for (line, text) in [
            ("/usr/bin/flash run", format!("another `flash run` in {here} (process 7)")),
            ("flash dev --port 9000 shop", format!("another `flash run` in {here}/shop (process 7)")),
            ("flash run -C shop", format!("another `flash run` in {here}/shop (process 7)")),
            ("flash __service", "an environment of flash's background service (process 7)".to_owned()),
            (
                "/usr/bin/python3 /srv/app/server.py --token hunter2",
                "`python3 server.py` (process 7)".to_owned(),
            ),
            ("python3 -m http.server", "`python3` (process 7)".to_owned()),
            ("serve password=hunter2", "`serve` (process 7)".to_owned()),
        ] {
            assert_eq!(said(line), text);
        }
    }

    #[test]
    fn a_line_of_the_kernels_table_is_read_by_its_columns() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 x\n   \
                     1: 0100007F:22B8 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4343 1 x\n";
        assert_eq!(listening(table, 8888).collect::<Vec<_>>(), ["4242"]);
        assert_eq!(listening(table, 8889).count(), 0);
        assert_eq!(listening("", 1).count() + listening("a\nb\n", 1).count(), 0);
    }
}

//! Where cargo keeps what is the same for all projects.
use std::path::PathBuf;

/// Where cargo stores its downloads.
pub(super) fn cargo_home() -> Option<PathBuf> {
    let said = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty());
    said.map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

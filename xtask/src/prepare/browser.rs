//! The browser that tests drive through `/docs`.
use super::apt;
use crate::{command::find, failure::Failure, output};

/// The browser, and the program that drives it.
const PROGRAMS: [&str; 2] = ["chromium", "chromedriver"];

/// Installs both if one is missing.
pub(super) fn prepare() -> Result<(), Failure> {
    if missing().next().is_some() {
        apt::install("a browser (`chromium` and `chromedriver`)", &["chromium", "chromium-driver"])?;
    }
    if let Some(program) = missing().next() {
        return Err(Failure::new(format!("`{program}` is not on PATH after its package was installed")));
    }
    output::say("Found", &PROGRAMS.join(" and "));
    Ok(())
}

fn missing() -> impl Iterator<Item = &'static str> {
    PROGRAMS.into_iter().filter(|program| find(program).is_none())
}

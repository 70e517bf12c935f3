//! Other programs that tests start: a browser for `/docs`, and `curl` for the printed commands.
use super::apt;
use crate::{command::find, failure::Failure, output};

/// The browser, the program that drives it, and curl.
const PROGRAMS: [&str; 3] = ["chromium", "chromedriver", "curl"];

/// Installs them if one is missing.
pub(super) fn prepare() -> Result<(), Failure> {
    if missing().next().is_some() {
        let what = "a browser (`chromium` and `chromedriver`) or `curl`";
        apt::install(what, &["chromium", "chromium-driver", "curl"])?;
    }
    if let Some(program) = missing().next() {
        return Err(Failure::new(format!("`{program}` is not on PATH after its package was installed")));
    }
    output::say("Found", &PROGRAMS.join(", "));
    Ok(())
}

fn missing() -> impl Iterator<Item = &'static str> {
    PROGRAMS.into_iter().filter(|program| find(program).is_none())
}

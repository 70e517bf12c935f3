//! Checks which parts of the code may use which: `crates` between crates, `modules` within one.
//!
//! Cargo forbids circles between crates, and `ARCHITECTURE.md` says which edges there are. Within a crate the compiler
//! allows any circle, so this check forbids them: a file or folder that uses another, which uses the first, cannot be
//! understood, tested or moved alone.
mod crates;
mod modules;

use crate::{failure::Failure, workspace};

/// Checks all crates.
///
/// # Errors
/// Every edge that is drawn and not there, or there and not drawn, and every circle.
pub(crate) fn check() -> Result<(), Failure> {
    let crates = crates::read()?;
    let mut found = crates::differences(&crates, &workspace::root());
    for each in &crates {
        found.extend(modules::circles(&each.name, &each.root)?);
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(found.join("\n  "))
            .hint("move what both use below both; for edges between crates, draw them in ARCHITECTURE.md")),
    }
}

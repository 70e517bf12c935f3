//! Cargo, rustc, a linker, and whether a static program can be linked.
use std::path::Path;

use tokio::process::Command;

use super::{
    Finding,
    probe::{Answer, ask},
};
use crate::builder::{Linking, Platform, Target, Toolchain};

const INSTALL_RUST: &str = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh";
const INSTALL_C: &str = "sudo apt-get install -y build-essential   (Debian, Ubuntu)";
/// The oldest that compiles an app.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");
const NOTHING_WORKS: &str = "flash run and flash build cannot compile an app without it";

pub(super) async fn findings(directory: &Path) -> Vec<Finding> {
    let version =
        async |program: &str| ask(Command::new(program).arg("--version").current_dir(directory)).await;
    let (cargo, rustc, cc) = (version("cargo").await, version("rustc").await, version("cc").await);
    let is_usable = rustc.said().is_some() && cc.said().is_some();
    let mut findings = vec![of_cargo(&cargo), of_rustc(&rustc), of_linker(&cc)];
    if is_usable {
        findings.push(of_static_program(&try_static(directory).await));
    }
    findings
}

fn of_cargo(answer: &Answer) -> Finding {
    match answer {
        Answer::Said(version) => Finding::good("cargo", version),
        other => lacking("cargo", other).fix(INSTALL_RUST),
    }
}

fn of_rustc(answer: &Answer) -> Finding {
    let version = match answer {
        Answer::Said(version) => version,
        other => return lacking("rustc", other).fix(INSTALL_RUST),
    };
    let number = version.split_whitespace().nth(1).unwrap_or_default();
    match parts(number) >= parts(OLDEST) {
        true => Finding::good("rustc", version),
        false => Finding::bad("rustc", format!("{version}; {OLDEST} or later is required"), NOTHING_WORKS)
            .fix("rustup update stable"),
    }
}

/// Major and minor.
fn parts(version: &str) -> (u32, u32) {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn of_linker(answer: &Answer) -> Finding {
    match answer {
        Answer::Said(version) => Finding::good("C compiler", version),
        other => lacking("C compiler", other).fix(INSTALL_C),
    }
}

fn lacking(name: &'static str, answer: &Answer) -> Finding {
    let said = match answer {
        Answer::Failed(reason) => format!("it does not run: {reason}"),
        _ => "not installed".to_owned(),
    };
    Finding::bad(name, said, NOTHING_WORKS)
}

/// The result of linking a static program.
#[derive(Debug)]
enum Trial {
    Runs(Target),
    Fails {
        target: Target,
        reason: String,
    },
    /// There is no standard library to link.
    NoTarget(String),
}

const NO_STATIC: &str = "flash build makes images that contain a static binary and no libraries";

fn of_static_program(trial: &Trial) -> Finding {
    let libc = |target: &Target| match target.linking {
        Linking::StaticMusl => "musl",
        Linking::StaticGlibc | Linking::Dynamic => "static glibc",
    };
    match trial {
        Trial::Runs(target) => Finding::good(
            "static binary",
            format!("{}: a program for {} links and runs", libc(target), target.triple),
        ),
        Trial::Fails { target, reason } => {
            let fix = match target.linking {
                Linking::StaticMusl => "sudo apt-get install -y musl-tools   (Debian, Ubuntu)",
                Linking::StaticGlibc | Linking::Dynamic => {
                    "sudo apt-get install -y libc6-dev   (Debian, Ubuntu), or: rustup target add \
                     x86_64-unknown-linux-musl && sudo apt-get install -y musl-tools"
                }
            };
            let said =
                format!("{}: a program for {} does not link or run: {reason}", libc(target), target.triple);
            Finding::bad("static binary", said, NO_STATIC).fix(fix)
        }
        Trial::NoTarget(reason) => {
            Finding::bad("static binary", reason, NO_STATIC).fix("rustup target add x86_64-unknown-linux-gnu")
        }
    }
}

/// Links a program like `flash build` does, and runs it: only this shows whether the C library has an archive.
async fn try_static(directory: &Path) -> Trial {
    let target = async {
        let platform = Platform::of_this_machine()
            .ok_or_else(|| format!("flash builds no images for {}", std::env::consts::ARCH))?;
        let toolchain = Toolchain::find(directory).await.map_err(|error| error.to_string())?;
        toolchain.static_target(platform).map_err(|error| error.to_string())
    };
    let target = match target.await {
        Ok(target) => target,
        Err(reason) => return Trial::NoTarget(reason),
    };
    match link_and_run(directory, &target).await {
        Ok(()) => Trial::Runs(target),
        Err(reason) => Trial::Fails { target, reason },
    }
}

async fn link_and_run(directory: &Path, target: &Target) -> Result<(), String> {
    let place = tempfile::TempDir::new().map_err(|error| error.to_string())?;
    let (source, program) = (place.path().join("trial.rs"), place.path().join("trial"));
    std::fs::write(&source, "fn main() {}\n").map_err(|error| error.to_string())?;
    let mut rustc = Command::new("rustc");
    rustc.arg(&source).arg("-o").arg(&program).args(["--target", &target.triple]).current_dir(directory);
    if target.linking == Linking::StaticGlibc {
        rustc.arg("-Ctarget-feature=+crt-static");
    }
    for command in [&mut rustc, &mut Command::new(&program)] {
        match ask(command).await {
            Answer::Said(_) => {}
            Answer::Failed(reason) => return Err(reason),
            Answer::Missing => return Err("the program is missing".to_owned()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    fn said(text: &str) -> Answer {
        Answer::Said(text.to_owned())
    }

    fn target(linking: Linking) -> Target {
        Target { triple: "x86_64-unknown-linux-gnu".to_owned(), linking }
    }

    #[test]
    fn a_rust_that_is_too_old_or_missing_is_told_with_what_gets_one() {
        assert_eq!(of_rustc(&said("rustc 1.95.0 (59807616e 2026-04-14)")).state, State::Good);
        assert_eq!(of_rustc(&said("rustc 2.0.0-nightly (abc)")).state, State::Good);
        let old = of_rustc(&said("rustc 1.75.0 (82e1608df 2023-12-21)"));
        assert_eq!((old.state, old.fix.as_deref()), (State::Bad, Some("rustup update stable")));
        assert!(old.said.contains(OLDEST), "{old:?}");
        for finding in [of_rustc(&Answer::Missing), of_cargo(&Answer::Missing)] {
            assert_eq!((finding.state, &*finding.said), (State::Bad, "not installed"));
            assert!(finding.fix.unwrap().contains("rustup.rs"));
        }
        let broken = of_linker(&Answer::Failed("no space left".to_owned()));
        assert!(broken.said.contains("no space left") && broken.fix.unwrap().contains("build-essential"));
    }

    #[test]
    fn a_static_program_that_does_not_link_says_which_library_is_missing() {
        assert_eq!(of_static_program(&Trial::Runs(target(Linking::StaticMusl))).state, State::Good);
        let reason = "cannot find -lc".to_owned();
        let finding = of_static_program(&Trial::Fails { target: target(Linking::StaticGlibc), reason });
        assert_eq!(finding.state, State::Bad);
        assert!(
            finding.said.contains("static glibc") && finding.said.contains("cannot find -lc"),
            "{finding:?}"
        );
        assert!(finding.fix.unwrap().contains("libc6-dev"));
        assert_eq!(of_static_program(&Trial::NoTarget("none".to_owned())).state, State::Bad);
    }

    #[tokio::test]
    async fn what_compiled_this_test_is_found() {
        let findings = findings(Path::new(".")).await;
        let names: Vec<_> = findings.iter().map(|finding| finding.name).collect();
        assert_eq!(names, ["cargo", "rustc", "C compiler", "static binary"]);
        assert!(findings[..3].iter().all(|finding| finding.state == State::Good), "{findings:?}");
    }
}

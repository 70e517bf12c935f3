//! Readers of what comes from outside, as functions of bytes: what fuzz targets run.
//!
//! Each reader registers itself beside its code with [`fuzz_target!`](crate::fuzz_target), so that private functions
//! are reached where they are. A target panics when a promise does not hold. `cargo xtask fuzz` searches for inputs
//! that make it; [`fuzz_tests!`](crate::fuzz_tests) runs a crate's targets on the inputs kept in `fuzz/corpus` and on
//! random ones.
use std::path::{Path, PathBuf};

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

/// A reader, and how to run it on any bytes.
#[derive(Debug)]
pub struct Target {
    /// As `fuzz/fuzz_targets` names it.
    pub name: &'static str,
    /// Panics when a promise does not hold for these bytes.
    pub run: fn(&[u8]),
}

inventory::collect!(Target);

/// Registers a function of bytes as the fuzz target with this name, in tests and under a fuzzer.
#[macro_export]
macro_rules! fuzz_target {
    ($name:literal, $run:expr) => {
        $crate::inventory::submit! { $crate::fuzz::Target { name: $name, run: $run } }
    };
}

/// Makes a module of tests that run all targets of this crate, whose names are listed.
#[macro_export]
macro_rules! fuzz_tests {
    ($($name:literal),+ $(,)?) => {
        #[cfg(test)]
        mod fuzz_tests {
            #[test]
            fn every_target_is_listed_and_has_inputs_to_start_from() {
                let names: Vec<&str> = $crate::fuzz::targets().iter().map(|target| target.name).collect();
                assert_eq!(names, [$($name),+]);
                $crate::fuzz::assert_searchable(&names);
            }

            #[test]
            fn every_kept_input_is_read_as_promised() {
                $crate::fuzz::targets().into_iter().for_each($crate::fuzz::run_kept);
            }

            #[test]
            fn random_inputs_are_read_as_promised() {
                $crate::fuzz::targets().into_iter().for_each($crate::fuzz::run_random);
            }
        }
    };
}

/// All targets of the crates that are linked, by name.
pub fn targets() -> Vec<&'static Target> {
    let mut all: Vec<&Target> = inventory::iter::<Target>.into_iter().collect();
    all.sort_by_key(|target| target.name);
    all
}

/// Runs a target.
///
/// # Panics
/// When a promise does not hold for these bytes, and when there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = targets().into_iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target `{name}`"));
    (target.run)(data);
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The inputs that are kept for a target: seeds, and what a search has found.
fn kept(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = directory().join("corpus").join(name);
    let files =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    files
        .map(|file| file.expect("the directory can be read").path())
        .map(|path| (path.clone(), std::fs::read(path).expect("a kept input can be read")))
        .collect()
}

/// Checks that `cargo xtask fuzz` can search with these targets.
///
/// # Panics
/// When one has no program in `fuzz/fuzz_targets` or no kept input.
pub fn assert_searchable(names: &[&str]) {
    for name in names {
        let program = directory().join("fuzz_targets").join(format!("{name}.rs"));
        assert!(program.is_file(), "{} is missing", program.display());
        assert!(!kept(name).is_empty(), "fuzz/corpus/{name} has no inputs");
    }
}

/// Runs a target on its kept inputs.
///
/// # Panics
/// When a promise does not hold for one of them.
pub fn run_kept(target: &Target) {
    for (path, input) in kept(target.name) {
        let outcome = std::panic::catch_unwind(|| (target.run)(&input));
        assert!(outcome.is_ok(), "{}", path.display());
    }
}

/// Runs a target on random bytes, and on kept inputs with a part replaced by random bytes.
///
/// # Panics
/// When a promise does not hold for one of them.
pub fn run_random(target: &Target) {
    let seeds: Vec<Vec<u8>> = kept(target.name).into_iter().map(|(_, input)| input).collect();
    let inputs =
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..16_usize, vec(any::<u8>(), 0..64));
    // The same each time: to search for others is what `cargo xtask fuzz` does.
    let outcome = TestRunner::deterministic().run(&inputs, |(seed, at, cut, bytes)| {
        let seed = seed.get(&seeds);
        let start = at.index(seed.len() + 1);
        let end = (start + cut).min(seed.len());
        (target.run)(&[&seed[..start], &bytes, &seed[end..]].concat());
        (target.run)(&bytes);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{}: {error}", target.name));
}

//! Readers of what comes from outside, as functions of bytes: what fuzz targets run.
//!
//! Each reader registers itself beside its code with `fuzz_target!`, so that private functions are
//! reached where they are. A target panics when a promise does not hold. `cargo xtask fuzz` searches for inputs that
//! make it; the unit tests here run every target on the inputs kept in `fuzz/corpus` and on random ones.

/// A reader, and how to run it on any bytes.
#[derive(Debug)]
pub struct Target {
    /// As `fuzz/fuzz_targets` names it.
    pub name: &'static str,
    /// Panics when a promise does not hold for these bytes.
    pub run: fn(&[u8]),
}

inventory::collect!(Target);

/// All targets, by name.
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

mod wire;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

    use super::*;

    fn directory() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
    }

    /// The inputs that are kept for a target: seeds, and what a search has found.
    fn kept(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let directory = directory().join("corpus").join(name);
        let files =
            std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        files
            .map(|file| file.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect()
    }

    #[test]
    fn every_target_can_be_searched_and_has_inputs_to_start_from() {
        let programs = std::fs::read_dir(directory().join("fuzz_targets")).unwrap();
        let mut programs: Vec<String> = programs
            .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        programs.sort();
        let names: Vec<&str> = targets().iter().map(|target| target.name).collect();
        assert_eq!(programs, names);
        for name in names {
            assert!(!kept(name).is_empty(), "fuzz/corpus/{name} has no inputs");
        }
    }

    #[test]
    fn every_kept_input_is_read_as_promised() {
        for target in targets() {
            for (path, input) in kept(target.name) {
                let outcome = std::panic::catch_unwind(|| (target.run)(&input));
                assert!(outcome.is_ok(), "{}", path.display());
            }
        }
    }

    /// Random bytes, and kept inputs with a part replaced by random bytes.
    #[test]
    fn random_inputs_are_read_as_promised() {
        for target in targets() {
            let seeds: Vec<Vec<u8>> = kept(target.name).into_iter().map(|(_, input)| input).collect();
            let inputs = (
                any::<prop::sample::Index>(),
                any::<prop::sample::Index>(),
                0..16_usize,
                vec(any::<u8>(), 0..64),
            );
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
    }
}

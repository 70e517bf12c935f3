//! A CUDA toolkit, for building GPU worker types. No GPU is needed for that.
use std::path::PathBuf;

use super::Finding;
use crate::builder::cuda::{CudaError, CudaHome, Search};

const NAME: &str = "CUDA toolkit";
const FOR: &str = "flash build --gpu compiles with it; without it, GPU worker types run on the CPU";

pub(super) async fn finding(configured: Option<PathBuf>) -> Finding {
    // Runs the compiler to query its version.
    let found = tokio::task::spawn_blocking(|| CudaHome::find(&Search::here(configured))).await;
    match found {
        Ok(found) => of_home(found.as_ref()),
        Err(error) => Finding::note(NAME, format!("could not search for it: {error}"), FOR),
    }
}

fn of_home(found: Result<&CudaHome, &CudaError>) -> Finding {
    match found {
        Ok(home) => {
            let capabilities: Vec<String> = home.capabilities().iter().map(ToString::to_string).collect();
            Finding::good(
                NAME,
                format!("{} in {}, for {}", home.version(), home.root().display(), capabilities.join(" ")),
            )
        }
        Err(error) => Finding::note(NAME, flash_text::error_chain(error), FOR).fix(error.hint()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn without_a_toolkit_the_recipe_is_told() {
        let finding = of_home(Err(&CudaError::NotFound { searched: vec![PathBuf::from("/usr/local/cuda")] }));
        assert_eq!(finding.state, State::Note, "flash run and CPU builds work without");
        assert!(finding.fix.unwrap().contains("pip install"));
    }
}

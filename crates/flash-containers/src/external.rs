//! Images that were built elsewhere: found in an engine's store, or fetched from their registry.
use super::{
    Engine, EngineError, PullProblem,
    invoke::{IMPORT, QUESTION},
};

/// What registries and engines say of an image that does not exist, in lower case.
const NOT_FOUND: [&str; 5] =
    ["manifest unknown", "name unknown", "not found", "no such image", "repository name not known"];
/// And of one that they do not give to everybody. Docker Hub says it of both.
const DENIED: [&str; 4] = ["unauthorized", "authentication required", "denied", "forbidden"];

/// An image in the store.
struct Inspected {
    id: String,
    /// Such as `linux/amd64`.
    platform: String,
}

/// The ID of an image in the engine's store; an image that is not there is pulled first, with the logins of the engine.
/// An image that is there is taken as it is, also if its tag is for another one by now. `began` is called before a
/// pull.
///
/// # Errors
/// When the image cannot be pulled, and when it is for another platform.
pub async fn obtain(engine: &Engine, image: &str, began: impl FnOnce()) -> Result<String, EngineError> {
    let found = match inspect(engine, image).await {
        Ok(found) => found,
        // The answer for an image that is not there; for anything else, the pull says what is wrong.
        Err(EngineError::Failed { .. }) => {
            began();
            let pulled = engine.ask_in(&engine.pull(image), None, IMPORT).await;
            pulled.map_err(|error| not_pulled(image, error))?;
            inspect(engine, image).await?
        }
        Err(error) => return Err(error),
    };
    let wanted = format!("linux/{}", architecture_of_this_machine());
    if found.platform != wanted {
        return Err(EngineError::Platform { image: image.to_owned(), has: found.platform, wanted });
    }
    Ok(found.id)
}

async fn inspect(engine: &Engine, image: &str) -> Result<Inspected, EngineError> {
    let answer = engine.ask_in(&engine.inspect_image(image), None, QUESTION).await?;
    let (id, platform) = answer.trim().split_once(' ').unwrap_or((answer.trim(), ""));
    Ok(Inspected { id: id.to_owned(), platform: platform.to_owned() })
}

fn not_pulled(image: &str, error: EngineError) -> EngineError {
    match error {
        EngineError::Failed { reason, .. } => {
            EngineError::Pull { image: image.to_owned(), problem: problem_of(&reason), reason }
        }
        error => error,
    }
}

fn problem_of(reason: &str) -> PullProblem {
    let reason = reason.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    match () {
        () if has(&DENIED) => PullProblem::Denied,
        () if has(&NOT_FOUND) => PullProblem::NotFound,
        () => PullProblem::Other,
    }
}

/// As images name it.
fn architecture_of_this_machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_say_is_told_apart() {
        for (reason, problem) in [
            (
                "initializing source docker://127.0.0.1:5000/a:1: reading manifest 1 in 127.0.0.1:5000/a: \
                 manifest unknown",
                PullProblem::NotFound,
            ),
            ("unable to retrieve auth token: invalid username/password: unauthorized", PullProblem::Denied),
            (
                "Error response from daemon: pull access denied for a, repository does not exist or may \
                 require 'docker login'",
                PullProblem::Denied,
            ),
            ("dial tcp 127.0.0.1:5000: connect: connection refused", PullProblem::Other),
        ] {
            assert_eq!(problem_of(reason), problem, "{reason}");
        }
    }
}

//! What a cluster refuses and how it fails, in words.
use flash_target::{Problem, TargetError};
use flash_text::error_chain;

/// The cluster's own words, or what happened on the way to it.
pub(crate) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        other => error_chain(other),
    }
}

/// An error while something was done, such as `cannot apply the role`.
pub(crate) fn failed(doing: &str, error: &kube::Error) -> TargetError {
    let (problem, hint) = match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            (Problem::Refused, "ask an administrator of the cluster for this right, or use another context")
        }
        kube::Error::Api(_) => {
            (Problem::Failed, "see what is there: kubectl get all -l app.kubernetes.io/managed-by=flash")
        }
        _ => (Problem::Unreachable, "check that `kubectl get pods` succeeds with the same context"),
    };
    TargetError::new(problem, doing.to_owned()).because(words(error)).hint(hint)
}

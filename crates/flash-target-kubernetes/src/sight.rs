//! What a pod's status means for its worker. Decides only.
use flash_platform::{PodEnd, Wait};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateWaiting, Pod, PodStatus};

/// A look at a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It has no place yet, or its image is on its way: why, for people.
    Waits(Wait),
    /// Nothing to say: it is being placed, or it runs.
    Fine,
    /// It cannot start: why, for people.
    Hopeless(String),
    /// It is over.
    Ended(PodEnd),
}

/// What this pod's status says. `last_pull` is what an earlier one has said of the image.
pub(crate) fn look(pod: &Pod, last_pull: Option<&str>) -> Sight {
    let Some(status) = &pod.status else { return Sight::Fine };
    let state = container_state(status);
    if let Some("Succeeded" | "Failed") = status.phase.as_deref() {
        return Sight::Ended(end(status, state));
    }
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        return of_waiting(pod, waiting, last_pull);
    }
    unschedulable(status)
        .map_or(Sight::Fine, |message| Sight::Waits(Wait::Place(format!("waits for a node: {message}"))))
}

fn container_state(status: &PodStatus) -> Option<&ContainerState> {
    status.container_statuses.as_ref()?.first()?.state.as_ref()
}

fn end(status: &PodStatus, state: Option<&ContainerState>) -> PodEnd {
    let terminated = state.and_then(|state| state.terminated.as_ref());
    let code = terminated.map(|terminated| terminated.exit_code);
    let told =
        |reason: &Option<String>, message: &Option<String>| match (reason.as_deref(), message.as_deref()) {
            (Some("OOMKilled"), _) => Some("over its memory".to_owned()),
            (Some("Evicted"), message) => {
                Some(format!("evicted: {}", message.unwrap_or("the node says no more")))
            }
            (Some("Completed" | "Error") | None, None | Some("")) => None,
            (Some(reason), None | Some("")) => Some(reason.to_owned()),
            (Some("Completed" | "Error") | None, Some(message)) => Some(message.to_owned()),
            (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        };
    // What the node says of the pod is the cause of what happened to its container.
    let reason = told(&status.reason, &status.message)
        .or_else(|| terminated.and_then(|terminated| told(&terminated.reason, &terminated.message)));
    PodEnd { code, reason }
}

/// Why its container does not run yet.
fn of_waiting(pod: &Pod, waiting: &ContainerStateWaiting, last_pull: Option<&str>) -> Sight {
    let message = waiting.message.as_deref().unwrap_or_default();
    let image = image_of(pod);
    let secrets = pull_secrets(pod);
    match waiting.reason.as_deref() {
        // The next attempt may succeed.
        Some("ErrImagePull") => Sight::Waits(Wait::Other(format!("waits for its image {image}: {message}"))),
        Some("ImagePullBackOff") => {
            let said = last_pull.unwrap_or(message);
            Sight::Hopeless(format!("its image {image} cannot be pulled{secrets}: {said}"))
        }
        Some(reason @ ("InvalidImageName" | "ErrImageNeverPull")) => {
            Sight::Hopeless(format!("its image {image} cannot be pulled: {reason}: {message}"))
        }
        Some(
            reason @ ("CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "StartError"),
        ) => Sight::Hopeless(format!("its container cannot start: {reason}: {message}")),
        // Only a platform is started again by its node; it would not end if it could work.
        Some("CrashLoopBackOff") => Sight::Hopeless("it ends each time that it is started".to_owned()),
        _ => Sight::Fine,
    }
}

/// What a status says of a pull that failed, to be remembered: the next status only says that there was one.
pub(crate) fn failed_pull(pod: &Pod) -> Option<String> {
    let waiting = container_state(pod.status.as_ref()?)?.waiting.as_ref()?;
    let is_pull = waiting.reason.as_deref() == Some("ErrImagePull");
    waiting.message.clone().filter(|_| is_pull)
}

fn image_of(pod: &Pod) -> &str {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    container.and_then(|container| container.image.as_deref()).unwrap_or_default()
}

fn pull_secrets(pod: &Pod) -> String {
    let secrets = pod.spec.as_ref().and_then(|spec| spec.image_pull_secrets.as_ref());
    let names: Vec<String> =
        secrets.into_iter().flatten().map(|secret| format!("`{}`", secret.name)).collect();
    match names.is_empty() {
        true => " without a pull secret".to_owned(),
        false => format!(" with the pull secret {}", names.join(", ")),
    }
}

fn unschedulable(status: &PodStatus) -> Option<&str> {
    let condition = status.conditions.as_ref()?.iter().find(|condition| condition.type_ == "PodScheduled")?;
    let is_open = condition.status == "False";
    condition.message.as_deref().filter(|_| is_open)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        let pod = json!({
            "spec": { "containers": [{ "name": "worker", "image": "r/i@sha256:1" }],
                      "imagePullSecrets": [{ "name": "ours" }] },
            "status": status,
        });
        serde_json::from_value(pod).unwrap()
    }

    fn waiting(reason: &str, message: &str) -> Pod {
        let state = json!({ "waiting": { "reason": reason, "message": message } });
        pod(&json!({ "phase": "Pending", "containerStatuses": [container(&state)] }))
    }

    fn container(state: &Value) -> Value {
        json!({ "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state })
    }

    #[test]
    fn what_keeps_a_pod_from_starting_is_said_in_words() {
        let unschedulable = pod(&json!({ "phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        }] }));
        assert_eq!(
            look(&unschedulable, None),
            Sight::Waits(Wait::Place(
                "waits for a node: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.".to_owned()
            ))
        );
        let pull = waiting("ErrImagePull", "manifest unknown");
        assert_eq!(failed_pull(&pull).as_deref(), Some("manifest unknown"));
        assert!(matches!(look(&pull, None), Sight::Waits(Wait::Other(_))));
        let given_up = waiting("ImagePullBackOff", "Back-off pulling image");
        assert_eq!(
            look(&given_up, Some("manifest unknown")),
            Sight::Hopeless(
                "its image r/i@sha256:1 cannot be pulled with the pull secret `ours`: manifest unknown"
                    .to_owned()
            )
        );
        assert_eq!(look(&waiting("ContainerCreating", ""), None), Sight::Fine);
    }

    #[test]
    fn the_end_of_a_pod_is_told_with_its_cause() {
        let ended = |status: Value| match look(&pod(&status), None) {
            Sight::Ended(end) => (end.code, end.reason),
            other => panic!("{other:?}"),
        };
        let terminated = |code: i32, reason: &str| {
            container(&json!({ "terminated": { "exitCode": code, "reason": reason } }))
        };
        assert_eq!(
            ended(json!({ "phase": "Failed", "containerStatuses": [terminated(137, "OOMKilled")] })),
            (Some(137), Some("over its memory".to_owned()))
        );
        assert_eq!(
            ended(json!({ "phase": "Succeeded", "containerStatuses": [terminated(0, "Completed")] })),
            (Some(0), None)
        );
        assert_eq!(
            ended(
                json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on memory." })
            ),
            (None, Some("evicted: The node was low on memory.".to_owned()))
        );
        assert_eq!(
            ended(json!({ "phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no GPU" })),
            (None, Some("UnexpectedAdmissionError: no GPU".to_owned()))
        );
    }
}

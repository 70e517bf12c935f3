//! Container engines: only for running images, never for building them.
use tokio::process::Command;

use super::{
    Finding,
    probe::{Answer, ask},
};

const FOR: &str =
    "podman or docker runs flash run --image and worker types with `image`; everything else works without";

/// An engine, and a command that only works if the engine does.
struct Engine {
    name: &'static str,
    works: &'static [&'static str],
    install: &'static str,
}

const ENGINES: [Engine; 2] = [
    Engine {
        name: "podman",
        works: &["info", "--format", "{{.Version.Version}}"],
        install: "sudo apt-get install -y podman   (Debian, Ubuntu)",
    },
    Engine {
        name: "docker",
        // Its service must answer, and this user needs access.
        works: &["version", "--format", "{{.Server.Version}}"],
        install: "https://docs.docker.com/engine/install",
    },
];

pub(super) async fn findings() -> Vec<Finding> {
    let mut answers = Vec::new();
    for engine in &ENGINES {
        answers.push((engine, ask(Command::new(engine.name).args(engine.works)).await));
    }
    of_engines(&answers)
}

/// One working engine is enough: then the other's absence is not reported.
fn of_engines(answers: &[(&'static Engine, Answer)]) -> Vec<Finding> {
    if answers.iter().all(|(_, answer)| *answer == Answer::Missing) {
        let install = answers.first().map_or("", |(engine, _)| engine.install);
        return vec![Finding::note("containers", "neither podman nor docker is installed", FOR).fix(install)];
    }
    let one_works = answers.iter().any(|(_, answer)| answer.said().is_some());
    answers
        .iter()
        .filter_map(|(engine, answer)| match answer {
            Answer::Said(version) => Some(Finding::good(engine.name, format!("version {version}"))),
            Answer::Missing => None,
            Answer::Failed(_) if one_works => None,
            Answer::Failed(reason) => {
                let command = format!("{} {}", engine.name, engine.works[0]);
                let finding =
                    Finding::note(engine.name, format!("installed, but does not work: {reason}"), FOR);
                Some(finding.fix(format!("`{command}` must work for this user")))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    fn of(podman: Answer, docker: Answer) -> Vec<(&'static str, State)> {
        let findings = of_engines(&[(&ENGINES[0], podman), (&ENGINES[1], docker)]);
        findings.iter().map(|finding| (finding.name, finding.state)).collect()
    }

    #[test]
    fn one_engine_that_works_is_enough() {
        let works = || Answer::Said("4.3.1".to_owned());
        let fails = || Answer::Failed("permission denied".to_owned());
        assert_eq!(of(works(), Answer::Missing), [("podman", State::Good)]);
        assert_eq!(of(fails(), works()), [("docker", State::Good)]);
        assert_eq!(of(works(), works()), [("podman", State::Good), ("docker", State::Good)]);
        assert_eq!(of(Answer::Missing, fails()), [("docker", State::Note)]);
        assert_eq!(of(Answer::Missing, Answer::Missing), [("containers", State::Note)]);
    }

    #[test]
    fn an_engine_that_refuses_tells_why() {
        let refusal = Answer::Failed("permission denied while trying to connect".to_owned());
        let findings = of_engines(&[(&ENGINES[0], Answer::Missing), (&ENGINES[1], refusal)]);
        assert!(findings[0].said.contains("permission denied"), "{findings:?}");
        assert_eq!(findings[0].fix.as_deref(), Some("`docker version` must work for this user"));
    }
}

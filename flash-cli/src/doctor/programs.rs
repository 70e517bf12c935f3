//! The programs that worker types need beside the app: `needs` in `flash.toml`.
use super::{Finding, Project};
use crate::project;

const NAME: &str = "programs";
const FOR: &str = "flash run and deployments on this machine: functions that start it fail";

/// One for each worker type that needs any.
pub(super) fn findings(project: &Project) -> Vec<Finding> {
    let variables = project::load_dotenv(&project.directory).unwrap_or_default();
    let path = project::search_path(variables.iter().map(|(name, value)| (name, value)));
    let lacking = project::lacking(project.config.needs(), &project.directory, path.as_deref());
    let finding =
        |(worker, programs): (&str, &[String])| match lacking.iter().find(|one| one.worker == worker) {
            Some(lacking) => Finding::note(NAME, lacking.to_string(), FOR)
                .fix("install it, or run the worker's image: flash build && flash run --image"),
            None => {
                let place = |name: &String| project::find(name, &project.directory, path.as_deref());
                let places: Vec<String> =
                    programs.iter().filter_map(place).map(|place| place.display().to_string()).collect();
                Finding::good(NAME, format!("`{worker}` has {}", places.join(", ")))
            }
        };
    project.config.needs().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{doctor::State, project::Config};

    #[test]
    fn each_worker_type_with_needs_is_found_fit_or_not() {
        let text = "[build.workers.a]\nneeds = [\"/bin/sh\"]\n[build.workers.b]\nneeds = [\"/no/such/tool\"]\n\
                    [build.workers.c]\n";
        let config = Config::parse(text, Path::new("flash.toml")).unwrap();
        let project = Project { directory: "/".into(), package: None, config };
        let found = findings(&project);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].state, &*found[0].said), (State::Good, "`a` has /bin/sh"));
        assert_eq!(found[1].state, State::Note);
        assert_eq!(found[1].said, "`b` needs `/no/such/tool`, not found on this machine");
    }
}

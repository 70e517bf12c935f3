//! The variables that `flash run` itself reads.

/// A variable of the environment, else of `.env`; an empty one counts as unset.
pub(super) fn variable(name: &str, dotenv: &[(String, String)]) -> Option<String> {
    let from_file = || dotenv.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    std::env::var(name).ok().or_else(from_file).filter(|value| !value.is_empty())
}

/// The variables that turn traces on.
const TRACES: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// The variable that turns traces on for workers alone, because only `.env` has it: the platform's exporter reads its
/// process's environment.
pub(super) fn traces_of_workers_only(dotenv: &[(String, String)]) -> Option<&'static str> {
    let is_set = |value: &str| !value.trim().is_empty();
    let is_in_file = |name: &&str| dotenv.iter().any(|(own, value)| own == *name && is_set(value));
    let is_in_environment = |name: &&str| std::env::var(name).is_ok_and(|value| is_set(&value));
    if TRACES.iter().any(is_in_environment) {
        return None;
    }
    TRACES.iter().find(|name| is_in_file(name)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_that_only_a_file_turns_on_are_those_of_workers() {
        let dotenv = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(traces_of_workers_only(&[]), None);
        assert_eq!(traces_of_workers_only(&dotenv(TRACES[0], " ")), None);
        assert_eq!(traces_of_workers_only(&dotenv("OTEL_SERVICE_NAME", "x")), None);
        assert_eq!(traces_of_workers_only(&dotenv(TRACES[1], "http://localhost:4318")), Some(TRACES[1]));
    }
}

//! The variables that `flash run` itself reads.

/// A variable of the environment, else of `.env`; an empty one counts as unset.
pub(super) fn variable(name: &str, dotenv: &[(String, String)]) -> Option<String> {
    let from_file = || dotenv.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    std::env::var(name).ok().or_else(from_file).filter(|value| !value.is_empty())
}

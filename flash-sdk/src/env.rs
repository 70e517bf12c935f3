//! The variables that a user's functions need.
/// The value of a variable that the app needs, such as a key that was stored with `flash secret set`.
///
/// ```no_run
/// # fn run() -> flash_sdk::Result<()> {
/// let key = flash_sdk::env("HF_TOKEN")?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the variable is unset, empty or not UTF-8. The error names the variable and says how to set it; it never
/// contains the value.
pub fn env(name: &str) -> flash_protocol::Result<String> {
    let problem = match std::env::var(name) {
        Ok(value) if !value.is_empty() => return Ok(value),
        Ok(_) => "is empty",
        Err(std::env::VarError::NotPresent) => "is not set",
        Err(std::env::VarError::NotUnicode(_)) => "is not valid UTF-8",
    };
    Err(flash_protocol::Error::handler(format!(
        "the environment variable `{name}` {problem}: for `flash run`, write `{name}=…` into `.env`; for a deployment, run \
         `flash secret set ENVIRONMENT {name}`"
    )))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_missing_variable_is_named_with_the_way_to_set_it() {
        let error = crate::env("FLASH_TEST_NO_SUCH_VARIABLE").unwrap_err();
        for part in [
            "`FLASH_TEST_NO_SUCH_VARIABLE` is not set",
            "`.env`",
            "flash secret set ENVIRONMENT FLASH_TEST_NO_SUCH_VARIABLE",
        ] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
        assert!(!crate::env("PATH").unwrap().is_empty());
    }
}

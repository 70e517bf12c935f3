//! Environments that a call names: `f::at("production")`.
use std::sync::OnceLock;

use flash_protocol::{
    Error, ErrorKind, Result,
    credentials::{Credentials, CredentialsError, EnvironmentCredentials},
    variables,
};

use super::directory::{Endpoints, credential_file};

/// The name of this app, which finds its environments in the credential file.
static APP: OnceLock<String> = OnceLock::new();

/// Sets the name of this app. Only the first call has an effect.
pub(crate) fn name_app(name: &str) {
    let _ = APP.set(name.to_owned());
}

/// Looks up an environment by its URL or name.
///
/// # Errors
/// [`ErrorKind::NotFound`] with what to do, if it is not known.
pub(super) fn find_environment(name: &str) -> Result<Found> {
    find(name, APP.get().map(String::as_str), variables::get, Credentials::load)
}

/// Where an environment is.
pub(super) struct Found {
    pub endpoints: Endpoints,
    pub key: Option<String>,
    /// The end of the message "no endpoint for …".
    pub source: String,
}

/// Looks up a URL, the variables of an environment, or the credential file, in this order.
fn find(
    name: &str,
    app: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
    credentials: impl FnOnce() -> Result<Credentials, CredentialsError>,
) -> Result<Found> {
    let own_key = || variable(variables::API_KEY);
    if name.contains("://") {
        let endpoints = Endpoints::Below(name.trim_end_matches('/').to_owned());
        return Ok(Found { endpoints, key: own_key(), source: format!("{name} is not its address") });
    }
    let of = |what| variables::of_environment(name, what);
    let (listed, below) = (of("ENDPOINTS"), of("URL"));
    let endpoints = match (variable(&listed), variable(&below)) {
        (Some(text), _) => {
            let parsed = Endpoints::parse(&text, &listed).map_err(|problem| Error::from(*problem))?;
            Some((parsed, format!("{listed} does not list it")))
        }
        (None, Some(url)) => {
            let url = url.trim_end_matches('/').to_owned();
            Some((Endpoints::Below(url), format!("{below} is not its address")))
        }
        (None, None) => None,
    };
    if let Some((endpoints, source)) = endpoints {
        let key = variable(&of("KEY")).or_else(own_key);
        return Ok(Found { endpoints, key, source });
    }
    let credentials = credentials()
        .map_err(|error| Error::from(error).context(format!("could not look up environment `{name}`")))?;
    let known = in_file(&credentials, name, app)?;
    let source = format!("the release in `{name}` has no such worker type");
    let key = Some(known.key.clone()).filter(|key| !key.is_empty());
    Ok(Found { endpoints: Endpoints::Listed(known.endpoints.clone().into_iter().collect()), key, source })
}

/// `APP/NAME`, or `NAME` of this app, or else of the only app that has it.
fn in_file<'a>(
    credentials: &'a Credentials,
    name: &str,
    app: Option<&str>,
) -> Result<&'a EnvironmentCredentials> {
    let not_found = |message: String| Error::new(ErrorKind::NotFound, message);
    let (app, environment) = match name.split_once('/') {
        Some((app, environment)) => (Some(app), environment),
        None => (app.filter(|app| credentials.environment(app, name).is_some()), name),
    };
    let holders: Vec<&str> = match app {
        Some(app) => vec![app],
        None => {
            let all = credentials.environments.iter();
            all.filter(|(_, known)| known.contains_key(environment)).map(|(app, _)| app.as_str()).collect()
        }
    };
    let known = match holders.as_slice() {
        [only] => credentials.environment(only, environment),
        [] => None,
        several => {
            let names: Vec<String> = several.iter().map(|app| format!("`{app}/{environment}`")).collect();
            return Err(not_found(format!(
                "several apps have an environment `{environment}`: name one, {}",
                names.join(" or ")
            )));
        }
    };
    match known {
        Some(known) if !known.endpoints.is_empty() => Ok(known),
        _ => Err(not_found(format!(
            "environment `{name}` is not known: {} has no endpoints of it. Deploy it with `flash deploy send \
             {environment}`, or set {} to the address of its service, such as http://HOST:PORT, or {} to a JSON \
             object of worker type to URL",
            credential_file(),
            variables::of_environment(name, "URL"),
            variables::of_environment(name, "ENDPOINTS"),
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as the reader of the file answers")]
    fn file() -> Result<Credentials, CredentialsError> {
        let at = |app: &str, key: &str| {
            let endpoints = BTreeMap::from([("w".to_owned(), format!("http://{app}/v2/w"))]);
            EnvironmentCredentials { key: key.to_owned(), url: None, endpoints }
        };
        let shop = BTreeMap::from([
            ("production".to_owned(), at("shop", "s")),
            ("canary".to_owned(), at("canary", "c")),
            ("empty".to_owned(), EnvironmentCredentials::default()),
        ]);
        let bank = BTreeMap::from([("production".to_owned(), at("bank", "b"))]);
        let environments = BTreeMap::from([("shop".to_owned(), shop), ("bank".to_owned(), bank)]);
        Ok(Credentials { version: 1, environments })
    }

    fn found(name: &str, app: Option<&str>, set: &[(&str, &str)]) -> Result<(String, Option<String>)> {
        let variable =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let found = find(name, app, variable, file)?;
        let url = found.endpoints.jobs("w").map(|url| url.into_owned()).unwrap_or_default();
        Ok((url, found.key))
    }

    fn is(url: &str, key: Option<&str>) -> (String, Option<String>) {
        (url.to_owned(), key.map(str::to_owned))
    }

    #[test]
    fn a_name_is_one_of_this_app_or_else_of_the_only_app_that_has_it() {
        assert_eq!(found("production", Some("bank"), &[]).unwrap(), is("http://bank/v2/w", Some("b")));
        assert_eq!(found("canary", Some("bank"), &[]).unwrap(), is("http://canary/v2/w", Some("c")));
        assert_eq!(found("shop/production", Some("bank"), &[]).unwrap(), is("http://shop/v2/w", Some("s")));
        let several = found("production", None, &[]).unwrap_err();
        assert!(several.message().contains("`bank/production` or `shop/production`"), "{several}");
    }

    #[test]
    fn a_url_is_the_address_of_a_service_and_variables_win_over_the_file() {
        let key = ("FLASH_API_KEY", "mine");
        assert_eq!(found("http://h:1/", None, &[key]).unwrap(), is("http://h:1/v2/w", Some("mine")));
        let url = ("FLASH_ENVIRONMENT_SHOP_PRODUCTION_URL", "http://u");
        assert_eq!(found("shop/production", None, &[url]).unwrap(), is("http://u/v2/w", None));
        let own = ("FLASH_ENVIRONMENT_EU_WEST_KEY", "its");
        let listed = ("FLASH_ENVIRONMENT_EU_WEST_ENDPOINTS", r#"{"w":"http://l/w"}"#);
        assert_eq!(found("eu-west", None, &[listed, own, key]).unwrap(), is("http://l/w", Some("its")));
        let damaged = ("FLASH_ENVIRONMENT_EU_WEST_ENDPOINTS", "[]");
        let error = found("eu-west", None, &[damaged]).unwrap_err();
        assert!(error.message().contains(damaged.0), "{error}");
    }

    #[test]
    fn what_is_not_known_is_named_with_the_file_and_what_to_do() {
        for name in ["staging", "empty"] {
            let error = found(name, Some("shop"), &[]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            let url = format!("FLASH_ENVIRONMENT_{}_URL", name.to_uppercase());
            for part in ["credentials.json", &format!("flash deploy send {name}"), &url] {
                assert!(error.message().contains(part), "{part}: {error}");
            }
        }
    }
}

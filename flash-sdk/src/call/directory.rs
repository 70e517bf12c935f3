//! Where the app's functions run, according to environment variables.
use std::{borrow::Cow, collections::HashMap};

use flash_protocol::{
    Error, ErrorKind, WireError,
    credentials::{Credentials, CredentialsError, EnvironmentCredentials, directory},
    variables,
};

/// What this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Process {
    /// A worker of this type. Its platform decides how other worker types are reached, so it ignores `FLASH_ENV`.
    Worker(String),
    /// The `main` of this app.
    Main { app: String },
    /// Anything else: a test, or a program without `#[flash_sdk::main]`.
    Other,
}

/// Why functions cannot be reached. Boxed, because it is rare.
pub(super) type Problem = Box<WireError>;

/// Worker types with their base URLs, and the key for them.
pub(super) struct Directory {
    /// The base URLs, or why they are not known. The error is reported at the first call, because a program may make
    /// none.
    pub endpoints: Result<HashMap<String, String>, Problem>,
    pub key: Option<String>,
    /// The end of an error message: where the endpoint was looked up.
    pub source: String,
}

/// The base URLs of worker types.
pub(super) enum Endpoints {
    /// By worker type.
    Listed(HashMap<String, String>),
    /// Of a Flash service, which has all worker types below this URL.
    Below(String),
}

impl Endpoints {
    /// Reads the value of this variable.
    pub(super) fn parse(text: &str, variable: &str) -> Result<Self, Problem> {
        parse(text, variable).map(Self::Listed)
    }

    /// Where a worker type takes jobs.
    pub(super) fn jobs(&self, worker: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Listed(urls) => urls.get(worker).map(|url| Cow::Borrowed(url.as_str())),
            Self::Below(service) => Some(Cow::Owned(format!("{service}/v2/{worker}"))),
        }
    }

    /// Where the routes of a worker type are.
    pub(super) fn routes(&self, worker: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Listed(_) => self.jobs(worker),
            Self::Below(service) => Some(Cow::Owned(format!("{service}/{worker}"))),
        }
    }
}

/// The path of the credential file, for messages.
pub(super) fn credential_file() -> String {
    directory().map_or_else(
        || "the credential file".to_owned(),
        |directory| Credentials::path(&directory).display().to_string(),
    )
}

/// The environment variables that decide.
pub(super) struct Variables {
    pub endpoints: Option<String>,
    pub environment: Option<String>,
    pub api_key: Option<String>,
    pub runpod_api_key: Option<String>,
}

impl Variables {
    pub(super) fn read() -> Self {
        Self {
            endpoints: variables::get(variables::ENDPOINTS),
            environment: variables::get(variables::ENV),
            api_key: variables::get(variables::API_KEY),
            runpod_api_key: variables::get(variables::RUNPOD_API_KEY),
        }
    }
}

/// Where functions run; `None` if they run in this process.
pub(super) fn directory_of(
    process: &Process,
    variables: Variables,
    credentials: impl FnOnce() -> Result<Credentials, CredentialsError>,
) -> Option<Directory> {
    let Variables { endpoints, environment, api_key, runpod_api_key } = variables;
    let endpoints = endpoints.map(|text| parse(&text, variables::ENDPOINTS));
    let (Process::Main { app }, Some(name)) = (process, environment) else {
        return Some(Directory {
            endpoints: endpoints?,
            key: runpod_api_key,
            source: format!("{} does not list it", variables::ENDPOINTS),
        });
    };
    let known = environment_of(app, &name, credentials);
    let from_file = known.as_ref().ok().map(|known| known.key.clone()).filter(|key| !key.is_empty());
    Some(match endpoints {
        // The key in the file is for the addresses in the file.
        Some(endpoints) => Directory {
            endpoints,
            key: api_key.or(runpod_api_key),
            source: format!("{} does not list it", variables::ENDPOINTS),
        },
        None => Directory {
            endpoints: known.map(|known| known.endpoints.into_iter().collect()),
            key: api_key.or(from_file),
            source: format!(
                "the release in `{name}` has no such worker type; deploy this version with `flash deploy send \
                 {name}`"
            ),
        },
    })
}

fn parse(text: &str, variable: &str) -> Result<HashMap<String, String>, Problem> {
    serde_json::from_str(text).map_err(|error| {
        let message = format!("{variable} is not a JSON object that maps worker types to URLs: {error}");
        Box::new(WireError::new(ErrorKind::Transport, message))
    })
}

fn environment_of(
    app: &str,
    name: &str,
    credentials: impl FnOnce() -> Result<Credentials, CredentialsError>,
) -> Result<EnvironmentCredentials, Problem> {
    let credentials = credentials().map_err(|error| {
        let error = Error::from(error)
            .context(format!("could not look up the environment of {}={name}", variables::ENV));
        let mut error = error.into_wire();
        error.kind = ErrorKind::NotFound;
        Box::new(error)
    })?;
    let file = credential_file();
    let hint = format!("flash deploy send {name}");
    match credentials.environment(app, name) {
        None => {
            let message = format!(
                "{}={name}, but {file} has no environment `{name}` of `{app}`: deploy it with `{hint}`, or set {}",
                variables::ENV,
                variables::ENDPOINTS
            );
            Err(Box::new(WireError::new(ErrorKind::NotFound, message)))
        }
        Some(known) if known.endpoints.is_empty() => {
            let message = format!(
                "{}={name}, but {file} has no endpoint for it: deploy a release with `{hint}`",
                variables::ENV
            );
            Err(Box::new(WireError::new(ErrorKind::NotFound, message)))
        }
        Some(known) => Ok(known.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn main() -> Process {
        Process::Main { app: "shop".to_owned() }
    }

    fn variables(set: &[(&str, &str)]) -> Variables {
        let get = |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Variables {
            endpoints: get(variables::ENDPOINTS),
            environment: get(variables::ENV),
            api_key: get(variables::API_KEY),
            runpod_api_key: get(variables::RUNPOD_API_KEY),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the reader of the file answers")]
    fn file() -> Result<Credentials, CredentialsError> {
        let endpoints = BTreeMap::from([("w".to_owned(), "http://h/v2/w".to_owned())]);
        let live = EnvironmentCredentials { key: "from-file".to_owned(), url: None, endpoints };
        let environments = BTreeMap::from([
            ("production".to_owned(), live),
            ("empty".to_owned(), EnvironmentCredentials::default()),
        ]);
        let environments = BTreeMap::from([("shop".to_owned(), environments)]);
        Ok(Credentials { version: 1, environments })
    }

    const MAP: (&str, &str) = ("FLASH_ENDPOINTS", r#"{"w":"http://other/w"}"#);

    #[test]
    fn without_variables_functions_run_in_process() {
        for process in [main(), Process::Other, Process::Worker("w".to_owned())] {
            assert!(directory_of(&process, variables(&[("FLASH_API_KEY", "k")]), file).is_none());
        }
    }

    #[test]
    fn an_environment_is_looked_up_in_the_file_and_a_key_in_the_environment_wins() {
        let set = [("FLASH_ENV", "production"), ("RUNPOD_API_KEY", "never")];
        let found = directory_of(&main(), variables(&set), file).unwrap();
        assert_eq!(found.endpoints.unwrap()["w"], "http://h/v2/w");
        assert_eq!(found.key.as_deref(), Some("from-file"));
        let set = [("FLASH_ENV", "production"), ("FLASH_API_KEY", "own")];
        let found = directory_of(&main(), variables(&set), file).unwrap();
        assert_eq!(found.key.as_deref(), Some("own"));
    }

    #[test]
    fn a_worker_ignores_the_environments_of_users() {
        let worker = Process::Worker("w".to_owned());
        assert!(directory_of(&worker, variables(&[("FLASH_ENV", "production")]), file).is_none());
        let set = [("FLASH_ENV", "production"), ("FLASH_API_KEY", "k"), ("RUNPOD_API_KEY", "r"), MAP];
        let found = directory_of(&worker, variables(&set), file).unwrap();
        assert_eq!((found.key.as_deref(), &*found.endpoints.unwrap()["w"]), (Some("r"), "http://other/w"));
    }

    #[test]
    fn endpoints_in_the_environment_win_over_the_file() {
        let set = [("FLASH_ENV", "production"), MAP];
        let found = directory_of(&main(), variables(&set), file).unwrap();
        assert_eq!(found.endpoints.unwrap()["w"], "http://other/w");
        let set = [("FLASH_ENV", "unknown"), ("RUNPOD_API_KEY", "r"), MAP];
        let found = directory_of(&main(), variables(&set), file).unwrap();
        assert_eq!((found.key.as_deref(), found.endpoints.is_ok()), (Some("r"), true));
    }

    #[test]
    fn what_is_missing_is_named_with_the_file_and_the_next_command() {
        let staging = directory_of(&main(), variables(&[("FLASH_ENV", "staging")]), file).unwrap();
        let error = staging.endpoints.unwrap_err();
        for part in ["credentials.json", "`staging` of `shop`", "flash deploy send staging"] {
            assert!(error.message.contains(part), "{}", error.message);
        }
        let empty = directory_of(&main(), variables(&[("FLASH_ENV", "empty")]), file).unwrap();
        assert!(empty.endpoints.unwrap_err().message.contains("flash deploy send empty"));
    }

    #[test]
    fn a_damaged_file_is_told_with_its_path_at_the_first_call() {
        let damaged = || {
            let source = serde_json::from_str::<u8>("{").unwrap_err();
            Err(CredentialsError::Damaged { path: "/home/me/credentials.json".into(), source })
        };
        let found = directory_of(&main(), variables(&[("FLASH_ENV", "production")]), damaged).unwrap();
        assert!(found.endpoints.unwrap_err().chain().contains("/home/me/credentials.json is damaged"));
    }
}

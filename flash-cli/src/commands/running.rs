//! A running `flash run`: finding it, and asking it for its manifest and its log.
//!
//! It announces its address in `.flash/run/PID/url`, which is removed with it.
use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use flash_protocol::{manifest::Manifest, wire::refusal};
use flash_target::{LogQuery, LogRecord};
use flash_text::error_chain;
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::scope::ScopeArguments;
use crate::{
    exit::{Failure, FailureCode},
    project::load_dotenv,
};

/// The variable with the address of a running `flash run`.
const URL: &str = "FLASH_URL";
/// The file with the address, in the directory of the process.
const FILE: &str = "url";

/// Writes the address of this `flash run` into its directory.
///
/// # Errors
/// When it cannot be written.
pub(super) fn announce(directory: &Path, url: &str) -> io::Result<()> {
    std::fs::write(directory.join(FILE), url)
}

/// The arguments of commands that also apply to a running `flash run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunningArguments {
    /// The `flash run` of this crate that is running, instead of an environment. FLASH_URL=http://localhost:8888 names
    /// one by its address.
    #[arg(long, conflicts_with_all = ["app", "target"])]
    pub local: bool,
}

/// A `flash run`.
#[derive(Debug, PartialEq)]
pub(crate) struct RunningApp {
    /// Its address.
    pub url: String,
    /// How the user named it.
    named: Named,
    /// The key that it may require.
    pub key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Named {
    Flag,
    Variable,
}

impl RunningApp {
    /// The one that is meant; `None` if an environment is.
    ///
    /// # Errors
    /// When none is running, or several are.
    pub(crate) fn find(
        running: &RunningArguments,
        scope: &ScopeArguments,
        environment: Option<&str>,
    ) -> Result<Option<Self>, Failure> {
        let variable = std::env::var(URL).ok().filter(|url| !url.trim().is_empty());
        let (url, named) = match (environment, running.local, variable) {
            (Some(name), true, _) => {
                return Err(Failure::unusable(format!(
                    "--local is the app that `flash run` runs, `{name}` is an environment"
                ))
                .hint("leave one of them out"));
            }
            // What is on the command line is meant, whatever the shell has set.
            (Some(_), false, _) | (None, false, None) => return Ok(None),
            (None, _, Some(url)) => (address(&url)?, Named::Variable),
            (None, true, None) => (Self::only(scope)?, Named::Flag),
        };
        let dotenv = match scope.project() {
            Some(directory) => load_dotenv(&directory)?,
            None => Vec::new(),
        };
        let key = std::env::var("FLASH_API_KEY").ok();
        let key =
            key.or_else(|| dotenv.into_iter().find(|(name, _)| name == "FLASH_API_KEY").map(|(_, key)| key));
        Ok(Some(Self { url, named, key: key.filter(|key| !key.is_empty()) }))
    }

    /// The error that no environment is meant, with the way to the `flash run` that may be meant instead.
    pub(crate) fn suggested(failure: Failure, scope: &ScopeArguments) -> Failure {
        match Self::only(scope) {
            Ok(url) => failure.also(&format!("to use the `flash run` at {url}, add --local")),
            Err(_) => failure,
        }
    }

    /// The address of the only one of the crate.
    fn only(scope: &ScopeArguments) -> Result<String, Failure> {
        let in_crate = "change to the directory of the app's crate, or give it: -C DIR";
        let app = scope.app().map_err(|failure| failure.hint(in_crate))?;
        let directory = scope.project().unwrap_or_else(|| PathBuf::from("."));
        let found = announced(&directory.join(".flash").join("run"));
        match found.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Failure::unusable(format!("no `flash run` of `{app}` is running"))
                .hint(format!("start it: flash run {}", directory.display()))),
            [first, ..] => Err(Failure::unusable(format!(
                "{} `flash run` of `{app}` are running: {}",
                found.len(),
                found.join(", ")
            ))
            .hint(format!("choose one: {URL}={first} instead of --local"))),
        }
    }

    /// The command line that applies this command to it.
    pub(crate) fn command(&self, command: &str) -> String {
        match self.named {
            Named::Flag => format!("flash {command} --local"),
            Named::Variable => format!("{URL}={} flash {command}", self.url),
        }
    }

    /// The manifest of its live release.
    ///
    /// # Errors
    /// When it cannot be reached, or refuses.
    pub(crate) async fn manifest(&self) -> Result<Manifest, Failure> {
        let answer = self.answer(self.request(Method::GET, "/_flash/manifest")?).await?;
        answer.json().await.map_err(|error| self.unreadable(&error))
    }

    /// Lines of its log.
    ///
    /// # Errors
    /// As [`RunningApp::manifest`].
    pub(crate) async fn logs(
        &self,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, Failure>>, Failure> {
        let answer = self.answer(self.request(Method::POST, "/_flash/logs")?.json(query)).await?;
        let url = self.url.clone();
        let broken = move |error: reqwest::Error| {
            let message = format!("lost the connection to {url}: {}", error_chain(&error.without_url()));
            Failure::failed(message)
        };
        let lines = answer.bytes_stream().map_err(broken).scan(Vec::new(), |rest, chunk| {
            std::future::ready(Some(chunk.map(|chunk| lines_of(rest, &chunk))))
        });
        let records = lines.map_ok(futures_util::stream::iter).try_flatten();
        Ok(records.boxed())
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        let url = format!("{}{path}", self.url);
        let is_local = Url::parse(&url).is_ok_and(|url| url.host_str().is_some_and(flash_http::is_loopback));
        let client = if is_local { flash_http::client().no_proxy() } else { flash_http::client() };
        let client = client.build().map_err(|error| Failure::of(FailureCode::Failed, &error))?;
        let request = client.request(method, url);
        Ok(match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        })
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let url = &self.url;
        let answer = request.send().await.map_err(|error| {
            Failure::failed(format!("cannot reach {url}: {}", error_chain(&error.without_url())))
                .hint("start the app: flash run")
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.bytes().await.map_err(|error| self.unreadable(&error))?;
        let failure = Failure::failed(format!("{url} refused: {}", refusal(status.as_u16(), &body).chain()));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                failure.hint("it requires a key: set FLASH_API_KEY to the one that it has")
            }
            StatusCode::NOT_FOUND => failure.hint("is it a `flash run` of this version of flash?"),
            _ => failure,
        })
    }

    fn unreadable(&self, error: &reqwest::Error) -> Failure {
        Failure::failed(format!("cannot read the answer of {}: {error}", self.url))
    }
}

/// The complete lines of what has arrived; the beginning of the next one stays in `rest`.
fn lines_of(rest: &mut Vec<u8>, chunk: &[u8]) -> Vec<Result<LogRecord, Failure>> {
    rest.extend_from_slice(chunk);
    let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let after = rest.split_off(end + 1);
    let complete = std::mem::replace(rest, after);
    let record = |line: &[u8]| {
        serde_json::from_slice(line).map_err(|error| Failure::failed(format!("not a log line: {error}")))
    };
    complete.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(record).collect()
}

/// An address as a user writes it, without a path.
fn address(text: &str) -> Result<String, Failure> {
    let url = Url::parse(text.trim()).ok().filter(|url| url.has_host() && url.scheme().starts_with("http"));
    match url {
        Some(url) => Ok(url.as_str().trim_end_matches('/').to_owned()),
        None => Err(Failure::unusable(format!("{URL} is `{text}`, which is not an address"))
            .hint(format!("write it like this: {URL}=http://localhost:8888"))),
    }
}

/// The addresses of all that are running, by their directories.
fn announced(all: &Path) -> Vec<String> {
    let is_alive = |owner: i32| kill(Pid::from_raw(owner), None) != Err(Errno::ESRCH);
    let of = |entry: std::fs::DirEntry| {
        let owner: i32 = entry.file_name().to_str()?.parse().ok()?;
        std::fs::read_to_string(entry.path().join(FILE)).ok().filter(|_| is_alive(owner))
    };
    let mut found: Vec<String> =
        std::fs::read_dir(all).into_iter().flatten().flatten().filter_map(of).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_run_are_found_and_those_that_were_killed_are_not() {
        let all = tempfile::tempdir().unwrap();
        assert_eq!(announced(&all.path().join("none")), Vec::<String>::new());
        // This process, one that cannot exist, one that has not announced itself yet, and something else.
        for (owner, url) in [
            (std::process::id().to_string(), Some("http://localhost:8888")),
            (i32::MAX.to_string(), Some("http://localhost:1")),
            ("1".to_owned(), None),
            ("other".to_owned(), Some("http://localhost:2")),
        ] {
            let directory = all.path().join(owner);
            std::fs::create_dir(&directory).unwrap();
            if let Some(url) = url {
                announce(&directory, url).unwrap();
            }
        }
        assert_eq!(announced(all.path()), ["http://localhost:8888"]);
    }

    #[test]
    fn an_address_is_a_url_without_a_path() {
        assert_eq!(address(" http://localhost:8888/ ").unwrap(), "http://localhost:8888");
        for wrong in ["localhost:8888", "8888", "file:///a"] {
            let refused = address(wrong).unwrap_err().to_string();
            assert!(refused.contains("FLASH_URL=http://localhost:8888"), "{refused}");
        }
    }

    #[test]
    fn lines_are_complete_however_they_arrive() {
        let line = r#"{"time_us":1,"release":null,"worker_type":"w","worker":null,"request_id":null,"job_id":null,"stream":"stdout","level":null,"text":"hi"}"#;
        let text = format!("{line}\n{line}\n");
        for size in [1, 7, text.len()] {
            let (mut rest, mut found) = (Vec::new(), 0);
            for chunk in text.as_bytes().chunks(size) {
                found += lines_of(&mut rest, chunk).into_iter().map(Result::unwrap).count();
            }
            assert_eq!((found, rest.len()), (2, 0), "{size}");
        }
    }
}

//! `flash dashboard`: opens the dashboard, logged in.
use std::io::IsTerminal as _;

use clap::Args;
use flash_protocol::wire::refusal;
use flash_target::TargetKind;
use flash_text::error_chain;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::{
    call::key_for,
    command::{Command, Context},
    running::{RunningApp, RunningArguments},
    scope::{Scope, ScopeArguments, reachable},
};
use crate::{
    exit::{Code, Failure, FailureCode},
    output::{Format, Output},
};

/// Open the dashboard of an environment, or of a running `flash run`, in the browser, logged in.
///
/// The browser gets a token that works once and for a minute, in place of the key. Without a browser, the address is
/// printed.
#[derive(Args)]
#[command(after_help = "Examples:\n  flash dashboard production\n  flash dashboard --local\n  \
                  flash dashboard production --print\n\n\
                  Exit codes: 0 success; 1 the environment cannot be reached; 2 no such environment, or no key.")]
pub(crate) struct DashboardArguments {
    /// The environment [default: the only one of the app].
    #[arg(value_name = "ENV")]
    name: Option<String>,
    #[command(flatten)]
    scope: ScopeArguments,
    #[command(flatten)]
    running: RunningArguments,
    /// Print the address, and open no browser.
    #[arg(long)]
    print: bool,
    /// Print the address as JSON, and open no browser.
    #[arg(long)]
    json: bool,
}

impl Command for DashboardArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let output = context.output();
        context.block_on(async {
            let place = self.place().await?;
            let token = place.token().await?;
            let address = place.address(token.as_deref());
            if output.is_json() {
                output.object(&json!({ "url": address }));
            } else if !self.print && has_browser() && open::that_detached(&address).is_ok() {
                output.status("Opened", &place.address(None));
            } else {
                show(&address, token.is_some(), output);
            }
            if place.way.is_some() {
                output.status("Forwarding", "until Ctrl-C");
                output.flush();
                let _ = tokio::signal::ctrl_c().await;
            }
            Ok(())
        })?;
        Ok(Code::Success)
    }
}

/// Whether somebody sits in front of this machine: a browser over SSH would open nowhere.
fn has_browser() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let has_display = cfg!(target_os = "macos") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY");
    has_display && std::io::stderr().is_terminal()
}

fn show(address: &str, has_token: bool, output: &Output) {
    output.line(address);
    if has_token {
        output.note("the address logs in one browser, within a minute");
    }
}

/// Whose dashboard.
struct Place {
    url: String,
    key: Option<String>,
    /// The command that says whether it is up.
    look: String,
    /// Holds the way to it open, where it is in a cluster.
    way: Option<Scope>,
}

impl DashboardArguments {
    async fn place(&self) -> Result<Place, Failure> {
        if let Some(app) = RunningApp::find(&self.running, &self.scope, self.name.as_deref())? {
            return Ok(Place {
                url: app.url,
                key: app.key,
                look: "is `flash run` still running?".to_owned(),
                way: None,
            });
        }
        let scope = self.scope.environment(self.name.as_deref()).await;
        let scope = scope.map_err(|failure| RunningApp::suggested(failure, &self.scope))?;
        let name = &scope.id.name;
        if scope.target.kind() == TargetKind::Runpod {
            return Err(Failure::unusable(format!(
                "{} is in a cloud, which has a console of its own; Flash's dashboard shows local environments",
                scope.id
            ))
            .hint(format!("flash status {name}, flash logs {name} -f")));
        }
        let environment = reachable(&scope.id, scope.target.as_ref()).await?;
        let look = format!("flash status {name}");
        let url = environment
            .url
            .ok_or_else(|| Failure::failed(format!("{} has no address", scope.id)).hint(look.clone()))?;
        let key = Some(key_for(&scope.id, scope.target.as_ref())?);
        let way = Some(scope).filter(|scope| scope.target.kind() == TargetKind::Kubernetes);
        Ok(Place { url, key, look, way })
    }
}

impl Place {
    /// Where a browser goes.
    fn address(&self, token: Option<&str>) -> String {
        let url = self.url.trim_end_matches('/');
        match token {
            // After `#`: browsers do not send it, so it is in no log.
            Some(token) => format!("{url}/_flash/login#{token}"),
            None => format!("{url}/_flash/"),
        }
    }

    /// A text that logs one browser in; `None` where no key is needed.
    async fn token(&self) -> Result<Option<String>, Failure> {
        #[derive(Deserialize)]
        struct Made {
            token: Option<String>,
        }
        let url = format!("{}/_flash/login/token", self.url.trim_end_matches('/'));
        let is_local = Url::parse(&url).is_ok_and(|url| url.host_str().is_some_and(flash_http::is_loopback));
        let client = if is_local { flash_http::client().no_proxy() } else { flash_http::client() };
        let client = client.build().map_err(|error| Failure::of(FailureCode::Failed, &error))?;
        let request = client.post(url);
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let unreachable = |error: reqwest::Error| {
            let message = format!("cannot reach {}: {}", self.url, error_chain(&error.without_url()));
            Failure::failed(message).hint(self.look.clone())
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return answer.json::<Made>().await.map(|made| made.token).map_err(unreachable);
        }
        let body = answer.bytes().await.map_err(unreachable)?;
        let reason = refusal(status.as_u16(), &body);
        let failure = Failure::failed(format!("{} refused: {}", self.url, reason.chain()));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                failure.hint("the key comes from FLASH_API_KEY, else from the credential file; to make one: flash key new ENV --use")
            }
            StatusCode::NOT_FOUND => failure.hint("is it a platform of this version of flash?"),
            _ => failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_where_browsers_do_not_send_it() {
        let place =
            Place { url: "http://localhost:9000/".to_owned(), key: None, look: String::new(), way: None };
        assert_eq!(place.address(None), "http://localhost:9000/_flash/");
        let address = Url::parse(&place.address(Some("abc"))).unwrap();
        assert_eq!(
            (address.path(), address.query(), address.fragment()),
            ("/_flash/login", None, Some("abc"))
        );
    }
}

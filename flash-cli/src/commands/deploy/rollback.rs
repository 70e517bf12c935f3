//! `flash deploy rollback`.
use clap::Args;
use serde_json::json;

use super::{live, show};
use crate::{
    commands::{agree::Agreed, place::PlaceArguments},
    deploy::Plan,
    exit::Failure,
    output::Output,
    target::{EnvironmentId, ReleaseRecord, live_before},
};

/// Go back to what an earlier release was.
///
/// Nothing is built: artifacts are kept. It is a new release in the history, and starts beside the live one as any
/// other. Secrets have the values of today.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash deploy rollback production\n  flash deploy rollback production 3 --yes\n\n\
                  Exit codes: 0 live; 1 it was tried and failed; 2 wrong usage, --yes is missing, or no such release."
)]
pub(super) struct RollbackArguments {
    /// The environment [default: the only one of the app], and the number of a release [default: the one that was
    /// live before].
    #[arg(value_names = ["ENV", "RELEASE"], num_args = 0..=2)]
    names: Vec<String>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

impl RollbackArguments {
    /// The environment and the release, each as far as it is said. No environment's name begins with a digit.
    ///
    /// # Errors
    /// For a release that is no number.
    pub(super) fn meant(&self) -> Result<(Option<String>, Option<u64>), Failure> {
        let number = |text: &str| {
            text.parse().map_err(|_| {
                Failure::unusable(format!("`{text}` is no number of a release"))
                    .hint("which ones there are: flash deploy history")
            })
        };
        match self.names.as_slice() {
            [one] if one.starts_with(|first: char| first.is_ascii_digit()) => Ok((None, Some(number(one)?))),
            [one] => Ok((Some(one.clone()), None)),
            [name, release, ..] => Ok((Some(name.clone()), Some(number(release)?))),
            [] => Ok((None, None)),
        }
    }
}

/// Runs it.
pub(super) async fn run(arguments: RollbackArguments, json: bool, output: &Output) -> Result<(), Failure> {
    let (name, release) = arguments.meant()?;
    let place = arguments.place.environment(name.as_deref()).await?;
    let to = match release {
        Some(release) => release,
        None => before_live(&place.target.history(&place.id).await?, &place.id)?,
    };
    let live = match place.target.environment(&place.id).await?.live {
        Some(live) if live.number == to => {
            return Err(Failure::unusable(format!("release {to} is the live one already"))
                .hint(format!("which ones there are: flash deploy history {}", place.id.name)));
        }
        Some(_) => Some(place.target.spec(&place.id, None).await?),
        None => None,
    };
    let plan = Plan::between(live.as_ref(), &place.target.spec(&place.id, Some(to)).await?);
    if !json {
        match plan.is_empty() {
            true => output.status("Unchanged", &format!("release {to} is what is live; it starts anew")),
            false => show::plan(&plan, output),
        }
        output.flush();
    }
    Agreed::by(arguments.yes).or_ask(&format!("Go back to release {to} in {}?", place.id))?;
    let mut told = live::tell(output);
    let record = place
        .target
        .rollback(&place.id, Some(to), &mut told)
        .await
        .map_err(|error| live::failed(error, &place.id.name))?;
    drop(told);
    live::confirm(&place, &record, json!({ "plan": plan }), json, output).await
}

/// The release that had traffic before the live one. Without a live one, the last that had.
fn before_live(history: &[ReleaseRecord], id: &EnvironmentId) -> Result<u64, Failure> {
    match live_before(history) {
        Some(record) if record.kept => Ok(record.number),
        Some(record) => Err(Failure::unusable(format!(
            "release {} was live before, and its artifact is not kept any more",
            record.number
        ))
        .hint(format!("send it again from its sources: flash deploy send {}", id.name))),
        None => Err(Failure::unusable(format!("no release was live in {id} before"))
            .hint(format!("which ones there are: flash deploy history {}", id.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{BuildOrigin, ReleaseState};

    fn record(number: u64, state: ReleaseState, kept: bool) -> ReleaseRecord {
        ReleaseRecord {
            number,
            created_ms: 0,
            state,
            digest: String::new(),
            origin: BuildOrigin::default(),
            notes: None,
            rollback_of: None,
            kept,
        }
    }

    #[test]
    fn the_way_back_leads_to_what_had_traffic_before() {
        let id = EnvironmentId::new("app", "a").unwrap();
        let failed = || ReleaseState::Failed { reason: String::new() };
        let history = [
            record(5, failed(), true),
            record(4, ReleaseState::Live, true),
            record(3, failed(), true),
            record(2, ReleaseState::Replaced, true),
            record(1, ReleaseState::Replaced, true),
        ];
        assert_eq!(before_live(&history, &id).unwrap(), 2);
        assert_eq!(before_live(&history[3..], &id).unwrap(), 2, "after everything was undeployed");
        assert!(before_live(&history[..3], &id).unwrap_err().to_string().contains("no release was live"));
        let gone = [record(2, ReleaseState::Live, true), record(1, ReleaseState::Replaced, false)];
        assert!(before_live(&gone, &id).unwrap_err().to_string().contains("not kept any more"));
    }
}

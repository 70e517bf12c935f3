//! `flash deploy rollback`.
use clap::Args;
use flash_plan::Plan;
use flash_target::{EnvironmentId, ReleaseRecord, ReleaseState, live_before};
use serde_json::json;

use super::{live, subcommand::EnvironmentCommand};
use crate::{
    commands::{changes, confirm::Confirmation, scale, scope::ScopeArguments},
    exit::{Code, Failure},
    output::Output,
};

/// Go back to an earlier release.
///
/// Nothing is built: artifacts are kept. The rollback is a new release in the history and starts beside the live
/// one like any other. Secrets have their current values.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash deploy rollback production\n  flash deploy rollback production 3 --yes\n\n\
                  Exit codes: 0 live; 1 failed; 2 wrong usage, --yes or \
                  --allow-breaking is missing, or no such release."
)]
pub(crate) struct RollbackArguments {
    /// The environment [default: the only one of the app], and a release number [default: the release that was live
    /// before].
    #[arg(value_names = ["ENV", "RELEASE"], num_args = 0..=2)]
    names: Vec<String>,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    yes: bool,
    /// Continue even if callers break: a function, route or field is removed, or a field becomes required.
    #[arg(long)]
    allow_breaking: bool,
    #[command(flatten)]
    scope: ScopeArguments,
}

impl RollbackArguments {
    /// The environment and the release, if given. No environment's name begins with a digit.
    ///
    /// # Errors
    /// When the release is not a number.
    pub(super) fn meant(&self) -> Result<(Option<String>, Option<u64>), Failure> {
        let number = |text: &str| {
            text.parse().map_err(|_| {
                Failure::unusable(format!("`{text}` is not a release number"))
                    .hint("to list them: flash deploy history")
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

impl EnvironmentCommand for RollbackArguments {
    async fn run(self, output: &Output) -> Result<Code, Failure> {
        let (name, release) = self.meant()?;
        let scope = self.scope.environment(name.as_deref()).await?;
        let history = scope.target.history(&scope.id).await?;
        let to = match release {
            Some(release) => can_be_gone_back_to(&history, release, &scope.id)?,
            None => before_live(&history, &scope.id)?,
        };
        let base = scope.target.environment(&scope.id).await?.live.map(|live| live.number);
        let live = match base {
            Some(_) => Some(scope.target.spec(&scope.id, base).await?),
            None => None,
        };
        let plan = Plan::between(live.as_ref(), &scope.target.spec(&scope.id, Some(to)).await?);
        if !output.is_json() {
            match plan.is_empty() {
                true => output.status(
                    "Unchanged",
                    &format!("release {to} is the same as the live release; starting it again"),
                ),
                false => changes::plan(&plan, output),
            }
            for line in scale::lines(&scope.target.scales(&scope.id).await?) {
                output.line(&format!("  {line}; this takes it back"));
            }
            output.flush();
        }
        changes::allowed_to_break(&plan, self.allow_breaking)?;
        Confirmation::given(self.yes).or_prompt(&format!("Go back to release {to} in {}?", scope.id))?;
        let mut on_step = live::print_steps(output);
        let record = scope
            .target
            .rollback(&scope.id, base, Some(to), &mut on_step)
            .await
            .map_err(|error| live::failed(error, &scope.id.name))?;
        drop(on_step);
        live::confirm(&scope, &record, json!({ "plan": plan }), output).await?;
        Ok(Code::Success)
    }
}

/// A release that was named, if it can become live again; checked before its plan.
fn can_be_gone_back_to(history: &[ReleaseRecord], number: u64, id: &EnvironmentId) -> Result<u64, Failure> {
    let which = || format!("to list them: flash deploy history {}", id.name);
    let refused = |why: String| Err(Failure::unusable(format!("release {number} {why}")).hint(which()));
    match history.iter().find(|record| record.number == number) {
        None => {
            let numbers: Vec<String> = history.iter().map(|record| record.number.to_string()).collect();
            let there = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
            Err(Failure::unusable(format!("{id} has no release {number}; it has {there}")).hint(which()))
        }
        Some(record) => match &record.state {
            ReleaseState::Live => refused("is already live".to_owned()),
            ReleaseState::Starting => refused("is still starting".to_owned()),
            ReleaseState::Failed { reason } => {
                let reason = reason.lines().next().unwrap_or_default();
                refused(format!("was never live: {reason}"))
            }
            ReleaseState::Replaced if !record.kept => Err(not_kept(number, id)),
            ReleaseState::Replaced => Ok(number),
        },
    }
}

fn not_kept(number: u64, id: &EnvironmentId) -> Failure {
    Failure::unusable(format!("the artifact of release {number} is no longer kept"))
        .hint(format!("build and send it again: flash deploy send {}", id.name))
}

/// The release that had traffic before the live one. If none is live, the last that had traffic.
fn before_live(history: &[ReleaseRecord], id: &EnvironmentId) -> Result<u64, Failure> {
    match live_before(history) {
        Some(record) if record.kept => Ok(record.number),
        Some(record) => Err(not_kept(record.number, id)),
        None => Err(Failure::unusable(format!("{id} has no earlier release to go back to"))
            .hint(format!("to list them: flash deploy history {}", id.name))),
    }
}

#[cfg(test)]
mod tests {
    use flash_target::BuildOrigin;

    use super::*;

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
        assert!(before_live(&history[..3], &id).unwrap_err().to_string().contains("no earlier release"));
        let gone = [record(2, ReleaseState::Live, true), record(1, ReleaseState::Replaced, false)];
        assert!(before_live(&gone, &id).unwrap_err().to_string().contains("no longer kept"));
    }
    #[test]
    fn only_a_release_that_had_traffic_can_be_gone_back_to() {
        let id = EnvironmentId::new("app", "a").unwrap();
        let failed = ReleaseState::Failed { reason: "`model` is not ready\nits last lines".to_owned() };
        let history = [
            record(5, ReleaseState::Starting, true),
            record(4, ReleaseState::Live, true),
            record(3, failed, true),
            record(2, ReleaseState::Replaced, true),
            record(1, ReleaseState::Replaced, false),
        ];
        let said = |number| can_be_gone_back_to(&history, number, &id).map_err(|error| error.to_string());
        assert_eq!(said(2), Ok(2));
        for (number, part) in [
            (1, "no longer kept"),
            (3, "release 3 was never live: `model` is not ready\n  hint"),
            (4, "is already live"),
            (5, "is still starting"),
            (6, "app/a has no release 6; it has 5, 4, 3, 2, 1"),
        ] {
            let text = said(number).unwrap_err();
            assert!(text.contains(part) && text.contains("hint"), "{number}: {text}");
        }
    }
}

//! `flash deploy upgrade`.
use clap::Args;
use flash_target::TargetKind;
use flash_target_kubernetes::KubernetesTarget;
use serde_json::json;

use super::subcommand::EnvironmentCommand;
use crate::{
    builder::push_own_image,
    commands::scope::OneEnvironment,
    exit::{Code, Failure},
    output::Output,
    project::Config,
};

/// Bring an environment on Kubernetes to the version of this `flash` and to the settings of flash.toml.
///
/// Its platform is replaced, which takes seconds: requests are refused meanwhile, jobs are kept, and those that run are run
/// again.
#[derive(Args)]
#[command(after_help = "Examples:\n  flash deploy upgrade prod\n\n\
                  Exit codes: 0 done; 1 failed; 2 no such environment, or not on Kubernetes.")]
pub(super) struct UpgradeArguments {
    #[command(flatten)]
    environment: OneEnvironment,
}

impl EnvironmentCommand for UpgradeArguments {
    async fn run(self, output: &Output) -> Result<Code, Failure> {
        let OneEnvironment { name, scope } = self.environment;
        let own = scope.environment(name.as_deref()).await?;
        if own.target.kind() != TargetKind::Kubernetes {
            return Err(Failure::unusable(format!(
                "{} is on target {}, which needs no upgrade",
                own.id,
                own.target.kind()
            )));
        }
        let project = scope.project();
        let config = project.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        let settings = config.environment(&own.id.name);
        let registry = settings.and_then(|settings| settings.registry.as_deref()).ok_or_else(|| {
            Failure::unusable(format!("{} has no registry in flash.toml", own.id))
                .hint("run it in the directory of the app's crate, or give it: -C DIR")
        })?;
        let cluster = settings.map(|settings| settings.cluster.clone()).unwrap_or_default();
        let target = KubernetesTarget::connect(cluster).await?;
        target.check(&own.id).await?;
        let target = target.with_image(push_own_image(registry, output).await?);
        {
            let _shown = output.activity("Upgrading", &own.id.to_string());
            target.upgrade(&own.id).await?;
        }
        let version = env!("CARGO_PKG_VERSION");
        if output.is_json() {
            output.object(&json!({ "environment": own.id, "version": version }));
        } else {
            output.status("Upgraded", &format!("{} runs flash {version}", own.id));
        }
        Ok(Code::Success)
    }
}

//! `flash deploy manifest`.
use clap::Args;
use flash_target::EnvironmentId;
use flash_target_kubernetes::for_administrator;

use super::subcommand::EnvironmentCommand;
use crate::{
    commands::scope::ScopeArguments,
    exit::{Code, Failure, FailureCode},
    output::Output,
    project::Config,
};

/// Print what an administrator of a cluster applies for an environment, where you may not make roles.
///
/// A namespace, the service account of the environment's platform, and its role in that namespace, as one list in JSON.
#[derive(Args)]
#[command(after_help = "Examples:\n  flash deploy manifest prod --namespace ml | kubectl apply -f -\n  \
                  flash deploy new prod --target kubernetes --namespace ml --service-account NAME \\\n    \
                  --registry ghcr.io/me/app\n\n\
                  Exit codes: 0 printed; 2 wrong usage.")]
pub(super) struct ManifestArguments {
    /// The name of the environment.
    #[arg(value_name = "ENV")]
    name: String,
    /// The namespace [default: that of flash.toml].
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    scope: ScopeArguments,
}

impl EnvironmentCommand for ManifestArguments {
    async fn run(self, output: &Output) -> Result<Code, Failure> {
        let app = self.scope.app()?;
        let id = EnvironmentId::new(&app, &self.name)
            .map_err(|error| Failure::of(FailureCode::Unusable, &error))?;
        let project = self.scope.project();
        let config = project.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        let declared = config.environment(&self.name).and_then(|own| own.cluster.namespace.clone());
        let namespace = self.namespace.or(declared).ok_or_else(|| {
            Failure::unusable("which namespace is not known")
                .hint(format!("flash deploy manifest {} --namespace NAMESPACE", self.name))
        })?;
        output.line(&format!("{:#}", for_administrator(&id, &namespace)));
        Ok(Code::Success)
    }
}

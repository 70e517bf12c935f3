//! `flash deploy send`: build, plan, confirm, apply, verify.
use std::path::{Path, PathBuf};

use clap::Args;
use flash_plan::Plan;
use flash_target::{Environment, Finding, Preflight, Problem, Serving, Shipment, TargetError, TargetKind};
use serde_json::json;

use super::{
    artifact::{Artifact, problems_ahead},
    live,
    subcommand::EnvironmentCommand,
};
use crate::{
    builder::{BaseTags, Build, Materials, Platform, Request, RunsOn, Selection, Sources, own_capabilities},
    commands::{
        changes,
        confirm::Confirmation,
        scope::{Scope, ScopeArguments},
    },
    deploy::{SavedPlan, SavedPlanError, unbuilt_release},
    exit::{Code, Failure, FailureCode},
    models::{LockPolicy, ModelPlace, deployed, fetch},
    output::Output,
    project::{Config, EnvironmentSettings, LastManifest, Package},
};

/// Build the app and deploy it to an environment.
///
/// Shows a plan first: what is created (+), changed (~) and destroyed (-), field by field, what breaks callers, and
/// the cost per hour before and after. The new release starts beside the live one and takes over the traffic when
/// it is ready; the old one finishes the work it accepted. `.env` is not read: set variables in flash.toml, and
/// secrets with `flash secret`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash deploy send production\n  flash deploy send production --yes --release-notes \"faster\"\n  \
                  flash deploy send production --save-plan plan.json\n  flash deploy send production --plan-file plan.json\n\n\
                  Exit codes: 0 live, or no changes; 1 failed, or a saved plan is stale; 2 wrong usage, \
                  --yes or --allow-breaking is missing, or with --plan or --save-plan: there are \
                  changes (errors other than wrong usage are then 1)."
)]
pub(super) struct SendArguments {
    /// The environment [default: the only one of the app].
    #[arg(value_name = "ENV")]
    pub name: Option<String>,
    #[command(flatten)]
    pub options: SendOptions,
}

/// The flags of `flash deploy send` and of `flash deploy` without a subcommand.
#[derive(Args)]
pub(super) struct SendOptions {
    /// Only show what would change. Exit code 0: nothing; 2: changes; 1: the plan cannot be made.
    #[arg(long)]
    pub plan: bool,
    /// Like --plan, and save the plan to a file for --plan-file.
    #[arg(long, value_name = "FILE")]
    save_plan: Option<PathBuf>,
    /// Apply a saved plan without asking. Refused if the environment or the app has changed since.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plan", "save_plan"])]
    plan_file: Option<PathBuf>,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    pub yes: bool,
    /// Continue even if callers break: a function, route or field is removed, or a field becomes required.
    #[arg(long)]
    pub allow_breaking: bool,
    /// What is new in this release, for the history.
    #[arg(long, value_name = "TEXT")]
    release_notes: Option<String>,
    /// Cargo profile of the binaries.
    #[arg(long, value_name = "PROFILE", default_value = "release")]
    release_profile: String,
    /// Cargo features to build the app with, separated by commas (in addition to those in flash.toml).
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// The crate's directory.
    #[arg(long = "dir", short = 'C', value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

impl SendOptions {
    /// Whether any flag is set.
    pub(super) fn are_given(&self) -> bool {
        let Self {
            plan,
            save_plan,
            plan_file,
            yes,
            allow_breaking,
            release_notes,
            release_profile,
            features,
            directory,
        } = self;
        *plan
            || *yes
            || *allow_breaking
            || save_plan.is_some()
            || plan_file.is_some()
            || release_notes.is_some()
            || release_profile != "release"
            || !features.is_empty()
            || directory.as_os_str() != "."
    }
}

impl SendOptions {
    /// Rejects flags that cannot work here, so that nobody waits for a build first.
    fn check_before_build(&self) -> Result<(), Failure> {
        if let Some(directory) = self.save_plan.as_deref().and_then(Path::parent)
            && !directory.as_os_str().is_empty()
            && !directory.is_dir()
        {
            let directory = directory.display();
            return Err(Failure::unusable(format!("--save-plan: directory {directory} does not exist")));
        }
        match self.plan || self.save_plan.is_some() {
            true => Ok(()),
            false => self.confirmation().is_possible(),
        }
    }

    fn confirmation(&self) -> Confirmation {
        Confirmation::given(self.yes || self.plan_file.is_some())
    }
}

/// Problems that no build could solve; reported before the build.
async fn look_ahead(
    scope: &Scope,
    package: &Package,
    config: &Config,
    settings: &EnvironmentSettings,
) -> Result<(), Failure> {
    let last = LastManifest::load(&package.directory);
    let workers = last.iter().flat_map(|last| &last.manifest.workers);
    let workers: Vec<String> = workers.map(|worker| worker.name.clone()).collect();
    let last_is_current = match &last {
        Some(last) => last.is_current(package).await,
        None => false,
    };
    if last_is_current && let Some(last) = &last {
        let place = ModelPlace::open(&package.directory, &[])?;
        deployed(&last.manifest, &place, scope.target.kind(), &settings.cloud.network_volumes)?;
    }
    let mut problems = problems_ahead(scope.target.kind(), settings, &workers).await?;
    if scope.target.kind() != TargetKind::Local
        && last_is_current
        && let Some(last) = last
    {
        let spec = unbuilt_release(&last.manifest, config, settings)?;
        // Warnings and changes are reported with the plan.
        problems.extend(scope.target.preflight(&scope.id, &spec).await?.problems);
    }
    clear_of_problems(&problems)
}

/// All problems at once, each with its fix.
fn clear_of_problems(problems: &[Finding]) -> Result<(), Failure> {
    if problems.is_empty() {
        return Ok(());
    }
    let line = |Finding { message, fix }: &Finding| format!("\n  {message}\n    fix: {fix}");
    let lines: String = problems.iter().map(line).collect();
    let head = match problems.len() {
        1 => "a problem prevents sending this release".to_owned(),
        several => format!("{several} problems prevent sending this release"),
    };
    Err(Failure::unusable(format!("{head}; nothing was changed{lines}")))
}

fn of_saved_plan(error: &SavedPlanError, name: &str) -> Failure {
    let code = match error {
        SavedPlanError::LiveMoved { .. } | SavedPlanError::SpecMoved | SavedPlanError::Write { .. } => {
            FailureCode::Failed
        }
        _ => FailureCode::Unusable,
    };
    Failure::of(code, error).hint(format!("make a new one: flash deploy send {name} --save-plan FILE"))
}

impl EnvironmentCommand for SendArguments {
    /// For a plan only, exit code 2 means changes, and every error is 1.
    async fn run(self, output: &Output) -> Result<Code, Failure> {
        let is_for_plan = self.options.plan || self.options.save_plan.is_some();
        carry_out(self, output).await.map_err(|mut failure| {
            if is_for_plan {
                failure.code = FailureCode::Failed;
            }
            failure
        })
    }
}

async fn carry_out(arguments: SendArguments, output: &Output) -> Result<Code, Failure> {
    let SendArguments { name, options } = arguments;
    let package = Package::find(&options.directory)?;
    let config = Config::load(&package.directory)?;
    let of = ScopeArguments {
        directory: package.directory.clone(),
        app: Some(package.name.clone()),
        target: None,
    };
    let scope = of.environment(name.as_deref()).await?;
    let environment = scope.target.environment(&scope.id).await.map_err(|error| unknown(error, &scope))?;
    options.check_before_build()?;
    // Report an invalid plan file before anything is compiled.
    let unusable = |error: SavedPlanError| of_saved_plan(&error, &scope.id.name);
    let saved = options.plan_file.as_deref().map(SavedPlan::load).transpose().map_err(unusable)?;
    let request = request(&options, scope.target.kind()).await;
    let usual = EnvironmentSettings::of(&scope.id.name, scope.target.kind());
    let settings = config.environment(&scope.id.name).unwrap_or(&usual);
    let build = Build::prepare(&request, &package, &config, output).await?;
    look_ahead(&scope, &package, &config, settings).await?;
    // Lives until everything is sent: its files exist until then.
    let mut artifact = Artifact::of(build, scope.target.kind(), settings).await?;
    let (secrets, profile) = (environment.secrets.clone(), &options.release_profile);
    let mut shipment = artifact.shipment(&package, &config, settings, secrets, profile).await?;
    shipment.notes.clone_from(&options.release_notes);
    let mut place = ModelPlace::open(&package.directory, &[])?;
    let (manifest, volumes) = (&shipment.spec.manifest, &settings.cloud.network_volumes);
    shipment.spec.models = deployed(manifest, &place, scope.target.kind(), volumes)?;
    let base = environment.live.as_ref().map(|live| live.number);
    let live = match base {
        Some(number) => Some(scope.target.spec(&scope.id, Some(number)).await?),
        None => None,
    };
    if let Some(saved) = &saved {
        saved.check(&scope.id, base, &shipment.spec).map_err(unusable)?;
    }
    let plan = Plan::between(live.as_ref(), &shipment.spec);
    let mut preflight = artifact.preflight(&config, settings).await;
    let Preflight { problems, warnings, changes } = scope.target.preflight(&scope.id, &shipment.spec).await?;
    preflight.problems.extend(problems);
    preflight.warnings.extend(warnings);
    preflight.changes = changes;
    let sending = Sending { scope, environment, base, plan, preflight, output };
    sending.clear_of_problems()?;
    if options.plan || options.save_plan.is_some() {
        return sending.show_only(&options, &shipment);
    }
    if !sending.changes() {
        match sending.scope.target.status(&sending.scope.id).await?.serving {
            // The same release again: it should be running and is not.
            Serving::Down { release, reason } => {
                output
                    .status("Down", &format!("release {release} should be live: {reason}; sending it again"));
            }
            Serving::Live { .. } | Serving::Empty => return sending.nothing().await,
        }
    }
    sending.confirm(&options)?;
    if sending.scope.target.kind() == TargetKind::Local {
        // Before a worker starts, and so not at its cost.
        fetch(&shipment.spec.manifest, &mut place, LockPolicy::Demand, output).await?;
    }
    artifact.push(settings, output).await?;
    sending.send(shipment).await?;
    drop(artifact);
    Ok(Code::Success)
}

fn unknown(error: TargetError, scope: &Scope) -> Failure {
    match error.problem {
        Problem::NoEnvironment => {
            Failure::from(error).hint(format!("create it first: flash deploy new {}", scope.id.name))
        }
        _ => error.into(),
    }
}

async fn request(options: &SendOptions, target: TargetKind) -> Request {
    let runs_on = match target {
        TargetKind::Local => RunsOn::ThisMachine(own_capabilities().await),
        TargetKind::Runpod | TargetKind::Kubernetes => RunsOn::Images,
    };
    Request {
        selection: Selection::default(),
        // Runpod's machines have this platform, whatever this machine has.
        platform: (target == TargetKind::Runpod).then_some(Platform::Amd64),
        profile: options.release_profile.clone(),
        features: options.features.clone(),
        cuda: None,
        runs_on,
        sources: Sources::Any,
        materials: Materials::LeftOut,
        base_tags: BaseTags::AsRecorded,
    }
}

/// A release that is built and planned.
struct Sending<'a> {
    scope: Scope,
    environment: Environment,
    base: Option<u64>,
    plan: Plan,
    preflight: Preflight,
    output: &'a Output,
}

impl Sending<'_> {
    /// Whether there is anything to send. A release also reverts manual changes at the target.
    fn changes(&self) -> bool {
        !self.plan.is_empty() || !self.preflight.changes.is_empty()
    }

    /// All problems at once, each with its fix; warnings are printed first.
    fn clear_of_problems(&self) -> Result<(), Failure> {
        for Finding { message, fix } in &self.preflight.warnings {
            self.output.warning(&format!("{message} ({fix})"));
        }
        clear_of_problems(&self.preflight.problems)
    }

    /// The plan, and what differs at the target.
    fn show(&self) {
        if !self.plan.is_empty() {
            changes::plan(&self.plan, self.output);
        }
        changes::at_target(&self.preflight.changes, self.scope.target.kind(), self.output);
    }

    fn show_only(&self, options: &SendOptions, shipment: &Shipment) -> Result<Code, Failure> {
        if let Some(file) = &options.save_plan {
            let saved = SavedPlan::new(&self.scope.id, self.base, &shipment.spec, self.plan.clone());
            saved.save(file).map_err(|error| of_saved_plan(&error, &self.scope.id.name))?;
        }
        if self.output.is_json() {
            self.output.object(&json!({
                "environment": self.scope.id,
                "base": self.base,
                "changes": self.changes(),
                "breaking": self.plan.breaking(),
                "plan": self.plan,
                "at_target": self.preflight.changes,
                "warnings": self.preflight.warnings,
            }));
        } else if !self.changes() {
            self.output.line(&format!("{}: no changes", self.scope.id));
        } else {
            self.show();
        }
        if let Some(file) = &options.save_plan {
            self.output.status("Saved", &file.display().to_string());
        }
        Ok(if self.changes() { Code::Changes } else { Code::Success })
    }

    /// The live release already matches. It is still checked, and the user gets a key and the addresses.
    async fn nothing(&self) -> Result<Code, Failure> {
        let (id, extra) = (&self.scope.id, json!({ "changes": false }));
        match &self.environment.live {
            Some(live) => {
                let text = format!("{id} is already up to date (release {})", live.number);
                self.output.status("Unchanged", &text);
                live::confirm(&self.scope, live, extra, self.output).await?;
            }
            None if self.output.is_json() => {
                self.output.object(&json!({ "environment": id, "changes": false, "release": null }));
            }
            None => self.output.status("Unchanged", &format!("{id} is empty, and there is nothing to send")),
        }
        Ok(Code::Success)
    }

    fn confirm(&self, options: &SendOptions) -> Result<(), Failure> {
        if !self.output.is_json() {
            self.show();
            self.output.flush();
        }
        changes::allowed_to_break(&self.plan, options.allow_breaking)?;
        options.confirmation().or_prompt(&format!("Deploy this to {}?", self.scope.id))
    }

    async fn send(self, shipment: Shipment) -> Result<(), Failure> {
        let Self { scope, base, plan, output, .. } = self;
        let mut on_step = live::print_steps(output);
        let record = scope
            .target
            .send(&scope.id, base, shipment, &mut on_step)
            .await
            .map_err(|error| live::failed(error, &scope.id.name))?;
        drop(on_step);
        live::confirm(&scope, &record, json!({ "changes": true, "plan": plan }), output).await
    }
}

//! `flash service`.
use clap::{Args, Subcommand};
use flash_target::Serving;
use flash_target_local::{DataDirectory, HostedEnvironment, Manager, ServiceStatus, Started, Stopped, utc};
use serde_json::json;

use super::command::{Command, Context};
use crate::{
    exit::{Code, Failure},
    output::{Format, Output},
};

/// Manage the background service that runs local environments.
///
/// Commands for environments start it when they need it, and it keeps running after they end. Its data is in
/// FLASH_DATA_DIR [default: ~/.local/share/flash]: environments, releases, keys, secrets, jobs and logs survive
/// every stop.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash service status\n  flash service install   # start it with the machine\n  \
                  flash service status --json | jq .environments\n\nExit codes: 0 success, or `status` of a \
                  service that runs; 1 failed, or `status` of a service that is not running; 2 wrong usage."
)]
pub(crate) struct ServiceArguments {
    #[command(subcommand)]
    action: Action,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Subcommand)]
enum Action {
    /// Show whether it runs, and which environments it runs.
    Status,
    /// Start it if it is not running.
    Start,
    /// Stop it: running work gets its drain time; jobs and releases are kept for the next start.
    Stop,
    /// Stop and start it, for example to switch to a new version of flash.
    Restart,
    /// Install it in systemd, which starts it with the machine and again after a crash.
    Install,
    /// Stop it and remove it from systemd. Environments are kept.
    Uninstall,
}

const KILLED: &str = "it did not stop in time and was killed: running work was cut off";

impl Command for ServiceArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        context.block_on(act(self.action, context.output()))?;
        Ok(Code::Success)
    }
}

async fn act(action: Action, output: &Output) -> Result<(), Failure> {
    let directory = DataDirectory::of_user()?;
    match action {
        Action::Status => status(&directory, output).await,
        Action::Start => {
            let started = flash_target_local::start(&directory).await?;
            say_started(&started, output);
            Ok(())
        }
        Action::Stop => {
            let stopped = flash_target_local::stop(&directory).await?;
            say_stopped(stopped, output);
            Ok(())
        }
        Action::Restart => {
            if flash_target_local::stop(&directory).await? == Stopped::Killed {
                output.warning(KILLED);
            }
            let started = flash_target_local::start(&directory).await?;
            say_started(&started, output);
            Ok(())
        }
        Action::Install => install(&directory, output).await,
        Action::Uninstall => uninstall(output).await,
    }
}

fn say_started(started: &Started, output: &Output) {
    let hello = started.hello();
    if output.is_json() {
        let is_new = matches!(started, Started::Now(_));
        return output.object(&json!({ "running": true, "started": is_new, "service": hello }));
    }
    match started {
        Started::Now(_) => {
            output.status("Started", &format!("the background service, process {}", hello.pid))
        }
        Started::Already(_) => {
            let since = utc(hello.started_ms);
            output.status("Running", &format!("since {since}, process {}", hello.pid));
        }
    }
}

fn say_stopped(stopped: Stopped, output: &Output) {
    if output.is_json() {
        let how = match stopped {
            Stopped::Already => "already",
            Stopped::Clean => "clean",
            Stopped::Killed => "killed",
        };
        return output.object(&json!({ "running": false, "stopped": how }));
    }
    match stopped {
        Stopped::Already => output.status("Found", "no background service that runs: nothing to stop"),
        Stopped::Clean => output.status("Stopped", "the background service"),
        Stopped::Killed => output.warning(KILLED),
    }
}

async fn status(directory: &DataDirectory, output: &Output) -> Result<(), Failure> {
    let Some(status) = flash_target_local::status(directory).await? else {
        if output.is_json() {
            output.object(&json!({ "running": false, "data": directory.path() }));
        }
        return Err(
            Failure::failed("the background service is not running").hint("start it: flash service start")
        );
    };
    let ServiceStatus { hello, data, environments, damaged } = status;
    if output.is_json() {
        output.object(&json!({
            "running": true,
            "service": hello,
            "data": data,
            "environments": environments,
            "damaged": damaged,
        }));
        return Ok(());
    }
    let manager = match hello.manager {
        Manager::Supervisor => "its supervisor",
        Manager::Systemd => "systemd",
        Manager::Cluster => "its cluster",
    };
    output.line(&format!("running since  {}", utc(hello.started_ms)));
    output.line(&format!("process        {}, kept running by {manager}", hello.pid));
    output.line(&format!("version        {}", hello.version));
    output.line(&format!("data           {}", data.display()));
    for damage in &damaged {
        output.line(&format!("damaged        {damage}"));
    }
    if environments.is_empty() {
        output.line("environments   none");
        return Ok(());
    }
    output.line("");
    let rows: Vec<Vec<String>> = environments.iter().map(row).collect();
    output.table(&["app", "environment", "url", "serves"], &rows);
    Ok(())
}

fn row(hosted: &HostedEnvironment) -> Vec<String> {
    let serves = match &hosted.serving {
        Serving::Live { release } => format!("release {release}"),
        Serving::Empty => "nothing yet".to_owned(),
        Serving::Down { release, reason } => format!("DOWN, release {release}: {reason}"),
    };
    vec![hosted.id.app.clone(), hosted.id.name.clone(), hosted.url.clone().unwrap_or_default(), serves]
}

async fn install(directory: &DataDirectory, output: &Output) -> Result<(), Failure> {
    flash_target_local::check_free(directory).await?;
    // One that runs by itself, or by an older unit, holds what the new one needs.
    if flash_target_local::stop(directory).await? == Stopped::Killed {
        output.warning(KILLED);
    }
    let unit = flash_target_local::install(directory).await?;
    let started = flash_target_local::start(directory).await?;
    let lingers = flash_target_local::lingers().await;
    if output.is_json() {
        let path = unit.path();
        output.object(&json!({ "unit": path, "lingers": lingers, "service": started.hello() }));
        return Ok(());
    }
    output.status("Installed", &unit.path().display().to_string());
    output.status("Running", &format!("process {}", started.hello().pid));
    if lingers != Some(true) {
        output.warning(
            "it runs only while you are logged in; to start it with the machine: loginctl enable-linger",
        );
    }
    Ok(())
}

async fn uninstall(output: &Output) -> Result<(), Failure> {
    let Some(unit) = flash_target_local::installed() else {
        return Err(Failure::failed("the service is not installed")
            .hint("check whether it runs: flash service status"));
    };
    let path = unit.path().to_owned();
    unit.uninstall().await?;
    match output.is_json() {
        true => output.object(&json!({ "unit": path, "installed": false })),
        false => {
            output.status("Stopped", "the background service; environments are kept");
            output.status("Uninstalled", &path.display().to_string());
            output.note("to run it without systemd: flash service start");
        }
    }
    Ok(())
}

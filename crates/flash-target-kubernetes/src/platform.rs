//! The platform's own process in its pod: the service of the local target, with the cluster's pods as workers.
use std::{path::Path, process::ExitCode, time::Duration};

use flash_target::{Problem, TargetError};
use flash_target_local::{DataDirectory, SharedReport, serve_in_cluster};
use kube::{Client, Config};
use tokio::net::TcpListener;

use super::{
    error::failed,
    objects::{CONTROL_PORT, DATA},
    pods::{Pods, shared},
    settings::{PLATFORM, PlatformSettings},
};

/// How long the API server may be silent. Watches end before.
const SILENCE: Duration = Duration::from_secs(75);
/// How long a connection to it may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Runs the platform until its pod is to end.
pub fn platform_main(report: &SharedReport) -> ExitCode {
    let served = flash_platform::runtime()
        .map_err(|error| {
            TargetError::new(Problem::Failed, "could not start the async runtime").because(error)
        })
        .and_then(|runtime| runtime.block_on(Box::pin(serve(report))));
    let code = match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report.error(&error.text());
            ExitCode::FAILURE
        }
    };
    report.flush();
    code
}

async fn serve(report: &SharedReport) -> Result<(), TargetError> {
    let settings = std::env::var(PLATFORM).map_err(|_| {
        TargetError::new(Problem::Refused, "this argument is for the platform's pod in a cluster")
    })?;
    let settings: PlatformSettings = serde_json::from_str(&settings).map_err(|error| {
        TargetError::new(Problem::Refused, format!("{PLATFORM} cannot be read")).because(error)
    })?;
    let mut config = Config::incluster().map_err(|error| {
        TargetError::new(Problem::Failed, "no service account of a cluster").because(error)
    })?;
    (config.connect_timeout, config.read_timeout) = (Some(CONNECT), Some(SILENCE));
    let client = Client::try_from(config).map_err(|error| failed("cannot use the cluster", &error))?;
    let pods = Pods::new(client, settings);
    // Nobody takes their results any more; their jobs are in the store.
    let removed = pods.remove_all().await.map_err(|error| failed("cannot list the workers", &error))?;
    if removed > 0 {
        report.status("Removed", &format!("{removed} workers of an earlier platform"));
    }
    let directory = DataDirectory::open(Path::new(DATA))?;
    let control = TcpListener::bind(("127.0.0.1", CONTROL_PORT)).await.map_err(|error| {
        TargetError::new(Problem::Failed, format!("cannot listen on port {CONTROL_PORT}")).because(error)
    })?;
    serve_in_cluster(&directory, shared(pods), control, report).await
}

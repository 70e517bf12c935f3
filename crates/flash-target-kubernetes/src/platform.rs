//! The platform's own process in its pod: the service of the local target, with the cluster's pods as workers.
use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use flash_target::{Problem, TargetError};
use flash_target_local::{DataDirectory, SharedReport, serve_in_cluster};
use kube::{Client, Config};
use tokio::net::TcpListener;

use super::{
    error::{failed, words},
    objects::{CONTROL_PORT, DATA},
    pods::Pods,
    settings::{PLATFORM, PLATFORM_JOIN_KEY, PlatformSettings},
};

/// How long the API server may be silent. Watches end before.
const SILENCE: Duration = Duration::from_secs(75);
/// The pause between two attempts at what it must do first.
const AGAIN: Duration = Duration::from_secs(2);
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
    let join_key = std::env::var(PLATFORM_JOIN_KEY).ok().filter(|key| !key.is_empty());
    let join_key = join_key
        .ok_or_else(|| TargetError::new(Problem::Refused, format!("{PLATFORM_JOIN_KEY} is not set")))?;
    let pods = Pods::new(client, settings, join_key);
    let own = pods.clone();
    // Nobody takes their results any more; their jobs are in the store.
    let begin = async move {
        loop {
            match own.remove_all().await {
                Ok(0) => break,
                Ok(removed) => {
                    report.status("Removed", &format!("{removed} workers of an earlier platform"));
                    break;
                }
                Err(error) => {
                    report.warning(&format!(
                        "cannot remove the workers of an earlier platform yet: {}",
                        words(&error)
                    ));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    };
    let directory = DataDirectory::open(Path::new(DATA))?;
    let control = TcpListener::bind(("127.0.0.1", CONTROL_PORT)).await.map_err(|error| {
        TargetError::new(Problem::Failed, format!("cannot listen on port {CONTROL_PORT}")).because(error)
    })?;
    serve_in_cluster(&directory, begin, Arc::new(pods), control, report).await
}

//! Makes an environment: its name, its port, its first key.
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use flash_process::port_holder::holder_of;
use flash_target::{Created, EnvironmentId, NewEnvironment, Problem, TargetError};
use tokio::net::TcpListener;

use super::{blocking::blocking, host::Host, keys, platform, view};

/// Ports of environments made without one.
const PORTS: std::ops::RangeInclusive<u16> = 8900..=9899;

/// Makes an environment and its first key. It listens at once, and answers that nothing is deployed.
pub(super) async fn create(host: &Host, new: NewEnvironment) -> Result<Created, TargetError> {
    check_name(&new.id)?;
    let _alone = host.list.lock().await;
    let id = new.id.clone();
    if host.ask(move |database| database.has_environment(&id)).await? {
        return Err(exists(&new.id));
    }
    let listen = new.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (listener, port) = free_port(host, listen, new.port).await?;
    let directory = host.directory.environment(&new.id);
    let id = new.id.clone();
    let stored = host
        .ask(move |database| {
            // Left by an environment that was only partly removed.
            let _ = std::fs::remove_dir_all(directory.path());
            database.add_environment(&new, listen, port)
        })
        .await?;
    let key = stored.key;
    let made = async {
        let running = host.add(stored).await?;
        platform::start(host, &running, listener).await?;
        keys::add(host, &running, "first").await
    };
    match made.await {
        Ok(key) => {
            keys::hand_out(host).await?;
            Ok(Created { environment: view::environment(host, &id).await?, key: Some(key) })
        }
        Err(error) => {
            // Undo everything; if that fails too, report the first error.
            let running = host.running().remove(&id);
            if let Some(running) = running {
                running.end().await;
            }
            let directory = host.directory.environment(&id);
            let _ = host
                .ask(move |database| {
                    let _ = std::fs::remove_dir_all(directory.path());
                    database.remove_environment(key)
                })
                .await;
            Err(error)
        }
    }
}

/// The requested port, or the first free one that no other environment has.
async fn free_port(
    host: &Host,
    listen: IpAddr,
    wished: Option<u16>,
) -> Result<(TcpListener, u16), TargetError> {
    let taken: Vec<u16> = host.all().iter().map(|running| running.stored.port).collect();
    let failed = |message: String| TargetError::new(Problem::Failed, message);
    let mut last = None;
    for port in wished.map_or(PORTS, |port| port..=port).filter(|port| *port > 0) {
        if taken.contains(&port) {
            last = Some(failed(format!("port {port} belongs to another environment")));
            continue;
        }
        match TcpListener::bind((listen, port)).await {
            Ok(listener) => return Ok((listener, port)),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                let message = format!("`{listen}` is not an address of this machine");
                return Err(TargetError::new(Problem::Refused, message));
            }
            Err(error) => {
                let holder = blocking(move || Ok::<_, TargetError>(holder_of(port))).await?;
                let mut problem = failed(format!("cannot listen on {listen}, port {port}")).because(error);
                if let Some(holder) = holder {
                    problem = problem.leaving(format!("it is held by {holder}"));
                }
                last = Some(problem);
            }
        }
    }
    let error = last.unwrap_or_else(|| failed("port 0 cannot be kept".to_owned()));
    Err(error.hint("choose a free port: --port PORT"))
}

/// The app's name is part of paths; a package's name is always valid.
fn check_name(id: &EnvironmentId) -> Result<(), TargetError> {
    let app = &id.app;
    let is_name = (1..=100).contains(&app.len())
        && app.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !is_name {
        let message = format!("`{app}` is not a valid app name; expected letters, digits, `-` and `_`");
        return Err(TargetError::new(Problem::Refused, message));
    }
    EnvironmentId::new(app, &id.name).map(|_| ()).map_err(|error| TargetError::of(Problem::Refused, error))
}

fn exists(id: &EnvironmentId) -> TargetError {
    TargetError::new(Problem::Exists, format!("`{}` already has an environment `{}`", id.app, id.name))
        .hint(format!("deploy to it: flash deploy send {}", id.name))
}

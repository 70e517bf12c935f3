//! Restarts an environment: its port, its live release, older releases with work left.
//!
//! Retried until it succeeds. An environment that cannot be restarted does not hold up the others.
use std::{sync::Arc, time::Duration};

use flash_target::TargetError;
use flash_text::error_chain;

use super::{
    host::Host,
    platform, release,
    running::{RunState, Running},
    scales,
};

/// The pause between tries.
const BETWEEN_TRIES: Duration = Duration::from_secs(3);

/// Retries until it runs as it should, is removed, or the service ends.
pub(super) async fn restart(host: Arc<Host>, running: Arc<Running>) {
    loop {
        let tried = tokio::select! {
            tried = try_restart(&host, &running) => tried,
            () = host.closing.cancelled() => return,
        };
        match tried {
            Ok(()) => {
                running.set_trouble(None);
                return;
            }
            Err(reason) => running.set_trouble(Some(reason)),
        }
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_TRIES) => {}
            () = running.gone.cancelled() => return,
            () = host.closing.cancelled() => return,
        }
    }
}

async fn try_restart(host: &Host, running: &Arc<Running>) -> Result<(), String> {
    let text = |error: TargetError| error.text();
    let _change = running.begin_own().ok_or("it is being changed")?;
    let key = running.stored.key;
    let live = host.ask(move |database| database.live_number(key)).await.map_err(text)?;
    let spec = match live {
        Some(number) => Some(release::stored_spec(host, running, number).await.map_err(text)?),
        None => None,
    };
    let platform = match running.state() {
        RunState::Up { platform, .. } => platform,
        RunState::Down { .. } => {
            let listener = platform::listen(running).await.map_err(text)?;
            let runtime = spec.as_ref().map(|spec| spec.runtime.clone()).unwrap_or_default();
            platform::start_with(host, running, listener, runtime).await.map_err(text)?
        }
    };
    platform.expect(platform::expected(live));
    // First, so that their jobs are always visible.
    release::resume_stored(host, running, &platform, live).await;
    if let Some((number, spec)) = live.zip(spec.as_ref())
        && platform.overview().live != live
    {
        release::check_artifact(host, running, spec).await.map_err(text)?;
        let new = release::prepare(host, running, number, spec).await.map_err(text)?;
        platform.deploy(new, |_| ()).await.map_err(|error| error_chain(&error))?;
        scales::restore(host, running, &platform).await.map_err(text)?;
    }
    if live.is_some() {
        platform.adopt_rest();
    }
    Ok(())
}

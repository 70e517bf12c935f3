//! Removes an environment with everything that belongs to it.
use std::io;

use flash_target::{EnvironmentId, Problem, TargetError};

use super::{blocking::blocking, host::Host, keys};

/// Stops an environment and deletes everything that belongs to it.
pub(super) async fn remove(host: &Host, id: &EnvironmentId) -> Result<(), TargetError> {
    let running = host.find(id)?;
    let _change = running.begin().await?;
    let _alone = host.list.lock().await;
    let key = running.stored.key;
    // First: if this is interrupted, only a directory is left, which the next start deletes. If this fails,
    // nothing has changed.
    host.ask(move |database| database.remove_environment(key)).await?;
    running.end().await;
    let directory = running.directory.clone();
    let deleted = blocking(move || -> Result<(), TargetError> {
        // Stays while the app has other environments.
        let leave_app = || directory.path().parent().map(std::fs::remove_dir);
        std::fs::remove_dir_all(directory.path()).or_else(missing_is_fine).map_err(|error| {
            let path = directory.path().display();
            TargetError::new(Problem::Failed, format!("cannot delete {path} until the next start"))
                .because(error)
        })?;
        let _ = leave_app();
        Ok(())
    });
    if let Err(error) = deleted.await {
        host.report.warning(&format!("{id}: {}", error.text()));
    }
    host.running().remove(id);
    keys::hand_out(host).await
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

//! Worker types of `flash.toml` with an `image`: fetches their images into a container engine.
//!
//! The app itself needs no engine: it is looked for only when a worker type is an image.
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

use flash_containers::Engine;
use flash_platform::Images;
use tokio::sync::OnceCell;

use super::{
    image::{engine, not_usable},
    workspace::Settings,
};
use crate::{exit::Failure, output::Output, project::Config};

/// See the module.
#[derive(Default)]
pub(super) struct ProgramImages {
    /// Found with the first image, and used as long as `flash run` runs.
    engine: OnceCell<Arc<Engine>>,
}

impl ProgramImages {
    /// Fetches the images of these settings that the engine does not have; `None` if no worker type is an image.
    /// Containers write their files to the directory.
    ///
    /// # Errors
    /// When there is no engine, and when an image cannot be fetched or does not run here.
    pub(super) async fn fetch(
        &self,
        config: &Config,
        settings: &Settings,
        limits: bool,
        directory: &Path,
        output: &Output,
    ) -> Result<Option<Arc<Images>>, Failure> {
        let wanted = settings.commands.iter().filter_map(|command| {
            let image = command.program.image()?;
            Some((command.worker_type.name.clone(), image.to_owned()))
        });
        let wanted: BTreeMap<String, String> = wanted.collect();
        let Some((first, _)) = wanted.first_key_value() else { return Ok(None) };
        let find = || async { engine(&config.container, limits, output).await.map(Arc::new) };
        let engine = self.engine.get_or_try_init(find).await.map_err(|failure| {
            failure.adding(&format!("; worker type `{first}` in flash.toml is an image and needs one"))
        })?;
        engine.check_environment(&settings.environment).map_err(not_usable)?;
        let mut ids = BTreeMap::new();
        for (worker, image) in wanted {
            ids.insert(worker.clone(), fetch(engine, &worker, &image, output).await?);
        }
        let directory = directory.join("programs");
        Ok(Some(Arc::new(Images { engine: engine.clone(), ids, directory })))
    }
}

/// The ID of one image in the engine's store.
async fn fetch(engine: &Engine, worker: &str, image: &str, output: &Output) -> Result<String, Failure> {
    let mut began = None;
    let id = flash_containers::obtain(engine, image, || {
        began = Some(Instant::now());
        output.status("Pulling", &format!("{image} for {worker}, by {}", engine.program()));
    })
    .await
    .map_err(not_usable)?;
    if let Some(began) = began {
        output.status("Pulled", &format!("{image} in {:.1} s", began.elapsed().as_secs_f64()));
    }
    Ok(id)
}

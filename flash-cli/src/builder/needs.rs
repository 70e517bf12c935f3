//! Whether images have the programs that their worker types need.
use flash_image::{Image, Layout, MissingPrograms, ProgramSearch, ProgramsError};

use super::{
    plan::{Plan, PlannedBase, PlannedImage},
    steps::{Build, on_thread},
};
use crate::exit::{Failure, FailureCode};

/// An image lacks a program.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NeedsError {
    #[error("`{worker}` needs `{programs}`, but its image has no base: it contains only the app")]
    NoBase { worker: String, programs: String },
    #[error("`{worker}` needs `{programs}`, not found in its image: the PATH of the base is {path}")]
    Missing { worker: String, programs: String, path: String },
}

impl NeedsError {
    fn of(planned: &PlannedImage, missing: MissingPrograms) -> Self {
        let (worker, programs) = (planned.worker.clone(), missing.programs.join("`, `"));
        match planned.base {
            None => Self::NoBase { worker, programs },
            Some(PlannedBase::Own(_) | PlannedBase::Cuda(_)) => {
                Self::Missing { worker, programs, path: missing.path }
            }
        }
    }

    /// What to do next.
    pub(super) fn hint(&self) -> String {
        let (Self::NoBase { worker, .. } | Self::Missing { worker, .. }) = self;
        let image = match self {
            Self::NoBase { .. } => "name an image that has it",
            Self::Missing { .. } => "name another image",
        };
        format!("{image} as `base` under [build.workers.{worker}] in flash.toml, or correct `needs` there")
    }
}

impl Build<'_> {
    /// Looks for what worker types need in their images. An image that cannot be searched is reported and taken as it
    /// is.
    ///
    /// # Errors
    /// When an image lacks a program, or a layer cannot be read.
    pub(super) async fn check_needs(
        &self,
        plan: &Plan,
        images: &[Image],
        layout: &Layout,
    ) -> Result<(), Failure> {
        let pairs = plan.images.iter().zip(images).filter(|(planned, _)| !planned.needs.is_empty());
        let pairs: Vec<(PlannedImage, Image)> =
            pairs.map(|(planned, image)| (planned.clone(), image.clone())).collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let _shown = self.output.activity("Searching", "for programs in images");
        let layout = layout.clone();
        let searched = on_thread(move || {
            let mut search = ProgramSearch::new(&layout);
            let look = |(planned, image): (PlannedImage, Image)| {
                let missing = search.missing(&image, &planned.needs);
                (planned, missing)
            };
            pairs.into_iter().map(look).collect::<Vec<_>>()
        });
        for (planned, missing) in searched.await? {
            match missing {
                Ok(None) => {}
                Ok(Some(missing)) => return Err(NeedsError::of(&planned, missing).into()),
                Err(ProgramsError::Layout(error)) => return Err(Failure::of(FailureCode::Failed, &error)),
                Err(error @ (ProgramsError::Compression { .. } | ProgramsError::TooMany { .. })) => {
                    self.output.warning(&format!(
                        "cannot check whether the image of {} has `{}`: {error}",
                        planned.worker,
                        planned.needs.join("`, `")
                    ));
                }
            }
        }
        Ok(())
    }
}

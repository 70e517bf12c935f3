//! The user's project: its crate, `flash.toml`, `.env`, and the app binary that cargo builds.
mod app;
mod build_settings;
mod command_worker;
mod config;
mod dep_info;
mod edit;
mod entry;
mod environments;
mod failure;
mod last_manifest;
mod model_profile;
mod overrides;
mod package;
mod programs;

pub(crate) use app::{Build, BuildError, BuiltApp, DescribeError, build, describe, print_first_build};
pub(crate) use build_settings::{BuildSettings, CudaPolicy};
pub(crate) use command_worker::files_of;
pub(crate) use config::{Config, ConfigError, load_dotenv};
pub(crate) use edit::{Declaration, EditError, add_environment, remove_environment};
pub(crate) use environments::{EnvironmentSettings, check_variable_name};
pub(crate) use last_manifest::{LastManifest, SourceState};
pub(crate) use model_profile::MODEL_PROFILE;
pub(crate) use package::{Package, PackageError};
pub(crate) use programs::{LackingWorker, find, lacking, search_path};

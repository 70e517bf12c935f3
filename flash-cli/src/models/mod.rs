//! The models of an app: which there are, whether they are locked and here, and fetching them with progress.
//!
//! `flash-weights` knows the Hub and its cache. Commands decide when models are needed, and print what became of them.
mod deployed;
mod failure;
mod fetch;
mod place;
mod room;
mod wanted;

pub(crate) use deployed::{check_lock, deployed};
pub(crate) use fetch::{Fetched, LockPolicy, fetch};
pub(crate) use place::ModelPlace;
pub(crate) use wanted::{WantedModel, wanted};

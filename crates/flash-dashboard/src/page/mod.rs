//! The pages, a file each. `frame` is around all of them, `parts` has what several show.
mod costs;
mod failed;
mod frame;
mod login;
mod logs;
mod models;
mod overview;
mod parts;
mod releases;
mod request;
mod requests;
mod schedules;
#[cfg(test)]
mod tests;
mod workers;

pub use costs::costs;
pub use failed::failed;
pub use frame::message;
pub use login::login;
pub use logs::{log_item, logs};
pub use models::models;
pub use overview::overview;
pub use releases::{releases, way_back};
pub use request::request;
pub use requests::requests;
pub use schedules::schedules;
pub use workers::workers;

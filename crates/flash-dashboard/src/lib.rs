//! The dashboard: what its pages look like, and how a browser stays logged in.
//!
//! It owns the HTML, the style sheet, the scripts, the vendored library for curves, the headers that protect pages, and
//! the sessions with their cookie. It takes plain data ([`view`]) and returns text: where the data is from, who has a
//! valid key and how an answer is sent is left to the gateway of `flash-platform`.
//!
//! Every page is complete without its script. The script fetches the page again while somebody looks, and replaces the
//! parts that have changed.
#![warn(unreachable_pub)]

mod asset;
mod headers;
mod page;
mod session;
mod text;
pub mod view;

pub use asset::{Asset, asset};
pub use headers::PAGE_HEADERS;
pub use page::{
    costs, failed, log_item, login, logs, message, models, overview, releases, request, requests, schedules,
    way_back, workers,
};
pub use session::{Sessions, Transport};

/// Where the dashboard is. All its addresses begin with this.
pub const ROOT: &str = "/_flash/";

//! The plan from one release to the next: what changes, what that breaks for callers, what an hour costs before and after.
//!
//! [`Plan::between`] compares two releases, and is a pure function of both. `schema` compares their schemas, `cost` says
//! what they cost, `lines` words a change for people. The commands show plans before they change anything; the
//! background service has them for the dashboard. Who asks for a plan, and who has to agree to it, is left to them.
#![warn(unreachable_pub)]

mod cost;
mod field_change;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod lines;
mod plan;
mod schema;

pub use cost::HourlyCost;
pub use field_change::FieldChange;
pub use lines::{Line, Mark};
pub use plan::{Action, Change, Plan, Subject};

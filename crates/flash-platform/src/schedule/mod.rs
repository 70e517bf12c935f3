//! Functions that run at times of the clock.
//!
//! `timetable` says when an expression fires, `decide` which of these times become jobs now; both are pure. `scheduler`
//! carries that out for the live release: a run is a job like any other, in the queue of its worker type. What must
//! outlive the platform is in `kept`, which the store has beside the jobs. How a job runs is up to the queue.
mod decide;
mod kept;
mod overview;
mod scheduler;
mod timetable;

pub use overview::{ScheduleError, ScheduleOverview, ScheduleRun};
pub(crate) use scheduler::Schedules;

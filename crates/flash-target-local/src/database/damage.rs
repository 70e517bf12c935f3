//! Unreadable rows: they are skipped and reported, so that one of them stops nothing else.
//!
//! They stay in place, as does everything that refers to them, so that they can be repaired.
use std::collections::BTreeMap;

use parking_lot::Mutex;
use rusqlite::{Row, Rows, types::ValueRef};

use super::{
    environment_key::EnvironmentKey,
    error::{DatabaseError, Result},
};

/// Rows that could not be read.
#[derive(Default)]
pub(super) struct Damages(Mutex<BTreeMap<Place, Damage>>);

/// The environment, unless it is the environment's own row, and the row.
type Place = (Option<EnvironmentKey>, String);

struct Damage {
    problem: String,
    is_reported: bool,
}

impl Damages {
    /// All readable rows; the others are recorded. The first column identifies the row.
    pub(super) fn readable<T>(
        &self,
        environment: Option<EnvironmentKey>,
        table: &str,
        mut rows: Rows<'_>,
        read: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            match read(row) {
                Ok(read) => all.push(read),
                Err(error) => self.note(environment, table, row, &error),
            }
        }
        Ok(all)
    }

    /// Records a row that cannot be read.
    fn note(&self, environment: Option<EnvironmentKey>, table: &str, row: &Row<'_>, error: &DatabaseError) {
        let name = match row.get_ref(0) {
            Ok(ValueRef::Integer(number)) => number.to_string(),
            Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            _ => "with unknown name".to_owned(),
        };
        let problem = flash_text::error_chain(error);
        let place = (environment, format!("{table} {name}"));
        self.0.lock().entry(place).or_insert(Damage { problem, is_reported: false });
    }

    /// Rows that could not be read: of this environment, or, for `None`, of environments themselves.
    pub(super) fn of(&self, environment: Option<EnvironmentKey>) -> Vec<String> {
        let damages = self.0.lock();
        let own = damages.iter().filter(|((of, _), _)| *of == environment);
        own.map(|((_, place), damage)| text(place, damage)).collect()
    }

    /// Those not yet logged.
    pub(super) fn unreported(&self) -> Vec<String> {
        let mut damages = self.0.lock();
        let unreported = damages.iter_mut().filter(|(_, damage)| !damage.is_reported);
        unreported
            .map(|((_, place), damage)| {
                damage.is_reported = true;
                text(place, damage)
            })
            .collect()
    }
}

fn text(place: &str, Damage { problem, .. }: &Damage) -> String {
    format!("flash.db: cannot read the row of {place}, skipping it: {problem}")
}

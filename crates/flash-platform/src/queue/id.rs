//! Job IDs.
use std::fmt;

use uuid::Uuid;

/// A job's id. Ordered by the time of submission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId {
    uuid: Uuid,
    sync: bool,
}

/// The prefix of the ID of a job that a client waits for, as on the provider.
const SYNC: &str = "sync-";

impl JobId {
    /// A new one for a job whose submitter gets the id and asks later.
    pub(super) fn of_run() -> Self {
        Self { uuid: Uuid::now_v7(), sync: false }
    }

    /// A new one for a job whose submitter waits.
    pub(super) fn of_waited() -> Self {
        Self { uuid: Uuid::now_v7(), sync: true }
    }

    /// As it is stored.
    pub(super) fn to_parts(self) -> ([u8; 16], bool) {
        (self.uuid.into_bytes(), self.sync)
    }

    /// From the stored form.
    pub(super) fn from_parts(bytes: [u8; 16], sync: bool) -> Self {
        Self { uuid: Uuid::from_bytes(bytes), sync }
    }

    /// Parses an ID from a client or worker; `None` if it cannot be an ID of the platform.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (text, sync) = match text.strip_prefix(SYNC) {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        // Accepts only the form that Flash writes, because two spellings must not name one job.
        let is_ours = text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let uuid = Uuid::try_parse(text).ok().filter(|_| is_ours)?;
        Some(Self { uuid, sync })
    }

    /// Whether its submitter waits for the end.
    pub(super) fn is_waited(self) -> bool {
        self.sync
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.sync { SYNC } else { "" };
        write!(f, "{prefix}{}", self.uuid.as_hyphenated())
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("job_id", |data| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(id) = JobId::parse(text) {
        assert_eq!(id.to_string(), text, "an id has one written form");
    }
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_nothing_else_is_one() {
        for id in [JobId::of_run(), JobId::of_waited()] {
            assert_eq!(JobId::parse(&id.to_string()), Some(id));
            let (bytes, sync) = id.to_parts();
            assert_eq!(JobId::from_parts(bytes, sync), id);
        }
        for wrong in ["", "sync-", "nope", "sync-sync-0190", "0190b6c0d2f07c0a8000000000000000", "../x"] {
            assert_eq!(JobId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn later_ids_are_greater() {
        let ids: Vec<JobId> = (0..100).map(|_| JobId::of_run()).collect();
        assert!(ids.is_sorted());
    }
}

//! The history of an environment, stored as templates in the cloud. No I/O.
//!
//! Each release is a private template whose variables are its record; nothing ever runs from it. These records
//! alone decide which of two senders may go on, which release is live, and which sends have died.
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flash_target::{EnvironmentId, Problem, ReleaseRecord, ReleaseSpec, ReleaseState, TargetError, now_ms};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use super::{
    names::{APP, ENVIRONMENT, RELEASE, release_in, template_name},
    rest::{CreateTemplate, Source, Template},
};

/// A send whose sender was silent for longer has died.
pub(super) const STALE: Duration = Duration::from_secs(60);
/// The length of one variable in characters.
const PIECE: usize = 30_000;
/// The largest size of an unpacked record: its content is not trusted.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

const STATE: &str = "FLASH_STATE";
const REASON: &str = "FLASH_REASON";
const CREATED: &str = "FLASH_CREATED_MS";
const HEARTBEAT: &str = "FLASH_HEARTBEAT_MS";
const SENDER: &str = "FLASH_SENDER";
const NOTES: &str = "FLASH_NOTES";
const ROLLBACK_OF: &str = "FLASH_ROLLBACK_OF";
const SPEC: &str = "FLASH_SPEC_";

/// A release's state, as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Starting,
    Live,
    Replaced,
    Failed(String),
}

/// A release in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub number: u64,
    pub state: State,
    pub created_ms: u64,
    pub heartbeat_ms: u64,
    pub sender: String,
    pub notes: Option<String>,
    pub rollback_of: Option<u64>,
    pub spec: ReleaseSpec,
}

/// An entry and the template that holds it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredEntry {
    pub template: String,
    pub entry: Entry,
}

/// An unreadable record.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the record of a release: {what}")]
pub(super) struct Damaged {
    what: String,
    source: Option<Source>,
}

impl Damaged {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    fn because(what: &str, source: Source) -> Self {
        Self { what: what.to_owned(), source: Some(source) }
    }

    fn in_template(self, template: &str) -> Self {
        Self { what: format!("{template}: {}", self.what), ..self }
    }
}

impl Entry {
    /// A release that is starting now.
    pub(super) fn starting(
        number: u64,
        spec: ReleaseSpec,
        notes: Option<String>,
        rollback_of: Option<u64>,
    ) -> Self {
        let now = now_ms();
        let sender = uuid::Uuid::new_v4().simple().to_string();
        Self {
            number,
            state: State::Starting,
            created_ms: now,
            heartbeat_ms: now,
            sender,
            notes,
            rollback_of,
            spec,
        }
    }

    /// All of its variables.
    ///
    /// # Errors
    /// When the spec has no JSON form.
    pub(super) fn variables(&self, id: &EnvironmentId) -> Result<BTreeMap<String, String>, Damaged> {
        let (state, reason) = match &self.state {
            State::Starting => ("starting", None),
            State::Live => ("live", None),
            State::Replaced => ("replaced", None),
            State::Failed(reason) => ("failed", Some(reason.clone())),
        };
        let said = [
            (APP, Some(id.app.clone())),
            (ENVIRONMENT, Some(id.name.clone())),
            (RELEASE, Some(self.number.to_string())),
            (STATE, Some(state.to_owned())),
            (REASON, reason),
            (CREATED, Some(self.created_ms.to_string())),
            (HEARTBEAT, Some(self.heartbeat_ms.to_string())),
            (SENDER, Some(self.sender.clone())),
            (NOTES, self.notes.clone()),
            (ROLLBACK_OF, self.rollback_of.map(|number| number.to_string())),
        ];
        let said = said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Ok(said.chain(packed(&self.spec)?).collect())
    }

    /// The template that holds it.
    ///
    /// # Errors
    /// As for [`Entry::variables`].
    pub(super) fn template(&self, id: &EnvironmentId) -> Result<CreateTemplate, Damaged> {
        let first = match &self.spec.artifact {
            flash_target::ArtifactSpec::Images { images, .. } => images.values().next().cloned(),
            flash_target::ArtifactSpec::Binaries { .. } => None,
        };
        let image = first.ok_or_else(|| Damaged::new("it has no image"))?;
        Ok(CreateTemplate {
            name: template_name(id, self.number),
            image,
            env: self.variables(id)?,
            serverless: true,
        })
    }

    /// Whether its sender is still active.
    pub(super) fn is_under_way(&self, now_ms: u64) -> bool {
        self.state == State::Starting
            && now_ms.saturating_sub(self.heartbeat_ms)
                <= u64::try_from(STALE.as_millis()).unwrap_or(u64::MAX)
    }

    /// As shown in the history.
    pub(super) fn record(&self, now_ms: u64) -> ReleaseRecord {
        let state = match &self.state {
            State::Starting if self.is_under_way(now_ms) => ReleaseState::Starting,
            State::Starting => ReleaseState::Failed { reason: "its sender was cut off".to_owned() },
            State::Live => ReleaseState::Live,
            State::Replaced => ReleaseState::Replaced,
            State::Failed(reason) => ReleaseState::Failed { reason: reason.clone() },
        };
        ReleaseRecord {
            number: self.number,
            created_ms: self.created_ms,
            state,
            digest: self.spec.artifact.digest().to_owned(),
            origin: self.spec.origin.clone(),
            notes: self.notes.clone(),
            rollback_of: self.rollback_of,
            kept: true,
        }
    }

    fn of(number: u64, env: &BTreeMap<String, String>) -> Result<Self, Damaged> {
        let text = |name: &str| env.get(name).cloned();
        let number_of = |name: &str| env.get(name).and_then(|text| text.parse::<u64>().ok());
        let needed = |name: &str| number_of(name).ok_or_else(|| Damaged::new(format!("it has no {name}")));
        let state = match env.get(STATE).map(String::as_str) {
            Some("starting") => State::Starting,
            Some("live") => State::Live,
            Some("replaced") => State::Replaced,
            Some("failed") => State::Failed(text(REASON).unwrap_or_else(|| "no reason recorded".to_owned())),
            other => return Err(Damaged::new(format!("`{}` is not a state", other.unwrap_or_default()))),
        };
        Ok(Self {
            number,
            state,
            created_ms: needed(CREATED)?,
            heartbeat_ms: needed(HEARTBEAT)?,
            sender: text(SENDER).unwrap_or_default(),
            notes: text(NOTES),
            rollback_of: number_of(ROLLBACK_OF),
            spec: unpacked(env)?,
        })
    }
}

/// The releases of an environment by number, newest first. Templates of others are skipped.
///
/// # Errors
/// When one of ours cannot be read: nothing is done on an incomplete history.
pub(super) fn entries(id: &EnvironmentId, templates: &[Template]) -> Result<Vec<StoredEntry>, Damaged> {
    let mut kept = Vec::new();
    for template in templates {
        let Some((owner, number)) = release_in(template) else { continue };
        if owner != *id {
            continue;
        }
        let entry =
            Entry::of(number, &template.env).map_err(|damaged| damaged.in_template(&template.name))?;
        kept.push(StoredEntry { template: template.id.clone(), entry });
    }
    kept.sort_by(|one, other| {
        let key = |kept: &StoredEntry| (std::cmp::Reverse(kept.entry.number), turn(&kept.entry));
        key(one).cmp(&key(other))
    });
    Ok(kept)
}

/// The live release: the latest one recorded as live.
pub(super) fn live(entries: &[StoredEntry]) -> Option<&StoredEntry> {
    entries.iter().filter(|kept| kept.entry.state == State::Live).max_by_key(|kept| kept.entry.number)
}

/// Another running send.
#[derive(Debug, PartialEq)]
pub(super) struct ConcurrentSend<'a> {
    pub entry: &'a Entry,
    /// Whether its turn comes before ours.
    pub is_first: bool,
}

/// The other running send whose turn is first.
pub(super) fn concurrent_send<'a>(
    entries: &'a [StoredEntry],
    own: &Entry,
    now_ms: u64,
) -> Option<ConcurrentSend<'a>> {
    let others = entries.iter().map(|kept| &kept.entry);
    others
        .filter(|entry| entry.sender != own.sender && entry.is_under_way(now_ms))
        .min_by_key(|entry| turn(entry))
        .map(|entry| ConcurrentSend { entry, is_first: turn(entry) < turn(own) })
}

fn turn(entry: &Entry) -> (u64, String) {
    (entry.created_ms, entry.sender.clone())
}

fn packed(spec: &ReleaseSpec) -> Result<Vec<(String, String)>, Damaged> {
    let damaged = |source: Source| Damaged::because("it cannot be packed", source);
    let json = serde_json::to_vec(spec).map_err(|error| damaged(error.into()))?;
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&json).map_err(|error| damaged(error.into()))?;
    let text = BASE64_STANDARD.encode(packer.finish().map_err(|error| damaged(error.into()))?);
    let pieces = text.as_bytes().chunks(PIECE).enumerate();
    Ok(pieces
        .map(|(at, piece)| (format!("{SPEC}{at}"), String::from_utf8_lossy(piece).into_owned()))
        .collect())
}

fn unpacked(env: &BTreeMap<String, String>) -> Result<ReleaseSpec, Damaged> {
    let damaged = |source: Source| Damaged::because("its spec is damaged", source);
    let text: String = (0..).map_while(|at: u32| env.get(&format!("{SPEC}{at}")).cloned()).collect();
    let packed = BASE64_STANDARD.decode(text).map_err(|error| damaged(error.into()))?;
    let mut json = Vec::new();
    GzDecoder::new(packed.as_slice())
        .take(MOST_BYTES)
        .read_to_end(&mut json)
        .map_err(|error| damaged(error.into()))?;
    serde_json::from_slice(&json).map_err(|error| damaged(error.into()))
}

impl From<Damaged> for TargetError {
    fn from(error: Damaged) -> Self {
        Self::of(Problem::Failed, error)
            .hint("somebody edited a template made by flash: delete that template in the console")
    }
}

#[cfg(test)]
mod tests;

//! Lines of workers, and how they are read: as server-sent events.
use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use axum::body::{Body, Bytes};
use serde_json::json;

use super::{cloud::Inner, state::timestamp};

#[derive(Debug, Clone)]
pub struct Line {
    sequence: u64,
    at: SystemTime,
    source: &'static str,
    text: String,
}

/// The lines of one worker. Those of a container are gone with it; those of the system stay.
#[derive(Debug, Default)]
pub struct Lines {
    kept: Vec<Line>,
    /// Of the line that comes next.
    next: u64,
}

impl Lines {
    pub fn push(&mut self, source: &'static str, text: String) {
        self.kept.push(Line { sequence: self.next, at: SystemTime::now(), source, text });
        self.next += 1;
    }

    pub fn forget_container(&mut self) {
        self.kept.retain(|line| line.source == "system");
    }

    pub fn texts(&self) -> Vec<String> {
        self.kept.iter().map(|line| line.text.clone()).collect()
    }
}

impl Line {
    fn event(&self) -> String {
        let ts = timestamp(self.at);
        let data = json!({ "ts": ts, "source": self.source, "line": self.text });
        format!("id: {ts}/{:012}\ndata: {data}\n\n", self.sequence)
    }
}

/// Where reading begins, and what is read.
pub struct Reading {
    worker: String,
    source: Option<String>,
    from: u64,
    since: Option<String>,
}

impl Reading {
    /// `Last-Event-ID` is stronger than `since`, which is stronger than `tail`.
    pub fn new(worker: String, query: &BTreeMap<String, String>, last: Option<&str>, lines: &Lines) -> Self {
        let source = query.get("source").cloned();
        let mut reading = Self { worker, source, from: 0, since: None };
        if let Some((_, sequence)) = last.and_then(|last| last.rsplit_once('/')) {
            reading.from = sequence.parse::<u64>().map_or(0, |sequence| sequence + 1);
        } else if let Some(since) = query.get("since") {
            reading.since = Some(since.clone());
        } else {
            let tail: usize = query.get("tail").and_then(|tail| tail.parse().ok()).unwrap_or(100);
            let of_source: Vec<u64> = reading.chosen(lines).map(|line| line.sequence).collect();
            let at = of_source.len().saturating_sub(tail);
            reading.from = of_source.get(at).copied().unwrap_or(lines.next);
        }
        reading
    }

    fn chosen<'a>(&'a self, lines: &'a Lines) -> impl Iterator<Item = &'a Line> {
        lines.kept.iter().filter(|line| {
            line.sequence >= self.from
                && self.source.as_ref().is_none_or(|source| source == line.source)
                && self.since.as_ref().is_none_or(|since| is_since(line.at, since))
        })
    }
}

fn is_since(at: SystemTime, since: &str) -> bool {
    let since: Option<jiff::Timestamp> = since.parse().ok();
    let at = jiff::Timestamp::try_from(at).ok();
    since.zip(at).is_none_or(|(since, at)| at >= since)
}

/// A stream that stays open, silently when nothing happens.
pub fn stream(inner: Arc<Inner>, reading: Reading) -> Body {
    let events = futures_util::stream::unfold((inner, reading), async |(inner, mut reading)| {
        loop {
            let events: String = {
                let state = inner.state();
                let lines = state.lines.get(&reading.worker);
                let events = lines.map(|lines| reading.chosen(lines).map(Line::event).collect());
                reading.from = lines.map_or(0, |lines| lines.next).max(reading.from);
                events.unwrap_or_default()
            };
            if !events.is_empty() {
                return Some((Ok::<_, std::io::Error>(Bytes::from(events)), (inner, reading)));
            }
            // A change between the look and the wait must not be lost for long.
            let _ = tokio::time::timeout(super::cloud::LOOK, inner.changed.notified()).await;
        }
    });
    Body::from_stream(events)
}

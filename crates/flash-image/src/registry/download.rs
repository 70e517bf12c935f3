//! Downloads one blob into a layout. A broken download resumes where it stopped.
use std::io::Write as _;

use bytes::Bytes;
use http::{StatusCode, header};
use oci_spec::image::{Descriptor, DigestAlgorithm};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    auth::Scope,
    blocking::blocking,
    connection::{Registry, Watch},
    error::RegistryError,
    progress::{OnProgress, Progress},
    range::begins_at,
    retry::Attempts,
    transport::{self, SILENCE},
};
use crate::{BlobWriter, Layout, LayoutError};

/// Pieces that wait for the disk.
const PIECES: usize = 16;
/// The largest number of requests for one blob, for registries that send only a few bytes each time.
const PARTS: usize = 1_000;

/// Source and destination.
pub(super) struct Source<'a> {
    pub registry: &'a Registry,
    pub layout: &'a Layout,
    pub repository: &'a str,
    pub progress: OnProgress<'a>,
}

/// How a blob got into the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    WasThere,
    Downloaded,
}

/// Gets a blob into the layout.
pub(super) async fn get(source: &Source<'_>, blob: &Descriptor) -> Result<Arrival, RegistryError> {
    if *blob.digest().algorithm() != DigestAlgorithm::Sha256 {
        let what = format!("blob {}", blob.digest());
        return Err(RegistryError::Unsupported { what, reason: "only sha256 digests are supported" });
    }
    let (layout, wanted) = (source.layout.clone(), blob.clone());
    let writer = blocking(move || match layout.has(&wanted) {
        true => Ok(None),
        false => layout.writer().map(Some),
    });
    let Some(writer) = writer.await? else {
        source.report_progress(blob, blob.size());
        return Ok(Arrival::WasThere);
    };
    let sink = Sink::start(source.layout, writer);
    let fetched = source.fetch_all(blob, &sink).await;
    // An error of the writer takes precedence: when it fails, the rest fails too.
    let writer = sink.finish().await?;
    fetched?;
    let (found, wanted) = (writer.digest(), blob.digest());
    if found != *wanted {
        return Err(RegistryError::DigestMismatch {
            what: format!("a blob of {} in registry {}", source.repository, source.registry.name()),
            wanted: wanted.clone(),
            found: found.to_string(),
        });
    }
    let media_type = blob.media_type().clone();
    blocking(move || writer.finish(media_type)).await?;
    Ok(Arrival::Downloaded)
}

impl Source<'_> {
    fn report_progress(&self, blob: &Descriptor, done: u64) {
        (self.progress)(Progress { digest: blob.digest().clone(), done, total: blob.size() });
    }

    async fn fetch_all(&self, blob: &Descriptor, sink: &Sink) -> Result<(), RegistryError> {
        let (mut attempts, mut offset) = (Attempts::new(self.registry.retry_policy), 0);
        for _ in 0..PARTS {
            let before = offset;
            let failure = match self.fetch(blob, &mut offset, sink).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if offset > before {
                attempts.progressed();
            }
            attempts.wait_after(failure).await?;
        }
        Err(self.protocol(format!("{PARTS} requests were not enough for one blob")))
    }

    /// One request for everything from the offset on, which moves as data arrives.
    async fn fetch(&self, blob: &Descriptor, offset: &mut u64, sink: &Sink) -> Result<(), RegistryError> {
        let (task, scope) = ("serve a blob", Scope::pull(self.repository));
        let url = self.registry.url(self.repository, &format!("blobs/{}", blob.digest()));
        let request = |client: &reqwest::Client| match *offset {
            0 => client.get(url.clone()),
            offset => client.get(url.clone()).header(header::RANGE, format!("bytes={offset}-")),
        };
        let mut answer = self.registry.ask_once(&scope, task, &Watch::new(SILENCE), request).await?;
        // A server may send everything again.
        let mut known = match answer.status() {
            StatusCode::OK => *offset,
            StatusCode::PARTIAL_CONTENT if begins_at(answer.headers()) == Some(*offset) => 0,
            StatusCode::PARTIAL_CONTENT => {
                return Err(self.protocol("it sent another part than requested".to_owned()));
            }
            _ => return Err(self.registry.refusal(task, answer).await),
        };
        while let Some(mut piece) = transport::piece(&mut answer, self.registry.name()).await? {
            let skipped = known.min(piece.len() as u64);
            known -= skipped;
            let piece = piece.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
            if *offset + piece.len() as u64 > blob.size() {
                return Err(self.protocol(format!("it sent more than the {} bytes of a blob", blob.size())));
            }
            if piece.is_empty() {
                continue;
            }
            *offset += piece.len() as u64;
            if sink.pieces.send(piece).await.is_err() {
                // The writer reports why.
                return Err(self.protocol("unwritten".to_owned()));
            }
            self.report_progress(blob, *offset);
        }
        match *offset == blob.size() {
            true => Ok(()),
            false => Err(RegistryError::Broken {
                registry: self.registry.name().to_owned(),
                source: format!("the blob ended after {offset} of {} bytes", blob.size()).into(),
            }),
        }
    }

    fn protocol(&self, what: String) -> RegistryError {
        RegistryError::Protocol { registry: self.registry.name().to_owned(), what }
    }
}

/// Writes and hashes on a separate thread.
struct Sink {
    pieces: mpsc::Sender<Bytes>,
    written: JoinHandle<Result<BlobWriter, LayoutError>>,
}

impl Sink {
    fn start(layout: &Layout, mut writer: BlobWriter) -> Self {
        let (pieces, mut waiting) = mpsc::channel::<Bytes>(PIECES);
        let path = layout.directory().to_owned();
        // Ends with its sender.
        let written = tokio::task::spawn_blocking(move || {
            while let Some(piece) = waiting.blocking_recv() {
                writer
                    .write_all(&piece)
                    .map_err(|source| LayoutError::Write { path: path.clone(), source })?;
            }
            Ok(writer)
        });
        Self { pieces, written }
    }

    async fn finish(self) -> Result<BlobWriter, LayoutError> {
        drop(self.pieces);
        self.written.await.expect("writing a blob does not panic")
    }
}

//! A stand-in for registries that keep the received part of a broken upload, which Docker's own does not.
use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::AbortHandle;

/// Stopped when dropped.
pub(super) struct Resuming {
    pub address: String,
    store: Shared,
    task: AbortHandle,
}

type Shared = Arc<Mutex<Store>>;

#[derive(Default)]
struct Store {
    blobs: HashMap<String, Vec<u8>>,
    manifests: HashMap<String, Bytes>,
    uploads: HashMap<String, Vec<u8>>,
    breaks: usize,
    forgets: bool,
    /// The most that it accepts of one request.
    most: Option<usize>,
    /// Requests with a part of a blob.
    parts: usize,
    /// How many requests pass before a failure, and its status.
    failures: Vec<(usize, u16)>,
}

impl Resuming {
    pub(super) async fn start() -> Self {
        let store = Shared::default();
        let app = Router::new().fallback(answer).with_state(store.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, store, task: task.abort_handle() }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock()
    }

    pub(super) fn blob(&self, digest: &str) -> Vec<u8> {
        self.store().blobs[digest].clone()
    }

    /// The manifest under `REPOSITORY/TAG`.
    pub(super) fn tag(&self, name: &str) -> Option<Bytes> {
        self.store().manifests.get(name).cloned()
    }

    /// Bodies that ended too early.
    pub(super) fn breaks(&self) -> usize {
        self.store().breaks
    }

    pub(super) fn forget_uploads_after_breaks(&self) {
        self.store().forgets = true;
    }

    /// Accepts no more than this much of each request.
    pub(super) fn take_at_most(&self, bytes: usize) {
        self.store().most = Some(bytes);
    }

    /// Requests with a part of a blob.
    pub(super) fn parts(&self) -> usize {
        self.store().parts
    }

    /// This many of the next requests fail.
    pub(super) fn fail_next(&self, requests: usize, status: u16) {
        self.store().failures.extend((0..requests).map(|_| (0, status)));
    }

    /// One request fails after this many others.
    pub(super) fn fail_later(&self, requests: usize, status: u16) {
        self.store().failures.push((requests, status));
    }
}

impl Drop for Resuming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(store): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
    body: Body,
) -> Response {
    if let Some(status) = failure(&mut store.lock()) {
        let status = StatusCode::from_u16(status).unwrap();
        return (status, [(header::RETRY_AFTER, "0")]).into_response();
    }
    let path = uri.path().strip_prefix("/v2/").unwrap_or_default();
    let (repository, rest) = path.split_once('/').unwrap_or_default();
    match (method.as_str(), rest.split_once('/').unwrap_or_default()) {
        ("HEAD", ("blobs", digest)) => match store.lock().blobs.contains_key(digest) {
            true => StatusCode::OK.into_response(),
            false => StatusCode::NOT_FOUND.into_response(),
        },
        ("HEAD" | "GET", ("manifests", name)) => {
            match store.lock().manifests.get(&format!("{repository}/{name}")) {
                Some(manifest) => manifest.clone().into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            }
        }
        ("PUT", ("manifests", name)) => {
            let Ok(manifest) = axum::body::to_bytes(body, 1 << 20).await else {
                return StatusCode::BAD_REQUEST.into_response();
            };
            store.lock().manifests.insert(format!("{repository}/{name}"), manifest);
            StatusCode::CREATED.into_response()
        }
        ("POST", ("blobs", "uploads/")) => {
            let mut store = store.lock();
            let id = format!("{}", fastrand::u64(..));
            store.uploads.insert(id.clone(), Vec::new());
            standing(StatusCode::ACCEPTED, repository, &id, 0)
        }
        (method, ("blobs", upload)) => {
            let id = upload.trim_start_matches("uploads/");
            upload_step(&store, method, repository, id, &headers, query.get("digest"), body).await
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn failure(store: &mut Store) -> Option<u16> {
    let (left, status) = store.failures.first_mut()?;
    if *left > 0 {
        *left -= 1;
        return None;
    }
    let status = *status;
    store.failures.remove(0);
    Some(status)
}

fn standing(status: StatusCode, repository: &str, id: &str, size: usize) -> Response {
    let range = format!("0-{}", size.saturating_sub(1));
    let location = format!("/v2/{repository}/blobs/uploads/{id}?state=signed");
    (status, [(header::LOCATION, location), (header::RANGE, range)]).into_response()
}

async fn upload_step(
    store: &Shared,
    method: &str,
    repository: &str,
    id: &str,
    headers: &HeaderMap,
    digest: Option<&String>,
    body: Body,
) -> Response {
    let Some(size) = store.lock().uploads.get(id).map(Vec::len) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if method == "GET" {
        return standing(StatusCode::NO_CONTENT, repository, id, size);
    }
    let begins = headers.get(header::CONTENT_RANGE).map(|range| {
        let (first, _) = range.to_str().unwrap().split_once('-').unwrap();
        first.parse::<usize>().unwrap()
    });
    if begins.unwrap_or(0) != size && headers[header::CONTENT_LENGTH] != "0" {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let mut left = {
        let mut store = store.lock();
        store.parts += 1;
        store.most.unwrap_or(usize::MAX)
    };
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let mut store = store.lock();
        match piece {
            Ok(piece) => {
                let taken = &piece[..piece.len().min(left)];
                left -= taken.len();
                store.uploads.get_mut(id).unwrap().extend_from_slice(taken);
            }
            Err(_) => {
                store.breaks += 1;
                if store.forgets {
                    store.uploads.remove(id);
                }
                return StatusCode::BAD_REQUEST.into_response();
            }
        }
    }
    let mut store = store.lock();
    match digest {
        Some(digest) => {
            let blob = store.uploads.remove(id).unwrap();
            store.blobs.insert(digest.clone(), blob);
            StatusCode::CREATED.into_response()
        }
        None => standing(StatusCode::ACCEPTED, repository, id, store.uploads[id].len()),
    }
}

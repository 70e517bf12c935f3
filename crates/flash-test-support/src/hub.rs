//! A server that speaks the Hub's protocol, for one test: the list of files, redirects to a storage on another port
//! for large ones, ranges; and what goes wrong on the way.
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

/// The token that may read gated models.
pub const TOKEN: &str = "hf_a_token_that_may_read";
/// The commit of every model.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Files of this size or more are large: they lie in the storage and are named by their SHA-256.
const LARGE: usize = 1024;
/// How many bytes are sent at once.
const PIECE: usize = 16 << 10;

/// A running server. It ends when dropped.
pub struct FakeHub {
    state: Arc<Hub>,
    endpoint: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The next contents end early, each after so many bytes.
    pub cut_after: Vec<usize>,
    /// So many of the next contents have a wrong byte.
    pub wrong: usize,
    /// So many of the next requests of any kind get this status.
    pub refused: (usize, u16),
    /// The list has neither sizes nor hashes.
    pub bare_list: bool,
    /// Ranges are ignored.
    pub no_ranges: bool,
    /// The list says that each large file has so many bytes.
    pub claimed_size: Option<u64>,
}

struct Hub {
    storage: Mutex<String>,
    models: Mutex<BTreeMap<String, Model>>,
    faults: Mutex<Faults>,
    requests: Mutex<Vec<String>>,
    /// Contents are sent up to this byte; the rest waits.
    limit: watch::Sender<u64>,
    sent: Mutex<u64>,
    /// How many contents are under way.
    sending: AtomicUsize,
}

struct Model {
    files: BTreeMap<String, Bytes>,
    gated: bool,
}

impl FakeHub {
    /// Starts it on free ports, without models.
    pub fn start() -> Self {
        let state = Arc::new(Hub {
            storage: Mutex::default(),
            models: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            limit: watch::channel(u64::MAX).0,
            sent: Mutex::default(),
            sending: AtomicUsize::new(0),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let (told, endpoint) = std::sync::mpsc::channel();
        let of_thread = state.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let hub = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let storage = TcpListener::bind("127.0.0.1:0").await.unwrap();
                *of_thread.storage.lock().unwrap() = format!("http://{}", storage.local_addr().unwrap());
                told.send(format!("http://{}", hub.local_addr().unwrap())).unwrap();
                let serve = |listener, router: Router| async { axum::serve(listener, router).await.unwrap() };
                tokio::select! {
                    () = serve(hub, hub_routes(of_thread.clone())) => {}
                    () = serve(storage, storage_routes(of_thread)) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { state, endpoint: endpoint.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    /// For `HF_ENDPOINT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Adds a model with these files, at `main`, `v1` and [`COMMIT`].
    pub fn add(&self, repo: &str, files: &[(&str, &[u8])]) {
        self.insert(repo, files, false);
    }

    /// Adds a model that needs [`TOKEN`].
    pub fn add_gated(&self, repo: &str, files: &[(&str, &[u8])]) {
        self.insert(repo, files, true);
    }

    fn insert(&self, repo: &str, files: &[(&str, &[u8])], gated: bool) {
        let file = |(name, content): &(&str, &[u8])| ((*name).to_owned(), Bytes::copy_from_slice(content));
        let model = Model { files: files.iter().map(file).collect(), gated };
        self.state.models.lock().unwrap().insert(repo.to_owned(), model);
    }

    /// What goes wrong from now on.
    pub fn fail(&self, faults: Faults) {
        *self.state.faults.lock().unwrap() = faults;
    }

    /// Sends contents up to this byte, and lets the rest wait.
    pub fn send_up_to(&self, byte: u64) {
        self.state.limit.send_replace(byte);
    }

    /// The requests so far, each as `METHOD path`, and ` +token` if it had one.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Whether no content is under way: it has been sent, or the end of its client was noticed. Until then, a client that has
    /// ended may still be sent bytes, which count.
    pub fn is_idle(&self) -> bool {
        self.state.sending.load(Ordering::Acquire) == 0
    }

    /// Bytes of contents that were handed to connections.
    pub fn sent(&self) -> u64 {
        *self.state.sent.lock().unwrap()
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn hub_routes(state: Arc<Hub>) -> Router {
    Router::new()
        .route("/api/models/{org}/{name}/revision/{revision}", get(list))
        .route("/api/models/{org}/{name}", get(list_main))
        .route("/api/models/{org}/{name}/tree/{revision}", get(tree))
        .route("/{org}/{name}/resolve/{revision}/{*file}", get(resolve))
        .with_state(state)
}

fn storage_routes(state: Arc<Hub>) -> Router {
    Router::new().route("/{hash}", get(content)).with_state(state)
}

impl Hub {
    /// Notes a request; a refusal if one is due.
    fn note(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        let token = if headers.contains_key(header::AUTHORIZATION) { " +token" } else { "" };
        self.requests.lock().unwrap().push(format!("{method} {path}{token}"));
        let mut faults = self.faults.lock().unwrap();
        let (times, status) = &mut faults.refused;
        if *times == 0 {
            return None;
        }
        *times -= 1;
        Some(StatusCode::from_u16(*status).unwrap().into_response())
    }

    /// Whether a model at a revision may be read; if not, the refusal.
    fn check(&self, repo: &str, revision: &str, headers: &HeaderMap) -> Result<(), Box<Response>> {
        let refuse = |status: StatusCode, code: &'static str| {
            let mut response = status.into_response();
            response.headers_mut().insert("x-error-code", HeaderValue::from_static(code));
            Box::new(response)
        };
        let models = self.models.lock().unwrap();
        let token = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let may_read = token == Some(format!("Bearer {TOKEN}").as_bytes());
        match models.get(repo) {
            None if token.is_none() => Err(refuse(StatusCode::UNAUTHORIZED, "RepoNotFound")),
            None => Err(refuse(StatusCode::NOT_FOUND, "RepoNotFound")),
            Some(model) if model.gated && token.is_none() => {
                Err(refuse(StatusCode::UNAUTHORIZED, "GatedRepo"))
            }
            Some(model) if model.gated && !may_read => Err(refuse(StatusCode::FORBIDDEN, "GatedRepo")),
            Some(_) if !["main", "v1", COMMIT].contains(&revision) => {
                Err(refuse(StatusCode::NOT_FOUND, "RevisionNotFound"))
            }
            Some(_) => Ok(()),
        }
    }
}

async fn list_main(
    state: State<Arc<Hub>>,
    Path((org, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    list(state, Path((org, name, "main".to_owned())), headers).await
}

async fn list(
    State(hub): State<Arc<Hub>>,
    Path((org, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let repo = format!("{org}/{name}");
    if let Some(refusal) = hub.note(&Method::GET, &format!("/api/models/{repo}"), &headers) {
        return refusal;
    }
    if let Err(refusal) = hub.check(&repo, &revision, &headers) {
        return *refusal;
    }
    let (bare, claimed) = {
        let faults = hub.faults.lock().unwrap();
        (faults.bare_list, faults.claimed_size)
    };
    let file = |(name, content): (&String, &Bytes)| -> Value {
        let mut file = json!({ "rfilename": name });
        if !bare {
            file["size"] = json!(content.len());
            file["blobId"] = json!(git_blob(content));
        }
        if !bare && content.len() >= LARGE {
            let size = claimed.unwrap_or(content.len() as u64);
            file["size"] = json!(size);
            file["lfs"] = json!({ "sha256": sha256(content), "size": size, "pointerSize": 130 });
        }
        file
    };
    let models = hub.models.lock().unwrap();
    let siblings: Vec<Value> = models[&repo].files.iter().map(file).collect();
    Json(json!({ "id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings, "private": false, "tags": [],
        "downloads": 0, "likes": 0 }))
    .into_response()
}

/// The list as the Hub's own client asks for it.
async fn tree(
    State(hub): State<Arc<Hub>>,
    Path((org, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let repo = format!("{org}/{name}");
    if let Err(refusal) = hub.check(&repo, &revision, &headers) {
        return *refusal;
    }
    let file = |(name, content): (&String, &Bytes)| -> Value {
        let (oid, size) = (git_blob(content), content.len());
        let mut file = json!({ "type": "file", "path": name, "size": size, "oid": oid });
        if size >= LARGE {
            file["lfs"] = json!({ "oid": sha256(content), "size": size, "pointerSize": 130 });
        }
        file
    };
    let models = hub.models.lock().unwrap();
    Json(models[&repo].files.iter().map(file).collect::<Vec<Value>>()).into_response()
}

async fn resolve(
    State(hub): State<Arc<Hub>>,
    Path((org, name, revision, file)): Path<(String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let repo = format!("{org}/{name}");
    if let Some(refusal) = hub.note(&method, &format!("/{repo}/resolve/{file}"), &headers) {
        return refusal;
    }
    if let Err(refusal) = hub.check(&repo, &revision, &headers) {
        return *refusal;
    }
    let content = hub.models.lock().unwrap()[&repo].files.get(&file).cloned();
    let Some(content) = content else {
        return (StatusCode::NOT_FOUND, [("x-error-code", "EntryNotFound")]).into_response();
    };
    let quoted = |hash: String| HeaderValue::from_str(&format!("\"{hash}\"")).unwrap();
    let mut response = if content.len() >= LARGE {
        let storage = hub.storage.lock().unwrap().clone();
        let hash = sha256(&content);
        let location = format!("{storage}/{hash}?signature=of-the-storage");
        let mut response = (StatusCode::FOUND, [(header::LOCATION, location)]).into_response();
        response.headers_mut().insert("x-linked-etag", quoted(hash));
        response.headers_mut().insert("x-linked-size", content.len().into());
        response
    } else {
        let mut response = send(&hub, content.clone(), &method, &headers);
        response.headers_mut().insert(header::ETAG, quoted(git_blob(&content)));
        response
    };
    response.headers_mut().insert("x-repo-commit", HeaderValue::from_static(COMMIT));
    response
}

async fn content(
    State(hub): State<Arc<Hub>>,
    Path(hash): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = hub.note(&method, "/storage", &headers) {
        return refusal;
    }
    let found = {
        let models = hub.models.lock().unwrap();
        let mut contents = models.values().flat_map(|model| model.files.values());
        contents.find(|content| sha256(content) == hash).cloned()
    };
    match found {
        Some(content) => {
            let mut response = send(&hub, content, &method, &headers);
            let etag = HeaderValue::from_str(&format!("\"{hash}\"")).unwrap();
            response.headers_mut().insert(header::ETAG, etag);
            response
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Sends a content or the rest of it, with what goes wrong.
fn send(hub: &Arc<Hub>, content: Bytes, method: &Method, headers: &HeaderMap) -> Response {
    if *method == Method::HEAD {
        return [(header::CONTENT_LENGTH, content.len())].into_response();
    }
    let (cut, wrong, no_ranges) = {
        let mut faults = hub.faults.lock().unwrap();
        let cut = (!faults.cut_after.is_empty()).then(|| faults.cut_after.remove(0));
        let wrong = faults.wrong > 0;
        faults.wrong = faults.wrong.saturating_sub(1);
        (cut, wrong, faults.no_ranges)
    };
    let total = content.len();
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).filter(|_| !no_ranges);
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
    let start = from.unwrap_or(0);
    if start > 0 && start >= total {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let mut bytes = content.slice(start..).to_vec();
    if wrong && let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
    let length = bytes.len();
    let body = body(hub.clone(), Bytes::from(bytes), start as u64, cut);
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if from.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {start}-{}/{total}", total - 1);
        response.headers_mut().insert(header::CONTENT_RANGE, HeaderValue::from_str(&range).unwrap());
    }
    response
}

/// A content under way, until it is dropped.
struct Sending(Arc<Hub>);

impl Sending {
    fn new(hub: Arc<Hub>) -> Self {
        hub.sending.fetch_add(1, Ordering::AcqRel);
        Self(hub)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.sending.fetch_sub(1, Ordering::AcqRel);
    }
}

/// In pieces, each when the limit allows it. A content that is cut ends with an error, which ends the connection.
fn body(hub: Arc<Hub>, bytes: Bytes, start: u64, cut: Option<usize>) -> Body {
    let end = cut.map_or(bytes.len(), |cut| cut.min(bytes.len()));
    let pieces = stream::unfold((Sending::new(hub), 0usize), move |(sending, at)| {
        let bytes = bytes.clone();
        async move {
            if at >= end {
                return None;
            }
            let hub = &sending.0;
            let mut limit = hub.limit.subscribe();
            let allowed = *limit.wait_for(|limit| *limit > start + at as u64).await.ok()?;
            let room = usize::try_from(allowed - start - at as u64).unwrap_or(usize::MAX);
            let piece = bytes.slice(at..end.min(at + PIECE.min(room)));
            *hub.sent.lock().unwrap() += piece.len() as u64;
            let at = at + piece.len();
            Some((Ok::<_, io::Error>(piece), (sending, at)))
        }
    });
    let ending = stream::iter(cut).then(|_| async {
        // What was sent before goes out first.
        tokio::task::yield_now().await;
        Err(io::Error::other("cut"))
    });
    Body::from_stream(pieces.chain(ending))
}

fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// As git names a file.
fn git_blob(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

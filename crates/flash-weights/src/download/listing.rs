//! Which files a model has, by the Hub's API.
use flash_protocol::{HubModel, is_commit};
use flash_text::similar_names;
use reqwest::header::ETAG;
use serde::Deserialize;

use super::{content::ContentHash, error::DownloadError, hub::Hub, retry::Attempts};
use crate::{lock::is_safe_name, patterns::Patterns};

/// The longest list that is read, in bytes.
const MAX_LISTING: usize = 64 << 20;
/// How many files an error lists.
const LISTED_FILES: usize = 12;

/// The files of a model at a commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<RemoteFile>,
}

/// A file on the Hub.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) hash: ContentHash,
}

#[derive(Deserialize)]
struct WrittenListing {
    sha: String,
    #[serde(default)]
    siblings: Vec<WrittenFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenFile {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: String,
    size: u64,
}

/// The files that are needed of a model, at its revision.
///
/// # Errors
/// When the Hub does not answer or refuses, and when a pattern matches nothing.
pub(super) async fn list(hub: &Hub, model: &HubModel, patterns: &Patterns) -> Result<Listing, DownloadError> {
    let mut attempts = Attempts::new(hub.retry);
    let written = loop {
        match ask(hub, model).await {
            Ok(written) => break written,
            Err(failure) => attempts.wait_after(failure).await?,
        }
    };
    if !is_commit(&written.sha) {
        return Err(hub.protocol("it names no commit"));
    }
    let names: Vec<&str> = written.siblings.iter().map(|file| file.rfilename.as_str()).collect();
    if let Some(unsafe_name) = names.iter().find(|name| !is_safe_name(name)) {
        return Err(hub.protocol(&format!("it lists a file with the name {unsafe_name:?}")));
    }
    if let Some(pattern) = patterns.unmatched(&names).first() {
        let there = there(pattern, &names);
        return Err(DownloadError::NoFile {
            model: model.to_string(),
            pattern: (*pattern).to_owned(),
            there,
        });
    }
    let at_commit = HubModel { repo: model.repo.clone(), revision: written.sha.clone() };
    let mut files = Vec::new();
    for file in written.siblings.into_iter().filter(|file| patterns.matches(&file.rfilename)) {
        files.push(complete(hub, &at_commit, file).await?);
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Listing { commit: written.sha, files })
}

fn there(pattern: &str, names: &[&str]) -> String {
    if let Some(near) = similar_names(pattern, names.iter().copied()).first() {
        return format!(": did you mean `{near}`?");
    }
    match names {
        [] => ": it is empty".to_owned(),
        names => {
            let rest = names.len().saturating_sub(LISTED_FILES);
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            format!(": it has {}{rest}", names[..names.len().min(LISTED_FILES)].join(", "))
        }
    }
}

async fn ask(hub: &Hub, model: &HubModel) -> Result<WrittenListing, DownloadError> {
    let (org, name) = parts(model);
    let mut url = hub.address(["api", "models", org, name, "revision", &model.revision]);
    url.set_query(Some("blobs=true"));
    let mut response = hub.get(url, None, model).await?;
    let mut body = Vec::new();
    let cut = |source: reqwest::Error| DownloadError::Transport {
        endpoint: hub.name(),
        source: source.without_url(),
    };
    while let Some(chunk) = response.chunk().await.map_err(cut)? {
        if body.len() + chunk.len() > MAX_LISTING {
            return Err(hub.protocol("its list of files has no end"));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body)
        .map_err(|error| hub.protocol(&format!("its list of files is no such list: {error}")))
}

/// Size and hash of a file: from the list, or by a request if the list has none.
async fn complete(hub: &Hub, model: &HubModel, file: WrittenFile) -> Result<RemoteFile, DownloadError> {
    let WrittenFile { rfilename: name, size, blob_id, lfs } = file;
    let listed = match lfs {
        Some(LargeFile { sha256, size }) => ContentHash::of_etag(&sha256).map(|hash| (hash, size)),
        None => blob_id.as_deref().and_then(ContentHash::of_etag).zip(size),
    };
    let (hash, size) = match listed {
        Some(known) => known,
        None => {
            let mut attempts = Attempts::new(hub.retry);
            loop {
                match head(hub, model, &name).await {
                    Ok(known) => break known,
                    Err(failure) => attempts.wait_after(failure).await?,
                }
            }
        }
    };
    Ok(RemoteFile { name, size, hash })
}

async fn head(hub: &Hub, model: &HubModel, name: &str) -> Result<(ContentHash, u64), DownloadError> {
    let response = hub.head(address(hub, model, name), model).await?;
    let text = |header: &str| response.headers().get(header).and_then(|value| value.to_str().ok());
    if text("x-repo-commit").is_some_and(|commit| commit != model.revision) {
        return Err(hub.protocol("it answers with a file of another commit"));
    }
    let hash = text("x-linked-etag").or_else(|| text(ETAG.as_str())).and_then(ContentHash::of_etag);
    let size = text("x-linked-size").or_else(|| text("content-length")).and_then(|size| size.parse().ok());
    hash.zip(size).ok_or_else(|| hub.protocol(&format!("it does not say the hash and the size of `{name}`")))
}

/// Where the content of a file is.
pub(super) fn address(hub: &Hub, model: &HubModel, name: &str) -> reqwest::Url {
    let (org, repo) = parts(model);
    hub.address([org, repo, "resolve", &model.revision].into_iter().chain(name.split('/')))
}

fn parts(model: &HubModel) -> (&str, &str) {
    model.repo.split_once('/').unwrap_or((&model.repo, ""))
}

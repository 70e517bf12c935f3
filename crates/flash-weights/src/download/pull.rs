//! A whole model: what is missing is fetched, and what is there is linked.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use flash_protocol::HubModel;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use nix::sys::statvfs::statvfs;
use tokio::task::spawn_blocking;

use super::{
    blob::{self, BlobPaths},
    blob_lock::RepoLock,
    content::{Content, ContentHash},
    error::DownloadError,
    hub::Hub,
    link,
    listing::{self, RemoteFile},
};
use crate::{
    cache::{HubCache, Snapshot},
    lock::{LockedFile, LockedModel},
    patterns::{Patterns, files_below},
};

/// How many files are fetched at once.
const AT_ONCE: usize = 4;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The model.
    pub model: &'a HubModel,
    /// Its files.
    pub patterns: &'a Patterns,
    /// What must be fetched, if it is known: this commit, with these files. Else the revision decides.
    pub locked: Option<&'a LockedModel>,
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
}

/// A model that is there.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Where its files are.
    pub directory: PathBuf,
    /// For the lock file.
    pub locked: LockedModel,
    /// Bytes that came over the network.
    pub fetched: u64,
}

/// Fetches what is missing of a model. If everything that is locked is there, the network is not used. Offline, a model
/// that is not locked is taken as it is in the cache.
///
/// # Errors
/// Why it could not be fetched, or that the Hub has something else than what is locked. What has arrived is kept.
pub async fn pull(
    hub: &Hub,
    cache: &HubCache,
    request: &Request<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Pulled, DownloadError> {
    let Request { model, patterns, locked } = *request;
    if let Some(there) = locked.and_then(|locked| whole(cache, model, locked)) {
        return Ok(there);
    }
    // What it fetches has no name until it is linked.
    let _lock = RepoLock::shared(cache, model).await?;
    if hub.offline {
        let there = cache.find(model, patterns).filter(|_| locked.is_none());
        let there = there.ok_or_else(|| DownloadError::Offline { model: model.to_string() })?;
        return adopt(there, patterns).await;
    }
    let revision = locked.map_or(&model.revision, |locked| &locked.commit).clone();
    let asked = HubModel { repo: model.repo.clone(), revision };
    let listing = listing::list(hub, &asked, patterns).await?;
    if let Some(locked) = locked {
        check_list(model, locked, &listing.files)?;
    }
    let at_commit = HubModel { repo: model.repo.clone(), revision: listing.commit.clone() };
    let fetched = fetch_all(hub, cache, &at_commit, &listing.files, progress).await?;
    let mut files = BTreeMap::new();
    for file in &listing.files {
        let content = locked_file(cache, &at_commit, file).await?;
        if let Some(expected) = locked.and_then(|locked| locked.files.get(&file.name))
            && *expected != content
        {
            return Err(DownloadError::NotAsLocked { model: model.to_string(), file: file.name.clone() });
        }
        link::link(cache, model, &listing.commit, &file.name, file.hash.as_str())?;
        files.insert(file.name.clone(), content);
    }
    // Last: a branch that is named has all its files. What is locked may be older than what others have fetched of
    // the branch, so it gets no name.
    if locked.is_none() {
        link::name_commit(cache, model, &listing.commit)?;
    }
    let patterns = patterns.texts().map(str::to_owned).collect();
    let directory = cache.snapshot(model, &listing.commit);
    Ok(Pulled { directory, locked: LockedModel { commit: listing.commit, patterns, files }, fetched })
}

/// The model, if all files that are locked are there with their sizes.
fn whole(cache: &HubCache, model: &HubModel, locked: &LockedModel) -> Option<Pulled> {
    let directory = cache.snapshot(model, &locked.commit);
    let is_there = |(name, file): (&String, &LockedFile)| {
        std::fs::metadata(directory.join(name)).is_ok_and(|found| found.len() == file.size)
    };
    let is_whole = !locked.files.is_empty() && locked.files.iter().all(is_there);
    is_whole.then(|| Pulled { directory, locked: locked.clone(), fetched: 0 })
}

/// A model that somebody else has fetched, as it is.
async fn adopt(there: Snapshot, patterns: &Patterns) -> Result<Pulled, DownloadError> {
    let Snapshot { commit, directory } = there;
    let names = files_below(&directory).map_err(DownloadError::io(&directory))?;
    let mut files = BTreeMap::new();
    for name in names.into_iter().filter(|name| patterns.matches(name)) {
        let content = read(&directory.join(&name)).await?;
        files.insert(name, LockedFile { size: content.size, sha256: content.sha256 });
    }
    let patterns = patterns.texts().map(str::to_owned).collect();
    Ok(Pulled { directory, locked: LockedModel { commit, patterns, files }, fetched: 0 })
}

/// A commit never changes, so a list that differs from the lock is not of this commit, or the lock is not.
fn check_list(model: &HubModel, locked: &LockedModel, files: &[RemoteFile]) -> Result<(), DownloadError> {
    let differs = |name: &str| DownloadError::NotAsLocked { model: model.to_string(), file: name.to_owned() };
    for file in files {
        let expected = locked.files.get(&file.name).ok_or_else(|| differs(&file.name))?;
        let is_other = matches!(&file.hash, ContentHash::Sha256(hash) if *hash != expected.sha256);
        if is_other || file.size != expected.size {
            return Err(differs(&file.name));
        }
    }
    match locked.files.keys().find(|name| !files.iter().any(|file| file.name == **name)) {
        Some(name) => Err(differs(name)),
        None => Ok(()),
    }
}

async fn fetch_all(
    hub: &Hub,
    cache: &HubCache,
    at_commit: &HubModel,
    files: &[RemoteFile],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<u64, DownloadError> {
    // Files of the same content are one blob.
    let blobs: BTreeMap<&str, &RemoteFile> = files.iter().map(|file| (file.hash.as_str(), file)).collect();
    let mut missing = Vec::new();
    let (mut there, mut needed) = (0, 0);
    for file in blobs.into_values() {
        let paths = BlobPaths::of(cache, at_commit, file.hash.as_str());
        if paths.is_there(file.size) {
            there += file.size;
            continue;
        }
        needed += file.size - paths.arrived(file.size);
        missing.push((file, paths));
    }
    if missing.is_empty() {
        return Ok(0);
    }
    check_room(cache, at_commit, needed)?;
    let total = there + missing.iter().map(|(file, _)| file.size).sum::<u64>();
    let done: Vec<AtomicU64> = missing.iter().map(|_| AtomicU64::new(0)).collect();
    let show = |at: usize, bytes: u64| {
        done[at].store(bytes, Ordering::Relaxed);
        let arrived: u64 = done.iter().map(|of_file| of_file.load(Ordering::Relaxed)).sum();
        progress(Progress { done: there + arrived, total });
    };
    let show = &show;
    let fetches = missing.iter().enumerate().map(|(at, (file, paths))| async move {
        blob::fetch(hub, at_commit, file, paths, &|bytes| show(at, bytes)).await
    });
    stream::iter(fetches).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(needed)
}

/// Whether the disk of the cache has room.
fn check_room(cache: &HubCache, model: &HubModel, needed: u64) -> Result<(), DownloadError> {
    let root = cache.root();
    std::fs::create_dir_all(root).map_err(DownloadError::io(root))?;
    // A file system that does not say how much is free may have room.
    let Ok(disk) = statvfs(root) else { return Ok(()) };
    #[allow(clippy::unnecessary_cast, reason = "the types differ by system")]
    let free = (disk.blocks_available() as u64).saturating_mul(disk.fragment_size() as u64);
    match needed > free {
        true => {
            Err(DownloadError::NoRoom { model: model.repo.clone(), needed, free, directory: root.to_owned() })
        }
        false => Ok(()),
    }
}

/// Size and SHA-256 of a file that is there. Of a large one, its name says the hash.
async fn locked_file(
    cache: &HubCache,
    model: &HubModel,
    file: &RemoteFile,
) -> Result<LockedFile, DownloadError> {
    if let ContentHash::Sha256(sha256) = &file.hash {
        return Ok(LockedFile { size: file.size, sha256: sha256.clone() });
    }
    let path = BlobPaths::of(cache, model, file.hash.as_str()).whole;
    let content = read(&path).await?;
    Ok(LockedFile { size: content.size, sha256: content.sha256 })
}

pub(super) async fn read(path: &Path) -> Result<Content, DownloadError> {
    let owned = path.to_owned();
    let read = spawn_blocking(move || Content::read(&owned)).await;
    read.map_err(std::io::Error::other).flatten().map_err(DownloadError::io(path))
}

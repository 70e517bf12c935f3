//! Artifacts on disk: copied by the sender, checked by the service, deleted when no release needs them.
//!
//! An artifact is a directory named by its digest: `bin/SHA256` for programs, `files/PATH` for the rest. It is
//! either complete or absent, and never modified. Everything here blocks.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use flash_target::{ArtifactSpec, FileSpec, Problem, TargetError};
use sha2::{Digest as _, Sha256};

use super::directory::{EnvironmentDirectory, make_private};

/// Marks a directory that is still being written.
const PART: &str = ".part-";
/// A partial directory not written to for this long is left over.
const LEFT_OVER: Duration = Duration::from_secs(24 * 60 * 60);
const CHUNK: usize = 1 << 20;

/// One file of an artifact.
struct Piece<'a> {
    /// Relative to the artifact.
    path: PathBuf,
    sha256: &'a str,
    mode: u32,
}

/// The files of an artifact.
fn pieces(artifact: &ArtifactSpec) -> Result<Vec<Piece<'_>>, TargetError> {
    let refused = |message: String| TargetError::new(Problem::Refused, message);
    let ArtifactSpec::Binaries { digest, binaries, files } = artifact else {
        return Err(refused("the local target runs binaries, not images".to_owned()));
    };
    let hashes = binaries.values().chain(files.values().map(|file| &file.sha256));
    if let Some(wrong) = std::iter::once(digest).chain(hashes).find(|hash| !is_hash(hash)) {
        return Err(refused(format!("`{wrong}` is not a SHA-256 digest")));
    }
    let programs: BTreeSet<&String> = binaries.values().collect();
    let programs = programs
        .into_iter()
        .map(|sha256| Ok(Piece { path: Path::new("bin").join(sha256), sha256, mode: 0o700 }));
    let files = files.iter().map(|(path, FileSpec { sha256, executable })| {
        let is_below = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !is_below {
            return Err(refused(format!("`{path}` is not a valid path within an artifact")));
        }
        let mode = if *executable { 0o700 } else { 0o600 };
        Ok(Piece { path: Path::new("files").join(path), sha256, mode })
    });
    programs.chain(files).collect()
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Copies an artifact to the service's directory. `on_progress` is called with the bytes copied so far and the total.
///
/// # Errors
/// For a file that is missing, has different content than expected, or does not fit on the disk. Nothing is left
/// behind.
pub(super) fn stage(
    directory: &EnvironmentDirectory,
    artifact: &ArtifactSpec,
    sources: &BTreeMap<String, PathBuf>,
    mut on_progress: impl FnMut(u64, u64),
) -> Result<(), TargetError> {
    let pieces = pieces(artifact)?;
    let whole = directory.artifact(artifact.digest());
    if whole.is_dir() {
        if check(directory, artifact).is_ok() {
            let total = pieces.iter().filter_map(|piece| length(&whole.join(&piece.path))).sum();
            on_progress(total, total);
            return Ok(());
        }
        // Moved away in one step: workers of a release may still run from it.
        let aside = directory.artifacts().join(format!("{PART}{}", uuid::Uuid::new_v4()));
        std::fs::rename(&whole, aside).map_err(|error| cannot_write(&whole, error))?;
    }
    let sourced: Vec<(Piece<'_>, &PathBuf)> = pieces
        .into_iter()
        .map(|piece| {
            let source = sources.get(piece.sha256);
            let missing = || {
                TargetError::new(
                    Problem::Refused,
                    format!("the build has no file for {}", piece.path.display()),
                )
            };
            let source = source.ok_or_else(missing)?;
            Ok((piece, source))
        })
        .collect::<Result<_, TargetError>>()?;
    let total = sourced.iter().filter_map(|(_, source)| length(source)).sum();
    make_private(&directory.artifacts()).map_err(|error| cannot_write(&directory.artifacts(), error))?;
    let part = tempfile::Builder::new()
        .prefix(PART)
        .tempdir_in(directory.artifacts())
        .map_err(|error| cannot_write(&directory.artifacts(), error))?;
    let mut done = 0;
    for (piece, source) in &sourced {
        copy(piece, source, part.path(), |bytes| {
            done += bytes;
            on_progress(done, total);
        })?;
    }
    finish(part, &whole)
}

/// Gives the directory its final name, unless another process was faster.
fn finish(part: tempfile::TempDir, whole: &Path) -> Result<(), TargetError> {
    let problem = |error: io::Error| cannot_write(whole, error);
    sync_directories(part.path()).map_err(problem)?;
    match std::fs::rename(part.path(), whole) {
        Ok(()) => drop(part.keep()),
        Err(_) if whole.is_dir() => {}
        Err(error) => return Err(problem(error)),
    }
    whole.parent().map_or(Ok(()), |above| File::open(above)?.sync_all()).map_err(problem)
}

fn sync_directories(root: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry?;
        if entry.file_type().is_dir() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    Ok(())
}

/// Copies and hashes in one pass.
fn copy(
    piece: &Piece<'_>,
    source: &Path,
    part: &Path,
    mut on_progress: impl FnMut(u64),
) -> Result<(), TargetError> {
    let unreadable = |error: io::Error| {
        TargetError::new(Problem::Failed, format!("cannot read {}", source.display()))
            .because(error)
            .hint("build again: flash deploy send")
    };
    let target = part.join(&piece.path);
    let unwritable = |error: io::Error| cannot_write(&target, error);
    if let Some(above) = target.parent() {
        make_private(above).map_err(unwritable)?;
    }
    let mut from = File::open(source).map_err(unreadable)?;
    let mut options = std::fs::OpenOptions::new();
    let mut to = options.write(true).create_new(true).mode(piece.mode).open(&target).map_err(unwritable)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        to.write_all(&chunk[..read]).map_err(unwritable)?;
        on_progress(read as u64);
    }
    // Restores what the process's umask took away.
    to.set_permissions(std::fs::Permissions::from_mode(piece.mode)).map_err(unwritable)?;
    to.sync_all().map_err(unwritable)?;
    if hex(hash) != piece.sha256 {
        return Err(TargetError::new(
            Problem::Failed,
            format!("{} has changed since the build: its SHA-256 differs", source.display()),
        )
        .hint("build again: flash deploy send"));
    }
    Ok(())
}

/// Whether an artifact exists, complete and unchanged.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(directory: &EnvironmentDirectory, artifact: &ArtifactSpec) -> Result<(), TargetError> {
    let whole = directory.artifact(artifact.digest());
    for piece in pieces(artifact)? {
        let path = whole.join(&piece.path);
        let damaged = |what: String| {
            TargetError::new(Problem::Failed, format!("artifact {}: {what}", short(artifact.digest())))
                .hint("send it again: flash deploy send")
        };
        let sha256 = hash_of(&path)
            .map_err(|error| damaged(format!("cannot read {}", path.display())).because(error))?;
        if sha256 != piece.sha256 {
            return Err(damaged(format!("{} is damaged", path.display())));
        }
    }
    Ok(())
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(hash)),
            read => hash.update(&chunk[..read]),
        }
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Enough of a digest to tell artifacts apart.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn length(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.len())
}

fn cannot_write(path: &Path, error: io::Error) -> TargetError {
    let kind = error.kind();
    let target = TargetError::new(Problem::Failed, format!("cannot write {}", path.display())).because(error);
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            target.hint("free space on that disk, or set FLASH_DATA_DIR to a directory on another one")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            target.hint("set FLASH_DATA_DIR to a directory on a writable disk")
        }
        _ => target,
    }
}

/// The path of each worker type's binary.
pub(super) fn programs(
    directory: &EnvironmentDirectory,
    artifact: &ArtifactSpec,
) -> BTreeMap<String, PathBuf> {
    let whole = directory.artifact(artifact.digest()).join("bin");
    match artifact {
        ArtifactSpec::Binaries { binaries, .. } => {
            binaries.iter().map(|(worker, sha256)| (worker.clone(), whole.join(sha256))).collect()
        }
        ArtifactSpec::Images { .. } => BTreeMap::new(),
    }
}

/// Gives a release's workers their own directory with copies of the artifact's files. What they write there stays
/// until the release ends.
pub(super) fn work_directory(
    directory: &EnvironmentDirectory,
    release: u64,
    artifact: &ArtifactSpec,
) -> Result<PathBuf, TargetError> {
    let work = directory.work_of(release);
    if work.is_dir() {
        return Ok(work);
    }
    let problem = |error: io::Error| cannot_write(&work, error);
    make_private(&directory.work()).map_err(problem)?;
    let part = tempfile::Builder::new().prefix(PART).tempdir_in(directory.work()).map_err(problem)?;
    if let ArtifactSpec::Binaries { files, .. } = artifact {
        let from = directory.artifact(artifact.digest()).join("files");
        for path in files.keys() {
            let target = part.path().join(path);
            if let Some(above) = target.parent() {
                make_private(above).map_err(problem)?;
            }
            std::fs::copy(from.join(path), &target).map_err(problem)?;
        }
    }
    std::fs::rename(part.path(), &work).map_err(problem)?;
    drop(part.keep());
    Ok(work)
}

/// Deletes artifacts and work directories that no release needs, and the remains of aborted sends.
pub(super) fn prune(directory: &EnvironmentDirectory, digests: &BTreeSet<String>, releases: &BTreeSet<u64>) {
    let releases: BTreeSet<String> = releases.iter().map(u64::to_string).collect();
    for (place, kept) in [(directory.artifacts(), digests), (directory.work(), &releases)] {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_kept = match name.starts_with(PART) {
                true => !is_left_over(&entry.path()),
                false => kept.contains(&name),
            };
            if !is_kept {
                // What cannot be deleted now is deleted after the next release.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn is_left_over(path: &Path) -> bool {
    let age = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    age.and_then(|time| SystemTime::now().duration_since(time).ok()).is_some_and(|age| age > LEFT_OVER)
}

#[cfg(test)]
mod tests;

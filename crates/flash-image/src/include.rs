//! The files that an app's images include: `include = ["models/**", "data/*.json"]`.
//!
//! A pattern is relative to the crate's directory. A directory that it matches is included as a whole, with hidden
//! files: the app has them with `flash run` too. A pattern that begins with a wildcard names no directory; it
//! includes only hidden names that it spells out, and never cargo's `target` or what `flash` wrote. Links are
//! followed, because a link to somebody's disk is useless in an image, but not out of the crate: the image would
//! depend on the machine. `.env` files are never included, because they hold secrets: an image is copied to
//! registries and machines, and what was in it once cannot be taken back.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};
use walkdir::{DirEntry, WalkDir};

use super::layer::Access;

/// How similar a name must be to be suggested.
const ALIKE: f64 = 0.7;

/// A file of the crate that goes into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludedFile {
    /// Where it is on this machine, with links resolved.
    pub source: PathBuf,
    /// Its path below `/app`.
    pub path: String,
    /// Executable if its owner may execute it.
    pub access: Access,
}

/// The files that the patterns matched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Included {
    /// By path.
    pub files: Vec<IncludedFile>,
    /// What the patterns matched but left out.
    pub left_out: BTreeSet<LeftOut>,
}

/// A path that a wildcard matched and that is left out of images, though the app has it with `flash run`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// Neither it nor a directory above it is named.
    Hidden(String),
    /// A `.env` file other than an example.
    Secret(String),
    /// A `.git` file or directory.
    Git(String),
}

impl LeftOut {
    fn path(&self) -> &str {
        match self {
            Self::Hidden(path) | Self::Secret(path) | Self::Git(path) => path,
        }
    }
}

/// The text of the warning.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hidden(path) => {
                write!(
                    f,
                    "`{path}` is hidden and left out: to include it, name it or its directory in `include`"
                )
            }
            Self::Secret(path) => write!(
                f,
                "`{path}` is left out, because `.env` files hold secrets; the app has it only with `flash run`"
            ),
            Self::Git(path) => {
                write!(f, "`{path}` is left out: it contains everything that was ever committed")
            }
        }
    }
}

/// Why files cannot be included.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum IncludeError {
    #[error("`{pattern}` is not a valid pattern for files of the crate: {reason}")]
    Pattern { pattern: String, reason: String },
    #[error("`{pattern}` matches no file in {}{}", directory.display(), hint(nearest))]
    NoMatch { pattern: String, directory: PathBuf, nearest: Option<String> },
    #[error("`{0}` holds secrets, which do not belong in images: anyone with the image could read them")]
    Secret(String),
    #[error("`{path}` cannot be included in images: {reason}")]
    Reserved { path: String, reason: &'static str },
    #[error("`{path}` is a link to {}, which is outside the crate", target.display())]
    Outside { path: String, target: PathBuf },
    #[error("`{0}` is neither a file nor a directory")]
    NotRegular(String),
    #[error("the name of {} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    #[error("`{path}` conflicts with the app's binary, /app/{binary}")]
    Binary { path: String, binary: String },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

/// The files that the patterns match, for an app with a binary of this name.
///
/// # Errors
/// When a pattern is invalid or matches nothing, and when it matches something that cannot or must not be included.
pub fn included(directory: &Path, patterns: &[String], binary: &str) -> Result<Included, IncludeError> {
    let root = directory
        .canonicalize()
        .map_err(|source| IncludeError::Read { path: directory.to_owned(), source })?;
    let mut taken = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    for pattern in patterns {
        let pattern = Pattern::new(pattern)?;
        let mut search =
            Search { root: &root, pattern: &pattern, taken: &mut taken, left_out: &mut left_out };
        if search.run()? == 0 {
            return Err(IncludeError::NoMatch {
                nearest: nearest(&root, &pattern),
                pattern: pattern.written,
                directory: directory.to_owned(),
            });
        }
    }
    if let Some(path) = taken.keys().find(|path| path.split('/').next() == Some(binary)) {
        return Err(IncludeError::Binary { path: path.clone(), binary: binary.to_owned() });
    }
    left_out.retain(|left_out| !taken.contains_key(left_out.path()));
    Ok(Included { files: taken.into_values().collect(), left_out })
}

/// A checked pattern.
struct Pattern {
    written: String,
    matcher: GlobMatcher,
    /// Its leading parts without wildcards: where to start.
    start: Vec<String>,
    /// Its parts that match hidden names.
    dotted: Vec<GlobMatcher>,
}

impl Pattern {
    fn new(written: &str) -> Result<Self, IncludeError> {
        let refused =
            |reason: &str| IncludeError::Pattern { pattern: written.to_owned(), reason: reason.to_owned() };
        let mut parts = Vec::new();
        for component in Path::new(written.trim()).components() {
            match component {
                Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
                Component::CurDir => {}
                Component::ParentDir => return Err(refused("it leads out of the crate with `..`")),
                Component::RootDir | Component::Prefix(_) => {
                    return Err(refused("it is absolute; give paths relative to the crate's Cargo.toml"));
                }
            }
        }
        if parts.is_empty() {
            return Err(refused("it is empty; use `**` to include everything"));
        }
        let glob = |pattern: &str| {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            glob.map(|glob| glob.compile_matcher()).map_err(|error| refused(&error.kind().to_string()))
        };
        let start: Vec<String> = parts.iter().take_while(|part| is_literal(part)).cloned().collect();
        refuse_reserved(&start)?;
        Ok(Self {
            matcher: glob(&parts.join("/"))?,
            dotted: parts
                .iter()
                .filter(|part| part.starts_with('.'))
                .map(|part| glob(part))
                .collect::<Result<_, _>>()?,
            start,
            written: written.to_owned(),
        })
    }

    /// Whether it matches this path or a directory above.
    fn matches(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        above.chain([path]).any(|path| self.matcher.is_match(path))
    }

    /// Whether it spells out every hidden name in this path.
    fn spells(&self, path: &str) -> bool {
        path.split('/')
            .filter(|part| is_hidden(part))
            .all(|part| self.dotted.iter().any(|dotted| dotted.is_match(part)))
    }

    /// Whether hidden names in this path, which starts like the pattern, are explicitly included.
    fn takes_hidden(&self, path: &str) -> bool {
        !self.start.is_empty() || self.spells(path)
    }
}

fn is_literal(part: &str) -> bool {
    !part.contains(['*', '?', '[', ']', '{', '}', '\\'])
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// `.env` and similar files, except examples, which are meant to be copied.
fn is_secret(name: &str) -> bool {
    let example = [".example", ".sample", ".template"].iter().any(|end| name.ends_with(end));
    name == ".env" || (name.starts_with(".env.") && !example)
}

/// Rejects paths that a pattern must not name.
fn refuse_reserved<S: AsRef<str>>(parts: &[S]) -> Result<(), IncludeError> {
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    let refused = |reason| Err(IncludeError::Reserved { path: parts.join("/"), reason });
    if parts.iter().any(|part| is_secret(part)) {
        return Err(IncludeError::Secret(parts.join("/")));
    }
    if parts.contains(&".git") {
        return refused("`.git` contains everything that was ever committed");
    }
    match parts.first().copied() {
        Some("target") => refused("`target` belongs to cargo, and differs between machines"),
        Some(".flash") => refused("`.flash` is written by flash itself"),
        _ => Ok(()),
    }
}

/// One pattern's walk through the crate.
struct Search<'a> {
    /// With links resolved.
    root: &'a Path,
    pattern: &'a Pattern,
    taken: &'a mut BTreeMap<String, IncludedFile>,
    left_out: &'a mut BTreeSet<LeftOut>,
}

impl Search<'_> {
    /// The number of files that it matched.
    fn run(&mut self) -> Result<usize, IncludeError> {
        let mut matched = 0;
        let mut walk = WalkDir::new(self.root).follow_links(true).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.unreadable(error)?;
                    continue;
                }
            };
            if entry.depth() == 0 {
                continue;
            }
            let Some(path) = self.relative(entry.path()) else {
                // Its name cannot be matched, but its siblings can.
                match self.around(entry.path()) {
                    true => return Err(IncludeError::NotUtf8(entry.into_path())),
                    false => continue,
                }
            };
            match self.judge(&entry, &path)? {
                Judgement::Enter => {}
                Judgement::Pass if entry.file_type().is_dir() => walk.skip_current_dir(),
                Judgement::Pass => {}
                Judgement::Take => {
                    matched += 1;
                    self.take(&entry, path)?;
                }
            }
        }
        Ok(matched)
    }

    fn judge(&mut self, entry: &DirEntry, path: &str) -> Result<Judgement, IncludeError> {
        let parts: Vec<&str> = path.split('/').collect();
        // Cargo's `target` is huge and never meant.
        if !self.leads_to(&parts) || path == "target" {
            return Ok(Judgement::Pass);
        }
        let matches = self.pattern.matches(path);
        // A pattern's explicit names are included; those not allowed are rejected below.
        if !self.pattern.spells(path)
            && let Some(left_out) = self.left_out(path, &parts)
        {
            // In the crate's own directory, files that are never included are not meant.
            let is_told = matches!(left_out, LeftOut::Hidden(_)) || parts.len() > 1;
            if matches && is_told && parts.first() != Some(&".flash") {
                self.left_out.insert(left_out);
            }
            return Ok(Judgement::Pass);
        }
        if matches {
            refuse_reserved(&parts)?;
        }
        match (matches, entry.file_type()) {
            (_, kind) if kind.is_dir() => {
                // Not walked to see whether something in it matches: it may be the whole disk.
                if entry.path_is_symlink() {
                    self.real(entry, path)?;
                }
                Ok(Judgement::Enter)
            }
            (false, _) => Ok(Judgement::Pass),
            (true, kind) if kind.is_file() => Ok(Judgement::Take),
            (true, _) => Err(IncludeError::NotRegular(path.to_owned())),
        }
    }

    /// Why this path, which the pattern does not spell out, is left out.
    fn left_out(&self, path: &str, parts: &[&str]) -> Option<LeftOut> {
        let name = parts.last().copied().unwrap_or_default();
        if is_secret(name) {
            return Some(LeftOut::Secret(path.to_owned()));
        }
        if name == ".git" {
            return Some(LeftOut::Git(path.to_owned()));
        }
        (!self.pattern.takes_hidden(path)).then(|| LeftOut::Hidden(path.to_owned()))
    }

    /// Whether the pattern can match this path or one below.
    fn leads_to(&self, parts: &[&str]) -> bool {
        parts.iter().zip(&self.pattern.start).all(|(part, wanted)| *part == wanted)
    }

    /// Its resolved path.
    fn real(&self, entry: &DirEntry, path: &str) -> Result<PathBuf, IncludeError> {
        let real = entry.path().canonicalize();
        let real = real.map_err(|source| IncludeError::Read { path: entry.path().to_owned(), source })?;
        match real.starts_with(self.root) {
            true => Ok(real),
            false => Err(IncludeError::Outside { path: path.to_owned(), target: real }),
        }
    }

    fn take(&mut self, entry: &DirEntry, path: String) -> Result<(), IncludeError> {
        let unreadable = |source| IncludeError::Read { path: entry.path().to_owned(), source };
        let real = self.real(entry, &path)?;
        // A link may have another name than its target.
        let mut names = real.iter().skip(self.root.iter().count()).filter_map(|name| name.to_str());
        if names.any(|name| is_secret(name) || name == ".git") {
            return Err(IncludeError::Secret(path));
        }
        let metadata = std::fs::metadata(&real).map_err(unreadable)?;
        let access = match metadata.permissions().mode() & 0o100 {
            0 => Access::Readable,
            _ => Access::Executable,
        };
        // Report this now, and not after minutes of compiling.
        std::fs::File::open(&real).map_err(unreadable)?;
        self.taken.insert(path.clone(), IncludedFile { source: real, path, access });
        Ok(())
    }

    /// An unreadable part of the crate is an error if the pattern may match it.
    fn unreadable(&self, error: walkdir::Error) -> Result<(), IncludeError> {
        let path = error.path().unwrap_or(self.root).to_owned();
        let Some(relative) = self.relative(&path) else { return Ok(()) };
        let parts: Vec<&str> = relative.split('/').collect();
        // A broken link is one file; a directory may contain files that match.
        let broken = error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
        let meant = self.leads_to(&parts) && self.pattern.takes_hidden(&relative);
        if !meant || (broken && !self.pattern.matches(&relative)) {
            return Ok(());
        }
        let source = match error.loop_ancestor() {
            Some(ancestor) => io::Error::other(format!("it is a link to {}, above it", ancestor.display())),
            None => error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into()),
        };
        Err(IncludeError::Read { path, source })
    }

    /// The path relative to the crate, with `/`; `None` if it is not UTF-8.
    fn relative(&self, path: &Path) -> Option<String> {
        let relative = path.strip_prefix(self.root).ok()?;
        relative.iter().map(|part| part.to_str()).collect::<Option<Vec<_>>>().map(|parts| parts.join("/"))
    }

    /// Whether a file beside this path would be included.
    fn around(&self, path: &Path) -> bool {
        let beside = path.with_file_name("name");
        self.relative(&beside)
            .is_some_and(|path| self.pattern.matches(&path) && self.pattern.takes_hidden(&path))
    }
}

/// What to do with an entry of the walk.
enum Judgement {
    /// A directory that may contain files to include.
    Enter,
    /// Not meant.
    Pass,
    /// A file to include.
    Take,
}

/// What the user may have meant: the most similar name where the pattern's path ends.
fn nearest(root: &Path, pattern: &Pattern) -> Option<String> {
    let mut directory = root.to_owned();
    let missing = pattern.start.iter().position(|part| {
        directory.push(part);
        !directory.exists()
    })?;
    directory.pop();
    let wanted = &pattern.start[missing];
    let names = std::fs::read_dir(&directory).ok()?.flatten();
    let alike = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !is_secret(name))
        .map(|name| (strsim::jaro_winkler(&name, wanted), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, first), (b, second)| a.total_cmp(b).then_with(|| second.cmp(first)))?;
    let above = pattern.start[..missing].iter().cloned();
    Some(above.chain([alike.1]).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests;

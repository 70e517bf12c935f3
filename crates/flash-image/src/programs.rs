//! Which programs an image has: looked up through its `PATH`, as a container of it would.
//!
//! Reads the names in the layers, lowest first: what a later layer deletes or replaces is gone, and links are followed.
//! Nothing is run, so whether a program finds its own libraries stays open.
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::File,
    io::{self, BufReader, Read},
};

use flate2::bufread::MultiGzDecoder;
use oci_spec::image::{Descriptor, ImageConfiguration, MediaType};
use tar::EntryType;

use super::{Image, Layout, LayoutError};

/// The search path of an image that sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The prefix of a file that deletes another one of a lower layer.
const WHITEOUT: &str = ".wh.";
/// The file that deletes all that lower layers have in its directory.
const OPAQUE: &str = ".wh..wh..opq";
/// More links in a row than any system follows.
const MAX_LINKS: usize = 40;
/// Programs, links and deletions of one layer. The largest base images have some tens of thousands.
const MAX_CHANGES: usize = 1_000_000;

/// Why an image cannot be searched.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum ProgramsError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("layer {layer} is compressed as {media_type}, which flash cannot read")]
    Compression { layer: String, media_type: String },
    #[error("layer {layer} has more than {MAX_CHANGES} programs and links")]
    TooMany { layer: String },
}

/// Programs that an image does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPrograms {
    /// By the names they were asked for.
    pub programs: Vec<String>,
    /// The image's search path.
    pub path: String,
}

/// Searches the images of one build; a base that several of them have is read once.
#[derive(Debug)]
pub struct ProgramSearch {
    layout: Layout,
    /// By the digests of the base's layers.
    bases: HashMap<Vec<String>, Programs>,
}

impl ProgramSearch {
    /// For the images of this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone(), bases: HashMap::new() }
    }

    /// Those of these programs that the image does not have; `None` if it has all of them. A name without a slash
    /// is looked up in the image's `PATH`, a relative path in its working directory.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn missing(
        &mut self,
        image: &Image,
        needed: &[String],
    ) -> Result<Option<MissingPrograms>, ProgramsError> {
        let config: ImageConfiguration = self.layout.read_json(&image.config)?;
        let config = config.config().clone().unwrap_or_default();
        let variables = config.env().as_deref().unwrap_or_default();
        let path = variables.iter().find_map(|variable| variable.strip_prefix("PATH="));
        let path = path.unwrap_or(DEFAULT_PATH);
        let directory = config.working_dir().as_deref().unwrap_or("/");
        let programs = self.programs(image)?;
        let is_missing = |name: &&String| !programs.has(name, path, directory);
        let missing: Vec<String> = needed.iter().filter(is_missing).cloned().collect();
        Ok((!missing.is_empty()).then(|| MissingPrograms { programs: missing, path: path.to_owned() }))
    }

    fn programs(&mut self, image: &Image) -> Result<Programs, ProgramsError> {
        let base: Vec<String> = image.base_layers.iter().map(|layer| layer.digest().to_string()).collect();
        if !self.bases.contains_key(&base) {
            let mut programs = Programs::default();
            image.base_layers.iter().try_for_each(|layer| programs.add(&self.layout, layer))?;
            self.bases.insert(base.clone(), programs);
        }
        let mut programs = self.bases[&base].clone();
        image.layers.iter().try_for_each(|layer| programs.add(&self.layout, &layer.descriptor))?;
        Ok(programs)
    }
}

/// The files of an image that matter to a search, by path without the leading slash.
#[derive(Debug, Clone, Default)]
struct Programs {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// A file that may be executed.
    Program,
    /// A symbolic link to this path.
    Link(String),
}

/// What a layer does to a path of the layers below.
enum Change {
    /// It and everything below it is now this.
    Put(Node),
    /// It is a directory: what is below stays.
    Directory,
    /// A file that is no program.
    Other,
}

/// One layer, read.
#[derive(Default)]
struct Changes {
    /// Paths that are deleted with everything below them, before anything is added.
    deleted: Vec<String>,
    /// Directories whose content is deleted.
    emptied: Vec<String>,
    added: Vec<(String, Change)>,
}

impl Programs {
    fn add(&mut self, layout: &Layout, layer: &Descriptor) -> Result<(), ProgramsError> {
        let path = layout.blob(layer.digest());
        let unreadable = |source: io::Error| match source.kind() {
            // The errors of gzip and tar for invalid bytes.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                LayoutError::Damaged { path: path.clone(), reason: source.to_string() }
            }
            _ => LayoutError::Read { path: path.clone(), source },
        };
        let file = BufReader::with_capacity(1 << 16, File::open(&path).map_err(unreadable)?);
        let changes = match layer.media_type() {
            MediaType::ImageLayer => self.changes(file),
            MediaType::ImageLayerGzip => self.changes(MultiGzDecoder::new(file)),
            other => {
                let (layer, media_type) = (layer.digest().to_string(), other.to_string());
                return Err(ProgramsError::Compression { layer, media_type });
            }
        };
        let Some(changes) = changes.map_err(unreadable)? else {
            return Err(ProgramsError::TooMany { layer: layer.digest().to_string() });
        };
        self.apply(changes);
        Ok(())
    }

    /// What a layer changes; `None` if that is too much.
    fn changes(&self, layer: impl Read) -> io::Result<Option<Changes>> {
        let mut changes = Changes::default();
        for entry in tar::Archive::new(layer).entries()? {
            let entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = normal(&path);
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
            match (name, name.strip_prefix(WHITEOUT)) {
                (OPAQUE, _) => changes.emptied.push(parent.to_owned()),
                (_, Some(deleted)) => changes.deleted.push(join(parent, deleted)),
                _ => {
                    let link = || {
                        let target = entry.link_name_bytes().unwrap_or_default();
                        String::from_utf8_lossy(&target).into_owned()
                    };
                    let change = match entry.header().entry_type() {
                        EntryType::Symlink => Change::Put(Node::Link(link())),
                        // Another name of a file of this layer.
                        EntryType::Link => Change::Put(Node::Link(format!("/{}", normal(&link())))),
                        EntryType::Directory => Change::Directory,
                        kind if kind.is_file() && entry.header().mode()? & 0o111 != 0 => {
                            Change::Put(Node::Program)
                        }
                        _ => Change::Other,
                    };
                    // Most files are data, and replace nothing.
                    if matches!(change, Change::Put(_)) || self.touches(&path) {
                        changes.added.push((path, change));
                    }
                }
            }
            if changes.added.len() + changes.deleted.len() + changes.emptied.len() > MAX_CHANGES {
                return Ok(None);
            }
        }
        Ok(Some(changes))
    }

    fn apply(&mut self, changes: Changes) {
        changes.deleted.iter().for_each(|path| self.remove(path));
        changes.emptied.iter().for_each(|path| self.remove_below(path));
        for (path, change) in changes.added {
            match change {
                Change::Put(node) => {
                    self.remove_below(&path);
                    self.nodes.insert(path, node);
                }
                Change::Directory => drop(self.nodes.remove(&path)),
                Change::Other => self.remove(&path),
            }
        }
    }

    /// Whether there is something at the path or below it.
    fn touches(&self, path: &str) -> bool {
        self.nodes.contains_key(path) || self.below(path).next().is_some()
    }

    fn below(&self, path: &str) -> impl Iterator<Item = &String> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let from = self.nodes.range(prefix.clone()..).map(|(path, _)| path);
        from.take_while(move |path| path.starts_with(&prefix))
    }

    fn remove(&mut self, path: &str) {
        self.nodes.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, path: &str) {
        let below: Vec<String> = self.below(path).cloned().collect();
        below.iter().for_each(|path| drop(self.nodes.remove(path)));
    }

    fn has(&self, name: &str, path: &str, directory: &str) -> bool {
        let from_directory =
            |path: &str| if path.starts_with('/') { path.to_owned() } else { join(directory, path) };
        if name.contains('/') {
            return self.is_program(&from_directory(name));
        }
        // An empty entry is the working directory.
        path.split(':').any(|entry| self.is_program(&join(&from_directory(entry), name)))
    }

    /// Whether this path leads to a program, through links.
    fn is_program(&self, path: &str) -> bool {
        let mut ahead: VecDeque<String> = path.split('/').map(str::to_owned).collect();
        let (mut resolved, mut links) = (Vec::<String>::new(), 0);
        while let Some(part) = ahead.pop_front() {
            match part.as_str() {
                "" | "." => continue,
                ".." => drop(resolved.pop()),
                _ => resolved.push(part),
            }
            match self.nodes.get(&resolved.join("/")) {
                Some(Node::Program) => return ahead.is_empty(),
                Some(Node::Link(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return false;
                    }
                    resolved.pop();
                    if target.starts_with('/') {
                        resolved.clear();
                    }
                    target.split('/').rev().for_each(|part| ahead.push_front(part.to_owned()));
                }
                None => {}
            }
        }
        false
    }
}

/// As layers write it: without `./` in front and `/` behind.
fn normal(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer as a tar: `path` is a directory if it ends with `/`, a program with `*`, a link with ` -> TARGET`, a
    /// second name with ` = TARGET`, and another file otherwise.
    fn tar_of(entries: &[&str]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for entry in entries {
            let (symbolic, hard) = (entry.split_once(" -> "), entry.split_once(" = "));
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(if entry.ends_with('*') { 0o755 } else { 0o644 });
            match (symbolic, hard) {
                (Some((path, target)), _) => {
                    header.set_entry_type(EntryType::Symlink);
                    tar.append_link(&mut header, path, target).unwrap();
                }
                (_, Some((path, target))) => {
                    header.set_entry_type(EntryType::Link);
                    tar.append_link(&mut header, path, target).unwrap();
                }
                _ => {
                    if entry.ends_with('/') {
                        header.set_entry_type(EntryType::Directory);
                    }
                    tar.append_data(&mut header, entry.trim_end_matches('*'), &[][..]).unwrap();
                }
            }
        }
        tar.into_inner().unwrap()
    }

    fn programs(layers: &[&[&str]]) -> Programs {
        let mut programs = Programs::default();
        for layer in layers {
            let changes = programs.changes(&*tar_of(layer)).unwrap().unwrap();
            programs.apply(changes);
        }
        programs
    }

    /// Whether they are found on Debian's usual path, from `/app`.
    fn found(programs: &Programs, names: &[&str]) -> Vec<bool> {
        names.iter().map(|name| programs.has(name, DEFAULT_PATH, "/app")).collect()
    }

    #[test]
    fn a_program_is_found_on_the_path_and_through_links() {
        let debian = programs(&[&[
            "bin -> usr/bin",
            "usr/bin/",
            "usr/bin/dash*",
            "usr/bin/sh -> dash",
            "usr/bin/python3.12*",
            "usr/local/bin/python -> /etc/alternatives/python",
            "etc/alternatives/python -> ../../bin/python3.12",
            "usr/bin/second = usr/bin/dash",
            "usr/bin/loop -> loop",
            "usr/bin/readme",
            "opt/tool/bin/tool*",
            "./app/own*",
        ]]);
        assert_eq!(found(&debian, &["dash", "sh", "python", "second"]), [true; 4]);
        assert_eq!(
            found(&debian, &["/bin/sh", "own", "./own", "/opt/tool/bin/tool"]),
            [true, false, true, true]
        );
        assert_eq!(found(&debian, &["tool", "readme", "loop", "usr/bin/dash", "ffmpeg"]), [false; 5]);
        assert!(debian.has("tool", "/opt/tool/bin", "/app") && debian.has("own", "/bin:", "/app"));
    }

    #[test]
    fn what_a_later_layer_deletes_or_replaces_is_gone() {
        let base: &[&str] = &["usr/bin/a*", "usr/bin/b*", "usr/bin/c*", "usr/bin/d*", "sbin -> usr/bin"];
        let after = |layer: &[&str]| found(&programs(&[base, layer]), &["a", "b", "c", "d"]);
        assert_eq!(after(&["usr/bin/.wh.a", "usr/bin/b", "usr/bin/c -> gone"]), [false, false, false, true]);
        assert_eq!(after(&["usr/bin/d*", "usr/bin/.wh..wh..opq"]), [false, false, false, true]);
        assert_eq!(after(&[".wh.usr", "sbin/", "sbin/a*"]), [true, false, false, false]);
        assert_eq!(after(&["usr/bin/", "usr/bin/e"]), [true; 4]);
        assert_eq!(after(&["usr/bin -> /nowhere"]), [false; 4]);
    }
}

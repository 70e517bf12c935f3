//! The contents of a worker's binary: a software bill of materials in CycloneDX 1.5.
//!
//! Only what is linked into the binary is listed: no crates of tests, build scripts, other targets or disabled
//! features, and no procedural macros, which run in the compiler. The same build gives the same bytes: no time, no
//! random number, and no path of the machine.
//!
//! The structures are our own: the crate for the format brings an XML reader, a JSON schema and SPDX's tables for a
//! dozen fields, and generates a random serial number.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io,
    path::PathBuf,
};

use cargo_metadata::{DependencyKind, Metadata, Node, Package, PackageId, TargetKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The media type of the document.
pub const SBOM_MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

/// Why there is no bill of materials.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum SbomError {
    #[error("cargo's metadata has no package `{0}`")]
    NoPackage(String),
    #[error("cargo's metadata has no dependencies for `{0}`")]
    NoGraph(String),
    #[error("cannot read {}", path.display())]
    Lockfile { path: PathBuf, source: io::Error },
    #[error("{} is not a valid lock file", path.display())]
    NotLockfile { path: PathBuf, source: toml::de::Error },
    #[error("cannot encode the bill of materials of `{package}`")]
    Write { package: String, source: serde_json::Error },
}

/// The document, as pretty JSON.
///
/// `metadata` is that of the build's features and target (`--features`, `--filter-platform`). Cargo resolves
/// features for a whole workspace at once; `compiled`, the packages for which cargo reported an artifact, narrows
/// the list to those of this build.
///
/// # Errors
/// When the metadata lacks the package or its dependencies, or the lock file cannot be read.
pub fn sbom(
    metadata: &Metadata,
    package: &str,
    compiled: Option<&HashSet<PackageId>>,
) -> Result<Vec<u8>, SbomError> {
    let root = metadata
        .workspace_packages()
        .into_iter()
        .find(|member| member.name.as_str() == package)
        .ok_or_else(|| SbomError::NoPackage(package.to_owned()))?;
    let graph = linked(metadata, &root.id, compiled).ok_or_else(|| SbomError::NoGraph(package.to_owned()))?;
    let hashes = Hashes::read(metadata)?;
    let references = references(metadata, &graph);
    let mut components: Vec<Component> = metadata
        .packages
        .iter()
        .filter(|package| package.id != root.id)
        .filter_map(|package| Some(component("library", package, references.get(&package.id)?, &hashes)))
        .collect();
    components.sort_by(|a, b| a.bom_ref.cmp(&b.bom_ref));
    let reference = |id: &PackageId| references.get(id).cloned();
    let mut dependencies: Vec<Dependency> = graph
        .iter()
        .filter_map(|(id, on)| {
            let mut depends_on: Vec<String> = on.iter().filter_map(|id| reference(id)).collect();
            depends_on.sort();
            Some(Dependency { reference: reference(id)?, depends_on })
        })
        .collect();
    dependencies.sort_by(|a, b| a.reference.cmp(&b.reference));
    let root_reference = reference(&root.id).ok_or_else(|| SbomError::NoGraph(package.to_owned()))?;
    let mut document = Document {
        bom_format: "CycloneDX",
        spec_version: "1.5",
        serial_number: None,
        version: 1,
        metadata: About {
            tools: Tools {
                components: vec![Tool {
                    kind: "application",
                    name: "flash",
                    version: env!("CARGO_PKG_VERSION"),
                }],
            },
            component: component("application", root, &root_reference, &hashes),
        },
        components,
        dependencies,
    };
    let written = |document: &Document| {
        serde_json::to_vec_pretty(document)
            .map_err(|source| SbomError::Write { package: package.to_owned(), source })
    };
    document.serial_number = Some(serial_number(&written(&document)?));
    let mut bytes = written(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The serial number of the document, derived from its content, so that the same content has the same number.
fn serial_number(content: &[u8]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(content)[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().urn().to_string()
}

/// The packages linked into the binary, each with its linked dependencies.
fn linked<'a>(
    metadata: &'a Metadata,
    root: &'a PackageId,
    compiled: Option<&HashSet<PackageId>>,
) -> Option<BTreeMap<&'a PackageId, BTreeSet<&'a PackageId>>> {
    let nodes: HashMap<&PackageId, &Node> =
        metadata.resolve.as_ref()?.nodes.iter().map(|node| (&node.id, node)).collect();
    let macros: HashSet<&PackageId> = metadata
        .packages
        .iter()
        .filter(|package| package.targets.iter().any(|target| target.kind.contains(&TargetKind::ProcMacro)))
        .map(|package| &package.id)
        .collect();
    nodes.get(root)?;
    let mut graph = BTreeMap::new();
    let mut next = vec![root];
    while let Some(id) = next.pop() {
        if graph.contains_key(id) {
            continue;
        }
        let dependencies = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
        let linked = dependencies.iter().filter(|dependency| {
            let kinds = &dependency.dep_kinds;
            let normal = kinds.is_empty() || kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            normal
                && !macros.contains(&dependency.pkg)
                && compiled.is_none_or(|compiled| compiled.contains(&dependency.pkg))
        });
        let linked: BTreeSet<&PackageId> = linked.map(|dependency| &dependency.pkg).collect();
        next.extend(&linked);
        graph.insert(id, linked);
    }
    Some(graph)
}

/// The document's reference for each package. Cargo's IDs contain paths.
fn references(
    metadata: &Metadata,
    graph: &BTreeMap<&PackageId, BTreeSet<&PackageId>>,
) -> HashMap<PackageId, String> {
    let mut packages: Vec<&Package> =
        metadata.packages.iter().filter(|package| graph.contains_key(&package.id)).collect();
    packages.sort_by_key(|package| {
        let source = package.source.as_ref().map(|source| source.repr.as_str());
        (package.name.as_str(), &package.version, source, &package.manifest_path)
    });
    let mut taken: HashMap<String, u32> = HashMap::new();
    let mut references = HashMap::new();
    for package in packages {
        let name = purl(package).unwrap_or_else(|| format!("{}@{}", package.name, package.version));
        let count = taken.entry(name.clone()).or_default();
        *count += 1;
        // Two local packages with the same name and version.
        let reference = if *count == 1 { name } else { format!("{name}#{count}") };
        references.insert(package.id.clone(), reference);
    }
    references
}

fn component(kind: &'static str, package: &Package, reference: &str, hashes: &Hashes) -> Component {
    // An old notation, which SPDX does not accept.
    let license = package.license.as_deref().map(|license| license.replace('/', " OR "));
    let repository = package.repository.as_deref().filter(|url| url.starts_with("https://"));
    Component {
        kind,
        bom_ref: reference.to_owned(),
        name: package.name.to_string(),
        version: package.version.to_string(),
        hashes: hashes
            .of(package)
            .map(|content| Hash { algorithm: "SHA-256", content })
            .into_iter()
            .collect(),
        licenses: license.map(|expression| License { expression }).into_iter().collect(),
        purl: purl(package),
        external_references: repository
            .map(|url| ExternalReference { kind: "vcs", url: url.to_owned() })
            .into_iter()
            .collect(),
    }
}

/// The package's URL. `None` for a local package: the name would refer to an unrelated crate.
fn purl(package: &Package) -> Option<String> {
    let source = package.source.as_ref()?;
    let plain = format!("pkg:cargo/{}@{}", package.name, percent_encoded(&package.version.to_string()));
    if source.is_crates_io() {
        return Some(plain);
    }
    let (kind, url) = source.repr.split_once('+')?;
    let (url, revision) = url.split_once('#').unwrap_or((url, ""));
    let url = public(url.split('?').next()?)?;
    match kind {
        "git" if revision.is_empty() => {
            Some(format!("{plain}?vcs_url={}", percent_encoded(&format!("git+{url}"))))
        }
        "git" => Some(format!("{plain}?vcs_url={}", percent_encoded(&format!("git+{url}@{revision}")))),
        _ => Some(format!("{plain}?repository_url={}", percent_encoded(&url))),
    }
}

/// A URL that others can reach, without any credentials in it.
fn public(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if !["https", "http", "ssh", "git"].contains(&scheme) {
        return None;
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next()?;
    Some(format!("{scheme}://{host}/{path}"))
}

/// All characters that a package URL must encode.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

/// The digests of packages, from the lock file.
struct Hashes(HashMap<(String, String, String), String>);

#[derive(Deserialize)]
struct Lockfile {
    #[serde(default)]
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

impl Hashes {
    fn read(metadata: &Metadata) -> Result<Self, SbomError> {
        let path = metadata.workspace_root.join("Cargo.lock").into_std_path_buf();
        let text = std::fs::read_to_string(&path)
            .map_err(|source| SbomError::Lockfile { path: path.clone(), source })?;
        let lock: Lockfile =
            toml::from_str(&text).map_err(|source| SbomError::NotLockfile { path, source })?;
        let with_hash = lock
            .package
            .into_iter()
            .filter_map(|locked| Some(((locked.name, locked.version, locked.source?), locked.checksum?)));
        Ok(Self(with_hash.collect()))
    }

    fn of(&self, package: &Package) -> Option<String> {
        let source = package.source.as_ref()?.repr.clone();
        self.0.get(&(package.name.to_string(), package.version.to_string(), source)).cloned()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    bom_format: &'static str,
    spec_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial_number: Option<String>,
    version: u32,
    metadata: About,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct About {
    tools: Tools,
    component: Component,
}

#[derive(Serialize)]
struct Tools {
    components: Vec<Tool>,
}

#[derive(Serialize)]
struct Tool {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<License>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<ExternalReference>,
}

#[derive(Serialize)]
struct Hash {
    #[serde(rename = "alg")]
    algorithm: &'static str,
    content: String,
}

#[derive(Serialize)]
struct License {
    expression: String,
}

#[derive(Serialize)]
struct ExternalReference {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    reference: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    const TARGET: &str = "x86_64-unknown-linux-gnu";

    fn write(directory: &Path, name: &str, manifest: &str) {
        let package = directory.join(name);
        std::fs::create_dir_all(package.join("src")).unwrap();
        let head = format!("[package]\nname = \"{name}\"\nversion = \"1.2.3+x\"\nedition = \"2021\"\n");
        std::fs::write(package.join("Cargo.toml"), head + manifest).unwrap();
        std::fs::write(package.join("src/lib.rs"), "").unwrap();
        std::fs::write(package.join("src/main.rs"), "fn main() {}").unwrap();
    }

    /// A workspace in a new directory, and cargo's metadata for it.
    fn workspace() -> (TempDir, Metadata) {
        let directory = TempDir::new().unwrap();
        let root = directory.path();
        std::fs::write(root.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"app\"]\n")
            .unwrap();
        let app = r#"
            license = "MIT/Apache-2.0"
            [features]
            cuda = ["dep:gpu"]
            [dependencies]
            linked = { path = "../linked" }
            derive = { path = "../derive" }
            gpu = { path = "../gpu", optional = true }
            [dev-dependencies]
            tests = { path = "../tests" }
            [build-dependencies]
            generator = { path = "../generator" }
            [target.'cfg(windows)'.dependencies]
            windows = { path = "../windows" }
        "#;
        write(root, "app", app);
        write(root, "linked", "[dependencies]\ndeep = { path = \"../deep\" }\n");
        write(root, "derive", "[lib]\nproc-macro = true\n[dependencies]\nquote = { path = \"../quote\" }\n");
        for leaf in ["deep", "quote", "gpu", "tests", "generator", "windows"] {
            write(root, leaf, "");
        }
        let metadata = metadata_of(root, &[]);
        (directory, metadata)
    }

    fn metadata_of(root: &Path, arguments: &[&str]) -> Metadata {
        let metadata = Command::new("cargo")
            .args(["metadata", "--offline", "--format-version=1", "--filter-platform", TARGET])
            .args(arguments)
            .current_dir(root.join("app"))
            .output()
            .unwrap();
        assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
        serde_json::from_slice(&metadata.stdout).unwrap()
    }

    fn parsed(metadata: &Metadata, compiled: Option<&HashSet<PackageId>>) -> Value {
        serde_json::from_slice(&sbom(metadata, "app", compiled).unwrap()).unwrap()
    }

    fn names(document: &Value) -> Vec<&str> {
        let components = document["components"].as_array().unwrap();
        components.iter().map(|component| component["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn only_what_is_linked_into_the_binary_is_listed() {
        let (directory, metadata) = workspace();
        let document = parsed(&metadata, None);
        assert_eq!((&document["bomFormat"], &document["specVersion"]), (&json!("CycloneDX"), &json!("1.5")));
        assert_eq!(names(&document), ["deep", "linked"]);
        assert_eq!(document["metadata"]["component"]["name"], "app");
        assert_eq!(
            document["metadata"]["component"]["licenses"],
            json!([{ "expression": "MIT OR Apache-2.0" }])
        );
        let dependencies = json!([
            { "ref": "app@1.2.3+x", "dependsOn": ["linked@1.2.3+x"] },
            { "ref": "deep@1.2.3+x" },
            { "ref": "linked@1.2.3+x", "dependsOn": ["deep@1.2.3+x"] },
        ]);
        assert_eq!(document["dependencies"], dependencies);
        let cuda = metadata_of(directory.path(), &["--features", "cuda"]);
        assert_eq!(names(&parsed(&cuda, None)), ["deep", "gpu", "linked"]);
        // Cargo compiled these.
        let compiled = cuda.packages.iter().filter(|package| package.name.as_str() != "gpu");
        let compiled = compiled.map(|package| package.id.clone()).collect();
        assert_eq!(names(&parsed(&cuda, Some(&compiled))), ["deep", "linked"]);
    }

    #[test]
    fn the_same_build_in_another_directory_gives_the_same_document_and_no_paths() {
        let (first, one) = workspace();
        let (_second, other) = workspace();
        let text = String::from_utf8(sbom(&one, "app", None).unwrap()).unwrap();
        assert_eq!(text.as_bytes(), sbom(&other, "app", None).unwrap());
        assert!(!text.contains(first.path().to_str().unwrap()) && !text.contains("file:"), "{text}");
        assert!(text.contains("\"serialNumber\": \"urn:uuid:"), "{text}");
    }

    #[test]
    fn a_package_that_is_not_there_is_named() {
        let (directory, metadata) = workspace();
        assert!(matches!(sbom(&metadata, "other", None), Err(SbomError::NoPackage(name)) if name == "other"));
        std::fs::remove_file(directory.path().join("Cargo.lock")).unwrap();
        assert!(matches!(sbom(&metadata, "app", None), Err(SbomError::Lockfile { .. })));
    }

    /// A package as in cargo's metadata, from another source.
    fn from_elsewhere(source: &str) -> Package {
        let manifest = "/home/someone/.cargo/registry/src/serde-1.0.200/Cargo.toml";
        serde_json::from_value(json!({
            "name": "serde", "version": "1.0.200+1", "id": format!("{source}#serde@1.0.200"), "source": source,
            "license": "MIT OR Apache-2.0", "repository": "https://example.org/serde", "dependencies": [],
            "targets": [], "features": {}, "manifest_path": manifest,
        }))
        .unwrap()
    }

    #[test]
    fn a_package_of_a_registry_or_repository_has_a_url_without_credentials() {
        let purl = |source: &str| purl(&from_elsewhere(source));
        let crates_io = "registry+https://github.com/rust-lang/crates.io-index";
        assert_eq!(purl(crates_io).unwrap(), "pkg:cargo/serde@1.0.200%2B1");
        assert_eq!(
            purl("git+https://me:token@example.org/serde.git?branch=main#0a1b").unwrap(),
            "pkg:cargo/serde@1.0.200%2B1?vcs_url=git%2Bhttps://example.org/serde.git%400a1b"
        );
        assert_eq!(
            purl("sparse+https://crates.example.org/index/").unwrap(),
            "pkg:cargo/serde@1.0.200%2B1?repository_url=https://crates.example.org/index/"
        );
        assert_eq!(purl("git+file:///home/someone/serde#0a1b"), None);
    }

    #[test]
    fn a_package_of_a_registry_has_the_digest_of_the_lock_file() {
        let (directory, mut metadata) = workspace();
        let source = "registry+https://github.com/rust-lang/crates.io-index";
        let serde = from_elsewhere(source);
        let resolve = metadata.resolve.as_mut().unwrap();
        let app = resolve.nodes.iter_mut().find(|node| node.id.repr.contains("/app#")).unwrap();
        let dependency =
            json!({ "name": "serde", "pkg": serde.id, "dep_kinds": [{ "kind": null, "target": null }] });
        app.deps.push(serde_json::from_value(dependency).unwrap());
        metadata.packages.push(serde);
        let lock = format!(
            "version = 4\n[[package]]\nname = \"serde\"\nversion = \"1.0.200+1\"\nsource = \"{source}\"\nchecksum = \"{}\"\n",
            "ab".repeat(32)
        );
        std::fs::write(directory.path().join("Cargo.lock"), lock).unwrap();
        let document = parsed(&metadata, None);
        let serde = &document["components"].as_array().unwrap()[2];
        assert_eq!(serde["hashes"], json!([{ "alg": "SHA-256", "content": "ab".repeat(32) }]));
        assert_eq!(serde["purl"], "pkg:cargo/serde@1.0.200%2B1");
        assert_eq!(serde["bom-ref"], serde["purl"]);
        assert_eq!(
            serde["externalReferences"],
            json!([{ "type": "vcs", "url": "https://example.org/serde" }])
        );
    }
}

//! The programs of the cluster: Kubernetes, built once from Debian's source, and packages that are unpacked.
//!
//! No package has a control plane. What is built is kept outside of checkouts, by the hash of its source. etcd and containerd
//! are unpacked and not installed: installed, each would start a service.
use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    command::{command, find, run},
    failure::Failure,
    output, prepare,
};

/// Where Debian has the source, and its files with their SHA-256: as `dpkg-source` wants them, the description first.
const SOURCE: &str = "http://deb.debian.org/debian/pool/main/k/kubernetes";
const FILES: [(&str, &str); 3] = [
    (
        "kubernetes_1.20.5+really1.20.2-1.1+deb12u1.dsc",
        "19fa1da5aefcef673894ac9511986bd98a14410cf8eea0b626613c30df435257",
    ),
    (
        "kubernetes_1.20.5+really1.20.2-1.1+deb12u1.debian.tar.xz",
        "9b6e5fd41769d2b5badf2e73b274e3bcd90f85e13d06a1a4a845ccce018127d8",
    ),
    (
        "kubernetes_1.20.5+really1.20.2.orig.tar.gz",
        "b83c0780efb182d928dc63d46488a847f161f04e40a94b96bf5247dd671ecdfc",
    ),
];
/// What is built of it.
const BUILT: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];
/// Changes with how it is built.
const RECIPE: &str = "1";
/// The package with a version of a library that runs with the Go of Debian; the one in the source crashes with it.
const REFLECT: &str = "/usr/share/gocode/src/github.com/modern-go/reflect2";

/// The directories of the programs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Programs {
    /// Kubernetes' own, and `pause`, which holds the place of a pod.
    kubernetes: PathBuf,
    /// Those of packages.
    debian: PathBuf,
}

impl Programs {
    /// Builds and unpacks what is missing.
    ///
    /// # Errors
    /// When that is not possible here.
    pub(super) fn prepare() -> Result<Self, Failure> {
        prepare::cluster_packages()?;
        let cache = cache()?;
        let programs =
            Self { kubernetes: cache.join(format!("kubernetes-{}", key())), debian: cache.join("debian") };
        if !programs.kubernetes.is_dir() {
            build(&cache, &programs.kubernetes)?;
        }
        if !programs.debian.is_dir() {
            prepare::unpacked(&["etcd-server", "containerd"], &programs.debian)?;
        }
        Ok(programs)
    }

    /// A program of Kubernetes.
    pub(super) fn kubernetes(&self, name: &str) -> PathBuf {
        self.kubernetes.join(name)
    }

    /// The directory with Kubernetes' programs.
    pub(super) fn directory(&self) -> &Path {
        &self.kubernetes
    }

    /// A program of a package.
    pub(super) fn debian(&self, name: &str) -> PathBuf {
        self.debian.join("usr/bin").join(name)
    }

    /// `PATH` for containerd, which looks there for its shim.
    pub(super) fn search_path(&self) -> String {
        let own = std::env::var("PATH").unwrap_or_default();
        format!("{}:/usr/sbin:/sbin:{own}", self.debian.join("usr/bin").display())
    }
}

/// The directory of what outlives checkouts.
fn cache() -> Result<PathBuf, Failure> {
    let own = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = own.or_else(home).ok_or_else(|| Failure::new("neither XDG_CACHE_HOME nor HOME is set"))?;
    Ok(cache.join("flash-cluster"))
}

/// Changes with the source and with how it is built.
fn key() -> String {
    let mut hash = Sha256::new();
    for part in FILES.iter().map(|(_, digest)| *digest).chain([RECIPE]) {
        hash.update(part);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Builds Kubernetes, which takes minutes.
fn build(cache: &Path, into: &Path) -> Result<(), Failure> {
    let work = cache.join("build");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(Failure::at(work.display()))?;
    }
    fs::create_dir_all(&work).map_err(Failure::at(work.display()))?;
    for (name, digest) in FILES {
        fetch(name, digest, &work)?;
    }
    let source = work.join("source");
    run(command("dpkg-source", &["--no-check", "-x", FILES[0].0]).arg(&source).current_dir(&work))?;
    let vendored = source.join("vendor/github.com/modern-go/reflect2");
    fs::remove_dir_all(&vendored).map_err(Failure::at(vendored.display()))?;
    run(command("cp", &["-r", REFLECT]).arg(&vendored))?;
    // Go wants the source where its name says.
    let below = source.join(".go/src/k8s.io");
    fs::create_dir_all(&below).map_err(Failure::at(below.display()))?;
    std::os::unix::fs::symlink("../../..", below.join("kubernetes")).map_err(Failure::at(below.display()))?;
    let what: Vec<String> = BUILT.iter().map(|name| format!("cmd/{name}")).collect();
    let mut make = command("make", &[&format!("WHAT={}", what.join(" "))]);
    make.current_dir(&source).env("GOPATH", source.join(".go")).env("CGO_ENABLED", "0");
    run(make.env("HOME", &work).env_remove("GOFLAGS"))?;
    let made = work.join("made");
    fs::create_dir(&made).map_err(Failure::at(made.display()))?;
    for name in BUILT {
        let program = source.join("_output/bin").join(name);
        fs::copy(&program, made.join(name)).map_err(Failure::at(program.display()))?;
    }
    let pause = source.join("build/pause/linux/pause.c");
    run(command("cc", &["-Os", "-static", "-o"]).arg(made.join("pause")).arg(pause))?;
    // Last: an interrupted build leaves no directory with that name.
    fs::rename(&made, into).map_err(Failure::at(into.display()))?;
    // Go makes its cache read-only.
    run(command("chmod", &["-R", "u+w"]).arg(&work))?;
    fs::remove_dir_all(&work).map_err(Failure::at(work.display()))?;
    output::say("Built", &into.display().to_string());
    Ok(())
}

/// Downloads a file and checks it.
fn fetch(name: &str, digest: &str, into: &Path) -> Result<(), Failure> {
    let file = into.join(name);
    run(command("curl", &["--fail", "--silent", "--show-error", "--location", "--output"])
        .arg(&file)
        .arg(format!("{SOURCE}/{}", name.replace('+', "%2B"))))?;
    let bytes = fs::read(&file).map_err(Failure::at(file.display()))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    match found == digest {
        true => Ok(()),
        false => Err(Failure::new(format!("{name} has the SHA-256 {found}, not {digest}"))),
    }
}

/// Where Debian puts a program that only root's `PATH` finds.
pub(super) fn in_sbin(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| Path::new("/usr/sbin").join(name))
}

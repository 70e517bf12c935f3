//! The app under test on a real local platform.
use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use flash_protocol::Result;

use super::{
    process::{FlashRun, Ready},
    scope,
};
use crate::{call::Peers, context::Context, descriptor::Registered, substitutes::Substitutes};

/// The app of a crate, served by `flash run` on a free port until the value is dropped.
///
/// ```no_run
/// # use flash_sdk::{Result, remote, testing::Platform};
/// # #[remote(cpu = Cpu3c_1_2)]
/// # async fn hello(name: String) -> Result<String> { Ok(name) }
/// #[flash_sdk::test]
/// async fn hello_runs_on_a_worker() -> Result<()> {
///     let platform = Platform::start().await?;
///     assert_eq!(hello("Ada".to_owned()).await?, "hello, Ada"); // over HTTP, on a worker process
///     println!("the API is at {}/docs", platform.url());
///     Ok(())
/// }
/// # fn main() {}
/// ```
///
/// Calls of a test with [`#[flash_sdk::test]`](macro@crate::test) go to the platform that it started, except those of
/// functions with a [`fake`](super::fake). Other code uses [`Platform::scope`].
///
/// It needs the `flash` command: the one that `FLASH_BIN` names, otherwise the one on `PATH`. `flash` builds the app
/// with cargo, so the first start takes as long as that. What it and the workers print is part of the output of the
/// test. It listens on 127.0.0.1 without a key, whatever the crate's `.env` says. Its state is below `.flash/run` of
/// the crate and is removed when it ends.
///
/// When the value is dropped, running work is stopped and all processes end. They also end when the test's process ends,
/// in whatever way.
pub struct Platform {
    url: String,
    peers: Arc<Peers>,
    /// The test whose calls go here.
    joined: Option<Arc<Substitutes>>,
    _flash: FlashRun,
}

impl Platform {
    /// Starts the app of the crate under test, and waits until it serves.
    ///
    /// # Errors
    /// If there is no `flash` command, the app does not compile, or a worker that must run from the start does not.
    /// The message contains what `flash` printed.
    pub async fn start() -> Result<Self> {
        // Set by cargo for the processes of tests.
        let directory =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
        Self::start_in(directory).await
    }

    /// Starts the app of the crate in this directory, for tests that belong to another crate.
    ///
    /// # Errors
    /// See [`Platform::start`].
    pub async fn start_in(directory: impl AsRef<Path>) -> Result<Self> {
        let (flash, ready) = FlashRun::start(directory.as_ref()).await?;
        let peers = Arc::new(peers_of(&ready, directory.as_ref()));
        let joined = Context::substitutes();
        if let Some(test) = &joined {
            test.set_platform(Some(peers.clone()));
        }
        Ok(Self { url: ready.url, peers, joined, _flash: flash })
    }

    /// Where it listens, as in `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a future whose calls go to this platform. It has fakes of its own, as in [`scope`](super::scope()).
    ///
    /// Use it where several tests share a platform, for example from a `static`, and in tests without
    /// `#[flash_sdk::test]`.
    pub fn scope<F: Future>(&self, calls: F) -> impl Future<Output = F::Output> + use<F> {
        let substitutes = Substitutes::default();
        substitutes.set_platform(Some(self.peers.clone()));
        scope::within(substitutes, calls)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if let Some(test) = &self.joined {
            test.set_platform(None);
        }
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The worker types that it serves.
fn peers_of(ready: &Ready, directory: &Path) -> Peers {
    let functions = inventory::iter::<Registered>.into_iter().map(|registered| (registered.function)());
    let routed: HashSet<&str> =
        functions.filter(|function| function.route.is_some()).map(|function| function.worker()).collect();
    let endpoints: HashMap<String, String> = ready
        .workers()
        .map(|worker| {
            let prefix = if routed.contains(worker) { "" } else { "/v2" };
            (worker.to_owned(), format!("{}{prefix}/{worker}", ready.url))
        })
        .collect();
    let source = format!(
        "the app in {} has no such worker type; its `main` must link the library that contains the function",
        directory.display()
    );
    Peers::of_platform(endpoints, source)
}

//! Pods that were started and whose first process has not joined yet.
use std::{collections::HashMap, fmt, sync::Arc};

use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};

/// The connection of a first process, after the upgrade.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The pods that may join. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Pods(Arc<Mutex<HashMap<String, Entry>>>);

struct Entry {
    key: String,
    joins: oneshot::Sender<Box<dyn Stream>>,
}

/// A pod that may join until this is dropped.
pub(crate) struct AwaitedPod {
    pods: Pods,
    id: String,
    joined: oneshot::Receiver<Box<dyn Stream>>,
}

impl Pods {
    /// From now on, a pod may join once with this id and key.
    pub(crate) fn expect(&self, id: String, key: String) -> AwaitedPod {
        let (joins, joined) = oneshot::channel();
        self.0.lock().insert(id.clone(), Entry { key, joins });
        AwaitedPod { pods: self.clone(), id, joined }
    }

    /// Whether a pod with this id is awaited, and this is its key.
    pub(crate) fn admits(&self, id: &str, key: &str) -> bool {
        let pods = self.0.lock();
        pods.get(id).is_some_and(|own| own.key.as_bytes().ct_eq(key.as_bytes()).into())
    }

    /// The connection of a pod that was admitted. It is closed if the pod is not awaited any more, or has joined already.
    pub(crate) fn join(&self, id: &str, connection: Box<dyn Stream>) {
        let awaited = self.0.lock().remove(id);
        if let Some(Entry { joins, .. }) = awaited {
            // Fails if the pod was given up meanwhile.
            let _ = joins.send(connection);
        }
    }
}

impl AwaitedPod {
    /// Waits for it.
    pub(super) async fn joined(&mut self) -> Box<dyn Stream> {
        match (&mut self.joined).await {
            Ok(connection) => connection,
            // Another one with its id has taken its place.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for AwaitedPod {
    fn drop(&mut self) {
        // Its entry shows by it that it is not another one's.
        self.joined.close();
        let mut pods = self.pods.0.lock();
        if pods.get(&self.id).is_some_and(|entry| entry.joins.is_closed()) {
            pods.remove(&self.id);
        }
    }
}

impl fmt::Debug for AwaitedPod {
    /// Without its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitedPod").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_pod_joins_once_and_with_its_own_key() {
        let pods = Pods::default();
        let mut awaited = pods.expect("w-1".to_owned(), "key".to_owned());
        assert!(pods.admits("w-1", "key"));
        for (id, key) in [("w-1", "kez"), ("w-1", ""), ("w-1", "key2"), ("w-2", "key")] {
            assert!(!pods.admits(id, key), "{id} {key}");
        }
        let (near, _far) = tokio::io::duplex(64);
        pods.join("w-1", Box::new(near));
        assert!(!pods.admits("w-1", "key"), "it has joined");
        drop(awaited.joined().await);

        let (near, mut second) = tokio::io::duplex(64);
        pods.join("w-1", Box::new(near));
        assert_eq!(second.read(&mut [0]).await.unwrap(), 0, "its connection is closed");
    }

    #[tokio::test]
    async fn a_pod_that_was_given_up_is_not_awaited() {
        let pods = Pods::default();
        let first = pods.expect("w-1".to_owned(), "one".to_owned());
        let second = pods.expect("w-1".to_owned(), "two".to_owned());
        drop(first);
        assert!(pods.admits("w-1", "two"), "the end of another one with its id changes nothing");
        drop(second);
        assert!(!pods.admits("w-1", "two"));
    }
}

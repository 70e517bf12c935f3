//! A way from this machine to a port of a pod, through the cluster's API: whoever the cluster lets do that may use it.
use std::{io, path::PathBuf};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, UnixListener},
};
use tokio_util::task::AbortOnDropHandle;

/// The name of the socket in a directory that only this user may enter.
const SOCKET: &str = "service.sock";

/// A pod of which ports can be reached.
#[derive(Clone)]
pub(crate) struct PodAddress {
    pub api: Api<Pod>,
    pub name: String,
}

/// A Unix socket whose connections lead to a port of a pod, as long as this value lives.
pub(crate) struct ForwardedSocket {
    directory: TempDir,
    _accepting: AbortOnDropHandle<()>,
}

impl ForwardedSocket {
    pub(crate) fn open(to: PodAddress, port: u16) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("flash-").tempdir()?;
        let listener = UnixListener::bind(directory.path().join(SOCKET))?;
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(to.clone(), port, stream));
            }
        });
        Ok(Self { directory, _accepting: AbortOnDropHandle::new(accepting) })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }
}

/// A port on loopback whose connections lead to a port of a pod, as long as this value lives.
pub(crate) struct ForwardedPort {
    port: u16,
    _accepting: AbortOnDropHandle<()>,
}

impl ForwardedPort {
    pub(crate) async fn open(to: PodAddress, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let own = listener.local_addr()?.port();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(to.clone(), port, stream));
            }
        });
        Ok(Self { port: own, _accepting: AbortOnDropHandle::new(accepting) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// One connection. Where the pod cannot be reached, it is closed, and whoever opened it sees that.
async fn forward(to: PodAddress, port: u16, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut forwarder) = to.api.portforward(&to.name, &[port]).await else { return };
    if let Some(mut remote) = forwarder.take_stream(port) {
        let _ = copy_bidirectional(&mut stream, &mut remote).await;
    }
    forwarder.abort();
}

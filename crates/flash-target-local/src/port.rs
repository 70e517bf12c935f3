//! The port of `flash run`: the requested one, or the next free one.
use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::net::TcpListener;

/// How many further ports are tried when no port was requested explicitly.
const MORE_PORTS: u16 = 20;

/// The port for `flash run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// This port or none.
    Exactly(u16),
    /// This port, or one of the next 20.
    From(u16),
}

/// Why no port could be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum BindError {
    #[error("no address found for the host `{host}`")]
    UnknownHost { host: String, source: io::Error },
    #[error("`{host}` ({address}) is not an address of this machine")]
    OtherMachine { host: String, address: IpAddr },
    #[error("cannot bind {host}:{port}")]
    Port { host: String, port: u16, source: io::Error },
    #[error("cannot bind any of the ports {from} to {to} on {host}")]
    Ports { host: String, from: u16, to: u16, source: io::Error },
}

/// Opens a port. With [`Port::From`], `skipped` is called for each port in use.
pub async fn bind(host: &str, port: Port, mut skipped: impl FnMut(u16)) -> Result<TcpListener, BindError> {
    let unknown = |source| BindError::UnknownHost { host: host.to_owned(), source };
    let (first, last) = match port {
        Port::Exactly(port) => (port, port),
        Port::From(port) => (port, port.saturating_add(MORE_PORTS)),
    };
    // `localhost` may have several addresses; the first that belongs to this machine is used, IPv4 before IPv6.
    let mut addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, first)).await.map_err(unknown)?.collect();
    addresses.sort_by_key(|address| address.is_ipv6());
    let mut address = addresses.first().ok_or_else(|| unknown(io::ErrorKind::NotFound.into()))?.ip();
    let mut others = addresses.iter().skip(1).map(SocketAddr::ip);
    let mut port_now = first;
    let source = loop {
        match TcpListener::bind(SocketAddr::new(address, port_now)).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port_now < last => {
                skipped(port_now);
                port_now += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => match others.next() {
                Some(other) => address = other,
                None => return Err(BindError::OtherMachine { host: host.to_owned(), address }),
            },
            Err(error) => break error,
        }
    };
    let host = host.to_owned();
    Err(match port {
        Port::Exactly(port) => BindError::Port { host, port, source },
        Port::From(from) => BindError::Ports { host, from, to: last, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_passed_over_only_when_nobody_insists_on_it() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut skipped = Vec::new();
        let next = bind("127.0.0.1", Port::From(port), |port| skipped.push(port)).await.unwrap();
        assert_eq!(skipped[0], port);
        let found = next.local_addr().unwrap().port();
        assert!((port + 1..=port + MORE_PORTS).contains(&found), "{found} after {port}");
        let refused =
            bind("127.0.0.1", Port::Exactly(port), |_| panic!("no other is tried")).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("cannot bind 127.0.0.1:{port}"));
    }

    #[tokio::test]
    async fn a_host_that_is_unknown_or_elsewhere_is_told_as_that() {
        // Longer than a name can be, so no server is queried.
        let name = "a".repeat(300);
        let unknown = bind(&name, Port::Exactly(0), |_| ()).await.unwrap_err();
        assert!(matches!(&unknown, BindError::UnknownHost { host, .. } if *host == name), "{unknown}");
        // An address reserved for documentation, which no machine has.
        let elsewhere = bind("192.0.2.1", Port::From(8888), |_| ()).await.unwrap_err();
        assert_eq!(elsewhere.to_string(), "`192.0.2.1` (192.0.2.1) is not an address of this machine");
    }
}

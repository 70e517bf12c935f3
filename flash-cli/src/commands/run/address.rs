//! Where `flash run` listens, and under which names it accepts requests.
use std::net::{IpAddr, Ipv6Addr};

use flash_platform::AllowedHosts;
use flash_process::port_holder::holder_of;
use flash_target_local::{BindError, Port};
use tokio::net::TcpListener;

use super::variable::variable;
use crate::{
    exit::{Failure, FailureCode},
    output::Output,
    project::Config,
};

const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 8888;

/// A host and a port to listen on.
pub(super) struct Address {
    pub host: String,
    port: Port,
}

impl Address {
    /// Flag, then environment, then `.env`, then `flash.toml`, then the default.
    ///
    /// # Errors
    /// When one of them is not a host or a port.
    pub(super) fn find(
        host: Option<&str>,
        port: Option<u16>,
        config: &Config,
        dotenv: &[(String, String)],
    ) -> Result<Self, Failure> {
        let variable = |name: &str| variable(name, dotenv);
        let host = host.map(str::to_owned).or_else(|| variable("FLASH_HOST")).or_else(|| config.host.clone());
        let from_variable = match variable("FLASH_PORT") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                Failure::unusable(format!("FLASH_PORT is `{text}`; expected a port from 0 to 65535"))
            })?),
        };
        let port = port.or(from_variable).or(config.port);
        let port = port.map_or(Port::From(DEFAULT_PORT), Port::Exactly);
        Ok(Self { host: host_alone(host.as_deref().unwrap_or(DEFAULT_HOST))?, port })
    }

    /// Listens on it, or on the next free port if none was given.
    ///
    /// # Errors
    /// When no port is free, or the host is not an address of this machine.
    pub(super) async fn listen(&self, output: &Output) -> Result<TcpListener, Failure> {
        flash_target_local::bind(&self.host, self.port, |taken| {
            let by = holder_of(taken).map_or(String::new(), |holder| format!(" by {holder}"));
            output.warning(&format!("port {taken} is in use{by}; trying the next"));
        })
        .await
        .map_err(|error| not_bound(&error))
    }

    /// The names from the first source that has any, in the same order as for the address, plus the name it listens on.
    ///
    /// # Errors
    /// When one of them is not a host name.
    pub(super) fn allowed_hosts(
        &self,
        given: &[String],
        config: &Config,
        dotenv: &[(String, String)],
    ) -> Result<AllowedHosts, Failure> {
        let from_variable = || {
            let names = variable("FLASH_ALLOW_HOST", dotenv).unwrap_or_default();
            names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        };
        let mut names = given.to_vec();
        if names.is_empty() {
            names = from_variable();
        }
        if names.is_empty() {
            names.clone_from(&config.allow_hosts);
        }
        let is_address = self.host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        names.extend((!is_address).then(|| self.host.clone()));
        match AllowedHosts::new(names) {
            Ok(hosts) => Ok(hosts.and_this_machine()),
            Err(error) => Err(Failure::unusable(format!("allowed hosts: {error}"))),
        }
    }
}

fn not_bound(error: &BindError) -> Failure {
    let failure = Failure::of(FailureCode::Failed, error);
    match error {
        BindError::UnknownHost { .. } | BindError::OtherMachine { .. } => failure.hint(
            "use --host localhost for this machine only, --host 0.0.0.0 for all its IPv4 addresses, --host :: for IPv6 \
             too",
        ),
        BindError::Port { .. } | BindError::Ports { .. } => {
            let holder = match error {
                BindError::Port { port, .. } => holder_of(*port),
                _ => None,
            };
            let held = holder.map_or(String::new(), |holder| format!("it is held by {holder}; "));
            failure.hint(format!("{held}choose another port with --port, or use --port 0 for any free one"))
        }
    }
}

/// A host name or address without a port; an IPv6 address may have brackets as in a URL.
fn host_alone(text: &str) -> Result<String, Failure> {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = inside.unwrap_or(text);
    // A link-local address includes its interface.
    let is_ipv6 = host.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    if is_ipv6 || (inside.is_none() && !host.contains(['/', ':', '[', ']', '@', ' '])) {
        return Ok(host.to_owned());
    }
    Err(Failure::unusable(format!("`{text}` is not a host; expected a name or an IP address"))
        .hint("give the port separately: --host localhost --port 9000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_taken_as_people_write_it_and_refused_with_the_way_to_write_it() {
        for (text, host) in [
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::]", "::"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("box.lan", "box.lan"),
        ] {
            assert_eq!(host_alone(text).unwrap(), host, "{text}");
        }
        for text in [
            "http://localhost",
            "localhost:9000",
            "[::1]:9000",
            "[localhost]",
            "[::1",
            "a@b",
            "127.0.0.1/8",
            "a b",
        ] {
            let refused = host_alone(text).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{text}` is not a host")), "{refused}");
        }
    }
}

//! The addresses that webhooks may reach.
//!
//! Anyone who may submit a job chooses the URL of its webhook. In a deployment, that must not give access to services
//! that only this machine or its network can reach, such as a cloud's metadata service. So names are resolved first
//! and the address is checked, and the connection goes to the checked address.
use std::{
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
};

use ipnet::IpNet;
use reqwest::{
    Url,
    dns::{Name, Resolve, Resolving},
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedNetworks {
    /// Everything, for development on your own machine.
    All,
    /// Public addresses, and these networks.
    PublicAnd(Arc<[IpNet]>),
}

/// An address that must not be reached, and what to do about it.
#[derive(Debug)]
pub(super) struct Forbidden {
    host: String,
    address: IpAddr,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address } = self;
        if host.parse() == Ok(*address) {
            write!(f, "{address} is not a public address")?;
        } else {
            write!(f, "`{host}` resolves to {address}, which is not a public address")?;
        }
        f.write_str(": to allow it, add its network to `webhook_networks` of the environment in flash.toml")
    }
}

impl Error for Forbidden {}

impl AllowedNetworks {
    /// Whether a connection to this address is allowed.
    fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Self::All => true,
            Self::PublicAnd(networks) => {
                is_public(address) || networks.iter().any(|network| network.contains(&address))
            }
        }
    }

    /// Checks a URL whose host is an address, because such a host is never resolved.
    ///
    /// # Errors
    /// When it must not be reached.
    pub(super) fn check(&self, url: &Url) -> Result<(), Forbidden> {
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        match literal {
            Ok(address) if !self.permits(address) => Err(Forbidden { host: address.to_string(), address }),
            _ => Ok(()),
        }
    }
}

impl Resolve for AllowedNetworks {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (permitted, refused): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|address| allowed.permits(address.ip()));
            match refused.first() {
                Some(refused) if permitted.is_empty() => {
                    Err(Forbidden { host: name.as_str().to_owned(), address: refused.ip() }.into())
                }
                _ => Ok(Box::new(permitted.into_iter()) as reqwest::dns::Addrs),
            }
        })
    }
}

/// Networks that are not part of the public internet, by IANA's registries of special-purpose addresses (IPv4:
/// <https://www.iana.org/assignments/iana-ipv4-special-registry>, IPv6 below 2000::/3: the same of
/// `iana-ipv6-special-registry`). 2001::/23 holds protocol assignments, 2002::/16 wraps IPv4 addresses.
static SPECIAL: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let networks = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    ];
    networks.iter().map(|network| network.parse().expect("the table holds networks")).collect()
});

/// All IPv6 unicast addresses of the public internet are in here.
static GLOBAL_UNICAST: LazyLock<IpNet> = LazyLock::new(|| "2000::/3".parse().expect("it is a network"));

fn is_public(address: IpAddr) -> bool {
    let is_special = SPECIAL.iter().any(|network| network.contains(&address));
    !is_special && (address.is_ipv4() || GLOBAL_UNICAST.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public_and(networks: &[&str]) -> AllowedNetworks {
        AllowedNetworks::PublicAnd(networks.iter().map(|network| network.parse().unwrap()).collect())
    }

    #[test]
    fn only_public_addresses_are_reached_unless_a_network_is_named() {
        let forbidden = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001:db8::1",
        ];
        let public =
            ["1.1.1.1", "8.8.8.8", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "2a00::1", "::ffff:8.8.8.8"];
        let open = public_and(&["10.1.0.0/16", "127.0.0.1/32", "fd00::/8"]);
        for address in forbidden {
            let address = address.parse().unwrap();
            assert!(!public_and(&[]).permits(address), "{address}");
            assert!(AllowedNetworks::All.permits(address), "{address}");
        }
        for address in public {
            assert!(public_and(&[]).permits(address.parse().unwrap()), "{address}");
        }
        for (address, allowed) in [
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("fd00::1", true),
        ] {
            assert_eq!(open.permits(address.parse().unwrap()), allowed, "{address}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_recognised_in_every_way_to_write_it() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1:8080/x",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]:1/",
            "http://user@169.254.169.254/latest/meta-data",
        ] {
            let url = Url::parse(url).unwrap();
            let refusal = public_and(&[]).check(&url).unwrap_err().to_string();
            assert!(
                refusal.contains("not a public address") && refusal.contains("webhook_networks"),
                "{refusal}"
            );
            assert!(AllowedNetworks::All.check(&url).is_ok());
        }
        assert!(public_and(&[]).check(&Url::parse("https://1.1.1.1/").unwrap()).is_ok());
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let resolved = public_and(&[]).resolve("localhost".parse().unwrap()).await;
        let refusal = resolved.err().unwrap().to_string();
        assert!(refusal.starts_with("`localhost` resolves to "), "{refusal}");
        assert!(AllowedNetworks::All.resolve("localhost".parse().unwrap()).await.unwrap().next().is_some());
    }
}

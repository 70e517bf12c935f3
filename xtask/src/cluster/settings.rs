//! The configuration files of the cluster's programs.
//!
//! Clients of the API server have a token each; its own certificate is self-signed, and every kubeconfig trusts that one
//! alone.
use std::net::Ipv4Addr;

use super::{
    kernel::GROUP,
    place::{API_PORT, HOST, NODE, NODE_NAME, PODS, Place},
};

/// The certificate that the API server shows to the kubelet.
pub(super) const TO_KUBELET: &str = "certificates/to-kubelet.crt";

/// A client of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// Whoever uses the cluster.
    Admin,
    Controllers,
    Scheduler,
    Kubelet,
    Proxy,
}

impl Client {
    pub(super) const ALL: [Self; 5] =
        [Self::Admin, Self::Controllers, Self::Scheduler, Self::Kubelet, Self::Proxy];

    /// Its kubeconfig.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Admin => "admin.kubeconfig",
            Self::Controllers => "controllers.kubeconfig",
            Self::Scheduler => "scheduler.kubeconfig",
            Self::Kubelet => "kubelet.kubeconfig",
            Self::Proxy => "proxy.kubeconfig",
        }
    }

    /// Its user and its groups, which decide what it may do.
    fn identity(self) -> (String, &'static str) {
        match self {
            Self::Admin => ("admin".to_owned(), "system:masters"),
            Self::Controllers => ("system:kube-controller-manager".to_owned(), ""),
            Self::Scheduler => ("system:kube-scheduler".to_owned(), ""),
            Self::Kubelet => (format!("system:node:{NODE_NAME}"), "system:nodes"),
            Self::Proxy => ("system:kube-proxy".to_owned(), ""),
        }
    }
}

/// The API server's list of tokens.
pub(super) fn tokens(tokens: &[(Client, String)]) -> String {
    let line = |(client, token): &(Client, String)| {
        let (user, groups) = client.identity();
        format!("{token},{user},{user},\"{groups}\"\n")
    };
    tokens.iter().map(line).collect()
}

/// How a client finds the API server, trusts it, and is known to it.
pub(super) fn kubeconfig(token: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: flash-cluster
  cluster:
    server: https://{HOST}:{API_PORT}
    certificate-authority: {certificate}
users:
- name: flash-cluster
  user:
    token: {token}
contexts:
- name: flash-cluster
  context:
    cluster: flash-cluster
    user: flash-cluster
current-context: flash-cluster
",
        certificate = Place::path("certificates/apiserver.crt").display()
    )
}

/// One of the two registries: they share what is stored. Images have the name of the one on loopback, which clients may
/// reach without TLS; the node pulls from the other.
pub(super) fn registry(address: Ipv4Addr, port: u16) -> String {
    format!(
        "version: 0.1
storage:
  filesystem:
    rootdirectory: {images}
  delete:
    enabled: true
http:
  addr: {address}:{port}
",
        images = Place::path("images").display()
    )
}

/// containerd, with the node's own directories.
pub(super) fn containerd(place: &Place, pause: &str) -> String {
    let (registry, port) = (place.registry(), place.registry_port);
    let directory = Place::directory().display();
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    // Only root may lower the score that the kernel goes by when memory is short, and not in each container.
    format!(
        "version = 2
root = \"{directory}/containerd\"
state = \"{directory}/containerd-state\"
[grpc]
address = \"{socket}\"
[{cri}]
sandbox_image = \"{pause}\"
restrict_oom_score_adj = true
[{cri}.cni]
bin_dir = \"/usr/lib/cni\"
conf_dir = \"{directory}/cni\"
[{cri}.registry.mirrors.\"{registry}\"]
endpoint = [\"http://{HOST}:{port}\"]
",
        socket = socket()
    )
}

/// containerd's socket.
pub(super) fn socket() -> String {
    Place::path("containerd.sock").display().to_string()
}

/// How pods are connected: a link each. A bridge would need a module of the kernel for services whose pods are on it.
pub(super) fn cni() -> String {
    let addresses = Place::path("addresses");
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "flash-cluster",
        "plugins": [{
            "type": "ptp",
            "ipMasq": true,
            "ipam": {
                "type": "host-local",
                "dataDir": addresses,
                "ranges": [[{ "subnet": PODS }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
    .to_string()
}

/// The kubelet.
pub(super) fn kubelet() -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {NODE}
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: true
  x509:
    clientCAFile: {certificate}
authorization:
  mode: Webhook
cgroupDriver: cgroupfs
cgroupRoot: {GROUP}
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
maxOpenFiles: 20000
failSwapOn: false
readOnlyPort: 0
nodeStatusUpdateFrequency: 1s
resolvConf: \"\"
evictionHard:
  memory.available: 50Mi
",
        certificate = Place::path(TO_KUBELET).display()
    )
}

/// kube-proxy. Limits of connections are the whole machine's, so it leaves them alone.
pub(super) fn proxy() -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection:
  kubeconfig: {kubeconfig}
mode: iptables
clusterCIDR: {PODS}
hostnameOverride: {NODE_NAME}
conntrack:
  maxPerCore: 0
  min: 0
  tcpEstablishedTimeout: 0s
  tcpCloseWaitTimeout: 0s
",
        kubeconfig = Place::path(Client::Proxy.file()).display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_token_and_rights() {
        let given: Vec<(Client, String)> =
            Client::ALL.into_iter().map(|client| (client, format!("{client:?}"))).collect();
        let list = tokens(&given);
        assert_eq!(list.lines().count(), Client::ALL.len());
        assert_eq!(list.lines().filter(|line| line.contains("system:masters")).count(), 1);
        assert!(list.contains("Kubelet,system:node:flash-node,system:node:flash-node,\"system:nodes\"\n"));
    }

    #[test]
    fn nothing_listens_on_an_address_that_others_reach() {
        assert!(HOST.is_private() && NODE.is_private());
        for text in [registry(HOST, 1), registry(Ipv4Addr::LOCALHOST, 1), kubelet(), proxy()] {
            assert!(!text.contains("0.0.0.0") && !text.contains(": \":"), "{text}");
        }
    }
}

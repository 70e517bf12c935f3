//! Where an endpoint is.
use crate::http_client::escaped;

/// The base URL of endpoint IDs.
const RUNPOD: &str = "https://api.runpod.ai/v2";

/// The URLs of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The URL that `/run` is appended to.
    pub queue: String,
    /// The URL that the paths of its routes are appended to.
    pub routes: String,
}

impl Address {
    /// Of an endpoint ID on Runpod, or of the URL that `/run` is appended to.
    pub(super) fn of(id_or_url: &str) -> Self {
        if id_or_url.contains("://") {
            let queue = id_or_url.trim_end_matches('/').to_owned();
            // If the queue API of a worker type is at `/v2/NAME`, its routes are at `/NAME`. On Runpod, routes have
            // separate hosts.
            let routes = match queue.rsplit_once("/v2/") {
                Some(("https://api.runpod.ai", id)) if !id.contains('/') => {
                    format!("https://{id}.api.runpod.ai")
                }
                Some((host, name)) if !name.contains('/') => format!("{host}/{name}"),
                _ => queue.clone(),
            };
            return Self { queue, routes };
        }
        let id = escaped(id_or_url);
        Self { queue: format!("{RUNPOD}/{id}"), routes: format!("https://{id}.api.runpod.ai") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_on_runpod_and_a_url_is_itself() {
        let by_id = Address::of("abc123");
        assert_eq!(by_id.queue, "https://api.runpod.ai/v2/abc123");
        assert_eq!(by_id.routes, "https://abc123.api.runpod.ai");
        assert_eq!(Address::of("https://api.runpod.ai/v2/abc123/"), by_id);
        let url = "http://127.0.0.1:8900/v2/worker";
        let routes = "http://127.0.0.1:8900/worker";
        assert_eq!(Address::of(&format!("{url}/")), Address { queue: url.into(), routes: routes.into() });
        assert_eq!(Address::of("http://h:1/x").routes, "http://h:1/x");
        assert_eq!(Address::of("a/../b").queue, "https://api.runpod.ai/v2/a%2F..%2Fb");
    }
}

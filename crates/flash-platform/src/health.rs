//! Health checks of load-balanced commands, by requesting their health path.
//!
//! A worker of the app reports when it is ready. Any other HTTP server is checked as the provider does it: 200 is
//! ready, 204 and a refused connection are starting, everything else is unhealthy. The pool acts on the result.
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// The interval of checks while a worker starts.
const WHILE_STARTING: Duration = Duration::from_millis(100);
/// The interval of checks of a ready worker.
const WHILE_SERVING: Duration = Duration::from_secs(3);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Failed checks in a row until it counts as unhealthy; a single one may be an accident.
const BAD_LOOKS: u32 = 3;

/// The result of one check.
#[derive(Debug, PartialEq, Eq)]
enum Health {
    Ready,
    Starting,
    Unhealthy(String),
}

/// The address and health path of a worker.
pub(crate) struct HealthCheck {
    pub address: SocketAddr,
    path: String,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl HealthCheck {
    /// For a worker that is about to start.
    ///
    /// The port was free a moment ago. A worker that loses the race for the port ends, and the next start gets
    /// another port.
    ///
    /// # Errors
    /// If the machine has no free port.
    pub(crate) fn on_a_free_port(path: &str) -> io::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(Self::new(address, path))
    }

    fn new(address: SocketAddr, path: &str) -> Self {
        // Uses a new connection for each check, because connecting is part of it.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { address, path: path.to_owned(), client }
    }

    /// The port that the worker should listen on.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Waits until it is ready. Each new reason why it is unhealthy is reported once.
    pub(crate) async fn until_ready(&self, mut unhealthy: impl FnMut(&str)) {
        let mut last_problem = String::new();
        loop {
            match self.probe().await {
                Health::Ready => return,
                Health::Starting => {}
                Health::Unhealthy(problem) if problem == last_problem => {}
                Health::Unhealthy(problem) => {
                    unhealthy(&problem);
                    last_problem = problem;
                }
            }
            tokio::time::sleep(WHILE_STARTING).await;
        }
    }

    /// Waits until it is unhealthy several times in a row, and returns the reason.
    pub(crate) async fn until_broken(&self) -> String {
        let mut bad = 0;
        loop {
            tokio::time::sleep(WHILE_SERVING).await;
            let problem = match self.probe().await {
                Health::Ready => {
                    bad = 0;
                    continue;
                }
                Health::Starting => "no longer ready".to_owned(),
                Health::Unhealthy(problem) => problem,
            };
            bad += 1;
            if bad == BAD_LOOKS {
                return format!("{problem} ({BAD_LOOKS} times in a row)");
            }
        }
    }

    async fn probe(&self) -> Health {
        let Self { address, path, client } = self;
        let request = match Request::get(format!("http://{address}{path}")).body(Empty::new()) {
            Ok(request) => request,
            Err(error) => return Health::Unhealthy(format!("could not request {path}: {error}")),
        };
        match tokio::time::timeout(ANSWER_LIMIT, client.request(request)).await {
            Ok(Ok(answer)) => match answer.status() {
                StatusCode::OK => Health::Ready,
                StatusCode::NO_CONTENT => Health::Starting,
                status => Health::Unhealthy(format!("{path} answered {status}, expected 200")),
            },
            Ok(Err(error)) if error.is_connect() => Health::Starting,
            Ok(Err(_)) => Health::Unhealthy(format!("{path} closed the connection without an answer")),
            Err(_) => Health::Unhealthy(format!("{path} did not answer within {} s", ANSWER_LIMIT.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};

    use super::*;

    async fn serving(status: StatusCode) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let router = Router::new().route("/health", get(async move || status));
            axum::serve(listener, router).await
        });
        address
    }

    #[tokio::test]
    async fn the_answer_of_the_health_path_is_read_as_the_provider_reads_it() {
        for (status, expected) in [
            (StatusCode::OK, Health::Ready),
            (StatusCode::NO_CONTENT, Health::Starting),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                Health::Unhealthy("/health answered 503 Service Unavailable, expected 200".into()),
            ),
        ] {
            let check = HealthCheck::new(serving(status).await, "/health");
            assert_eq!(check.probe().await, expected);
        }
        let nobody = HealthCheck::on_a_free_port("/health").unwrap();
        assert_eq!(nobody.probe().await, Health::Starting);
    }

    #[tokio::test]
    async fn a_wrong_path_is_told_once_while_the_worker_starts() {
        let check = HealthCheck::new(serving(StatusCode::OK).await, "/ping");
        let mut reported = Vec::new();
        let waited = tokio::time::timeout(
            WHILE_STARTING * 5,
            check.until_ready(|problem| reported.push(problem.to_owned())),
        );
        assert!(waited.await.is_err(), "never ready");
        assert_eq!(reported, ["/ping answered 404 Not Found, expected 200"]);
    }
}

//! Calls of the API: sent, retried where that is safe, and read.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use flash_http::retry::{Attempts, RetryPolicy};
use flash_target::SecretValue;
use reqwest::{Client, Method, Response, StatusCode, Url, header::HeaderMap};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    BillingQuery, BillingRecord, CatalogCpu, CatalogDataCenter, CatalogGpu, CreateEndpoint, CreateTemplate,
    Endpoint, EndpointWorkers, Health, RestError, Source, Template, UpdateEndpoint, UpdateTemplate,
    retry::{self, Failed, FailureKind},
};

/// Overrides the REST API's host, for proxies and tests.
const REST_URL: &str = "FLASH_RUNPOD_REST_URL";
/// Overrides the queue API's base, with the variable of Runpod's own clients.
const QUEUE_URL: &str = "RUNPOD_ENDPOINT_BASE_URL";

/// The suffix that production appends to the names of endpoints with quick starts.
const QUICK_START_SUFFIX: &str = " -fb";
/// The limit of one try.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Enough for the lists of a large account; anything larger is not an answer of this API.
const LARGEST_ANSWER: usize = 64 << 20;

/// The API's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Paths start with `/v2/` below it.
    pub rest: Url,
    /// Endpoint ids are below it.
    pub queue: Url,
}

impl Addresses {
    /// The provider's addresses, unless variables override them.
    ///
    /// # Errors
    /// For an invalid address, or one that would send the key unencrypted over a network.
    pub fn from_environment() -> Result<Self, RestError> {
        let of = |variable: &'static str, usual: &str| {
            let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
            address(variable, text.as_deref().unwrap_or(usual))
        };
        Ok(Self {
            rest: of(REST_URL, "https://api.runpod.io")?,
            queue: of(QUEUE_URL, "https://api.runpod.ai/v2")?,
        })
    }
}

fn address(variable: &'static str, text: &str) -> Result<Url, RestError> {
    let wrong = |source: Source| RestError::Address { variable, source };
    let url = Url::parse(text).map_err(|error| wrong(error.into()))?;
    let is_loopback = match url.host_str() {
        Some(host) => flash_http::is_loopback(host),
        None => return Err(wrong("it has no host".into())),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback => Ok(url),
        _ => Err(wrong("expected https://, because every call sends the key".into())),
    }
}

/// The API, with one key.
#[derive(Clone)]
pub struct Rest {
    client: Client,
    key: SecretValue,
    addresses: Addresses,
    retry_policy: RetryPolicy,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Rest {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// When no TLS is available.
    pub fn new(key: SecretValue, addresses: Addresses) -> Result<Self, RestError> {
        let client = flash_http::client().build().map_err(|error| RestError::Unreachable {
            operation: "the API".to_owned(),
            source: error.into(),
        })?;
        Ok(Self { client, key, addresses, retry_policy: retry::POLICY })
    }

    /// Its addresses.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its key.
    pub fn key(&self) -> &SecretValue {
        &self.key
    }

    /// All endpoints of the account, including foreign ones.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, RestError> {
        self.list("/v2/serverless", "endpoints").await
    }

    /// Creates an endpoint once: if the answer does not say whether it was created, looks first.
    pub async fn create_endpoint(&self, new: &CreateEndpoint) -> Result<Endpoint, RestError> {
        self.create("/v2/serverless", "endpoints", new).await
    }

    /// Changes fields of an endpoint.
    pub async fn update_endpoint(&self, id: &str, change: &UpdateEndpoint) -> Result<Endpoint, RestError> {
        self.ask(Method::PATCH, &format!("/v2/serverless/{id}"), Some(&body(change))).await
    }

    /// Deletes an endpoint with its workers and jobs. A missing endpoint is not an error.
    pub async fn delete_endpoint(&self, id: &str) -> Result<(), RestError> {
        self.delete(&format!("/v2/serverless/{id}")).await
    }

    /// The active workers of an endpoint.
    pub async fn workers(&self, id: &str) -> Result<EndpointWorkers, RestError> {
        self.ask(Method::GET, &format!("/v2/serverless/{id}/workers"), None).await
    }

    /// The account's own templates.
    pub async fn templates(&self) -> Result<Vec<Template>, RestError> {
        self.list("/v2/templates", "templates").await
    }

    /// Creates a template once, like [`Rest::create_endpoint`].
    pub async fn create_template(&self, new: &CreateTemplate) -> Result<Template, RestError> {
        self.create("/v2/templates", "templates", new).await
    }

    /// Changes fields of a template.
    pub async fn update_template(&self, id: &str, change: &UpdateTemplate) -> Result<Template, RestError> {
        self.ask(Method::PATCH, &format!("/v2/templates/{id}"), Some(&body(change))).await
    }

    /// Deletes a template. A missing template is not an error.
    pub async fn delete_template(&self, id: &str) -> Result<(), RestError> {
        self.delete(&format!("/v2/templates/{id}")).await
    }

    /// GPU types with their stock for serverless workers.
    pub async fn gpu_types(&self) -> Result<Vec<CatalogGpu>, RestError> {
        self.list("/v2/catalog/gpus?include=AVAILABILITY&product=SERVERLESS", "gpus").await
    }

    /// CPU flavors with their stock for serverless workers.
    pub async fn cpu_types(&self) -> Result<Vec<CatalogCpu>, RestError> {
        self.list("/v2/catalog/cpus?include=AVAILABILITY&product=SERVERLESS", "cpus").await
    }

    /// Data centers with what they have.
    pub async fn data_centers(&self) -> Result<Vec<CatalogDataCenter>, RestError> {
        self.list("/v2/catalog/datacenters?include=GPU_AVAILABILITY,CPU_AVAILABILITY", "dataCenters").await
    }

    /// The cost of endpoints, by bucket.
    pub async fn billing(&self, query: &BillingQuery) -> Result<Vec<BillingRecord>, RestError> {
        let mut url = self.url("/v2/billing/serverless")?;
        url.query_pairs_mut()
            .append_pair("startTime", &query.start)
            .append_pair("endTime", &query.end)
            .append_pair("bucketSize", query.bucket);
        if let Some(endpoint) = &query.endpoint {
            url.query_pairs_mut().append_pair("serverlessId", endpoint);
        }
        self.list_at(url, "records").await
    }

    /// Jobs and workers of an endpoint, from the address given by the endpoint.
    pub async fn health(&self, url: &str) -> Result<Health, RestError> {
        let url = Url::parse(url).map_err(|error| RestError::Malformed {
            operation: format!("GET {url}"),
            source: error.into(),
        })?;
        self.ask_at(Method::GET, url, None).await
    }

    fn url(&self, path: &str) -> Result<Url, RestError> {
        self.addresses
            .rest
            .join(path)
            .map_err(|error| RestError::Address { variable: REST_URL, source: error.into() })
    }

    async fn list<T: DeserializeOwned>(&self, path: &str, name: &str) -> Result<Vec<T>, RestError> {
        self.list_at(self.url(path)?, name).await
    }

    /// Lists come wrapped, each under a name of its own.
    async fn list_at<T: DeserializeOwned>(&self, url: Url, name: &str) -> Result<Vec<T>, RestError> {
        let operation = format!("GET {}", url.path());
        let mut answer: Value = self.ask_at(Method::GET, url, None).await?;
        let list = answer.get_mut(name).map(Value::take).unwrap_or_default();
        serde_json::from_value(list)
            .map_err(|error| RestError::Malformed { operation, source: format!("`{name}`: {error}").into() })
    }

    async fn delete(&self, path: &str) -> Result<(), RestError> {
        match self.until_done(Method::DELETE, self.url(path)?, None).await {
            Ok(_) | Err(RestError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, RestError> {
        self.ask_at(method, self.url(path)?, body).await
    }

    async fn ask_at<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<T, RestError> {
        let operation = format!("{method} {}", url.path());
        let answer = self.until_done(method, url, body).await?;
        read(&operation, &answer)
    }

    /// For calls that may be repeated.
    async fn until_done(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Vec<u8>, RestError> {
        let mut attempts = Attempts::new(self.retry_policy);
        loop {
            match self.once(&method, &url, body).await? {
                Ok(answer) => return Ok(answer),
                Err(failed) => attempts.wait_after(failed).await.map_err(|failed| failed.error)?,
            }
        }
    }

    /// A creation is not repeated before a look: the API has no idempotency key.
    async fn create<T: DeserializeOwned>(
        &self,
        path: &str,
        list: &str,
        new: &impl Serialize,
    ) -> Result<T, RestError> {
        let (url, new) = (self.url(path)?, body(new));
        let operation = format!("POST {path}");
        let before: BTreeSet<String> = self.like(path, list, &new).await?.into_keys().collect();
        let mut attempts = Attempts::new(self.retry_policy);
        loop {
            let failed = match self.once(&Method::POST, &url, Some(&new)).await? {
                Ok(answer) => return read(&operation, &answer),
                Err(failed) => failed,
            };
            let is_ambiguous = failed.kind == FailureKind::Ambiguous;
            let given_up = attempts.wait_after(failed).await;
            if is_ambiguous {
                // After the pause, and before giving up too: it may have been created in the meantime.
                let now = self.like(path, list, &new).await?;
                if let Some((_, made)) = now.into_iter().find(|(id, _)| !before.contains(id)) {
                    return serde_json::from_value(made)
                        .map_err(|error| RestError::Malformed { operation, source: error.into() });
                }
            }
            given_up.map_err(|failed| failed.error)?;
        }
    }

    /// The resource that `new` may have become, by ID: same name and variables. The API adds to both.
    async fn like(&self, path: &str, list: &str, new: &Value) -> Result<BTreeMap<String, Value>, RestError> {
        let all: Vec<Value> = self.list(path, list).await?;
        let is_like = |there: &Value| {
            let name = there["name"].as_str().unwrap_or_default();
            let has = |(variable, value): (&String, &Value)| there["env"].get(variable) == Some(value);
            Some(name.strip_suffix(QUICK_START_SUFFIX).unwrap_or(name)) == new["name"].as_str()
                && new["env"].as_object().is_none_or(|env| env.iter().all(has))
        };
        let with_id = |there: Value| Some((there["id"].as_str()?.to_owned(), there));
        Ok(all.into_iter().filter(is_like).filter_map(with_id).collect())
    }

    /// One try. The outer error is final, the inner one may be temporary.
    async fn once(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<Result<Vec<u8>, Failed>, RestError> {
        let operation = format!("{method} {}", url.path());
        let mut request = self.client.request(method.clone(), url.clone()).bearer_auth(self.key.expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |error: reqwest::Error| {
            let kind = if error.is_connect() { FailureKind::NotSent } else { FailureKind::Ambiguous };
            // The error's URL may contain private parts, and the operation is already named.
            let source = error.without_url().into();
            Failed { kind, error: RestError::Unreachable { operation: operation.clone(), source } }
        };
        let answer = match request.timeout(ANSWER_LIMIT).send().await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(unreachable(error))),
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = match whole(answer).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let source = format!("it is larger than {LARGEST_ANSWER} bytes").into();
                return Err(RestError::Malformed { operation, source });
            }
            Err(error) => return Ok(Err(unreachable(error))),
        };
        if status.is_success() {
            return Ok(Ok(bytes));
        }
        let error = RestError::of_status(&operation, status.as_u16(), &bytes);
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                let asked = asked(&headers);
                let pause = asked.unwrap_or(self.retry_policy.first_pause);
                let error = RestError::RateLimited { operation, pause };
                Ok(Err(Failed { kind: FailureKind::RateLimited { asked }, error }))
            }
            _ if status.is_server_error() => Ok(Err(Failed { kind: FailureKind::Ambiguous, error })),
            _ => Err(error),
        }
    }

    /// A long-lived request to the API; see `events`.
    pub(super) fn following(&self, url: Url) -> reqwest::RequestBuilder {
        self.client.get(url).bearer_auth(self.key.expose())
    }

    /// The address of a worker's log.
    pub(super) fn log_url(&self, endpoint: &str, worker: &str) -> Result<Url, RestError> {
        self.url(&format!("/v2/serverless/{endpoint}/workers/{worker}/logs"))
    }
}

async fn whole(mut answer: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if bytes.len() + chunk.len() > LARGEST_ANSWER {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    retry::asked(text("retry-after"), text("ratelimit"))
}

fn body(of: &impl Serialize) -> Value {
    serde_json::to_value(of).expect("these types are plain data with string keys")
}

fn read<T: DeserializeOwned>(operation: &str, answer: &[u8]) -> Result<T, RestError> {
    serde_json::from_slice(answer)
        .map_err(|error| RestError::Malformed { operation: operation.to_owned(), source: error.into() })
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

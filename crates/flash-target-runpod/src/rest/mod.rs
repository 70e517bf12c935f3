//! Runpod's REST API, version 2: its requests and answers. Independent of apps and releases.
#![allow(missing_docs, reason = "names and meanings are those of the provider's API")]

mod client;
mod error;
mod events;
mod models;
mod observed;
mod retry;

pub use client::{Addresses, Rest};
pub use error::RestError;
pub(crate) use error::Source;
pub use events::{LogEvent, LogFrom, LogSource};
#[cfg(test)]
pub use models::EndpointUrls;
pub use models::{
    CpuChoice, CreateEndpoint, CreateTemplate, Endpoint, EndpointType, Flashboot, GpuChoice, Scaling,
    Template, UpdateEndpoint, UpdateTemplate, WorkerRange,
};
pub use observed::{
    BillingQuery, BillingRecord, CatalogCpu, CatalogDataCenter, CatalogGpu, CloudWorker, EndpointWorkers,
    Health, Stock, StockOf, WorkerState,
};

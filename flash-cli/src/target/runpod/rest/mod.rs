//! Runpod's REST API, version 2: its requests and answers. Independent of apps and releases.
mod client;
mod error;
mod events;
mod models;
mod observed;
mod retry;

pub(crate) use client::{Addresses, Rest};
pub(crate) use error::RestError;
pub(crate) use events::{LogEvent, LogFrom, LogSource};
#[cfg(test)]
pub(crate) use models::EndpointUrls;
pub(crate) use models::{
    CpuChoice, CreateEndpoint, CreateTemplate, Endpoint, EndpointType, Flashboot, GpuChoice, Scaling,
    Template, UpdateEndpoint, UpdateTemplate, WorkerRange,
};
pub(crate) use observed::{
    BillingQuery, BillingRecord, CatalogCpu, CatalogDataCenter, CatalogGpu, CloudWorker, EndpointWorkers,
    Health, Stock, StockOf, WorkerState,
};

//! Runpod's REST API, version 2: what is asked of it and how it answers. Knows nothing of apps and releases.
mod models;

pub(crate) use models::{
    CpuChoice, CreateEndpoint, CreateTemplate, Endpoint, EndpointType, EndpointUrls, Flashboot, GpuChoice, Scaling,
    Template, UpdateEndpoint, UpdateTemplate, WorkerRange,
};

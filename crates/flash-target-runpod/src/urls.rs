//! The addresses of endpoints, with the provider's addresses that this account uses.
use std::collections::BTreeMap;

use super::{
    reconcile,
    rest::{Endpoint, Rest},
};

/// The base address of an endpoint.
pub(super) fn base(rest: &Rest, endpoint: &Endpoint) -> String {
    reconcile::base_url(endpoint, &rest.addresses().queue)
}

/// The address of its health.
pub(super) fn health(rest: &Rest, endpoint: &Endpoint) -> String {
    reconcile::health_url(endpoint, &rest.addresses().queue)
}

/// The addresses of the worker types, by name.
pub(super) fn by_worker(rest: &Rest, endpoints: &BTreeMap<String, Endpoint>) -> BTreeMap<String, String> {
    endpoints.iter().map(|(worker, endpoint)| (worker.clone(), base(rest, endpoint))).collect()
}

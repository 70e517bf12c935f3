//! What can be rented: a small catalogue, with the pools of the provider's documents.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::rest::Reply;

/// Pool, types, memory, USD per hour.
pub const POOLS: &[(&str, &[&str], u32, f64)] = &[
    (
        "AMPERE_16",
        &[
            "NVIDIA RTX A4000",
            "NVIDIA RTX A4500",
            "NVIDIA RTX 4000 Ada Generation",
            "NVIDIA RTX 2000 Ada Generation",
        ],
        16,
        0.576,
    ),
    ("AMPERE_24", &["NVIDIA L4", "NVIDIA RTX A5000", "NVIDIA GeForce RTX 3090"], 24, 0.684),
    ("ADA_24", &["NVIDIA GeForce RTX 4090"], 24, 1.116),
    ("ADA_32_PRO", &["NVIDIA GeForce RTX 5090"], 32, 1.5),
    ("AMPERE_48", &["NVIDIA A40", "NVIDIA RTX A6000"], 48, 1.224),
    ("ADA_48_PRO", &["NVIDIA L40", "NVIDIA L40S", "NVIDIA RTX 6000 Ada Generation"], 48, 1.908),
    ("AMPERE_80", &["NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-80GB"], 80, 2.736),
    ("ADA_80_PRO", &["NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3", "NVIDIA H100 NVL"], 80, 4.176),
    ("BLACKWELL_96", &["NVIDIA RTX PRO 6000 Blackwell Server Edition"], 96, 3.996),
    ("HOPPER_141", &["NVIDIA H200"], 141, 5.58),
    ("BLACKWELL_180", &["NVIDIA B200"], 180, 8.64),
];

/// Flavor, name, least and most vCPUs, GB for each.
pub const FLAVORS: &[(&str, &str, u32, u32, u32)] = &[
    ("cpu3c", "Compute-Optimized", 2, 32, 2),
    ("cpu3g", "General Purpose", 2, 32, 4),
    ("cpu5c", "Compute-Optimized", 2, 32, 2),
    ("cpu5g", "General Purpose", 2, 32, 4),
];

/// Data centre, region, whether it has CPUs.
pub const DATA_CENTERS: &[(&str, &str, bool)] = &[
    ("EU-RO-1", "EUROPE", true),
    ("EU-CZ-1", "EUROPE", false),
    ("US-KS-2", "NORTH_AMERICA", false),
    ("US-CA-2", "NORTH_AMERICA", false),
    ("AP-JP-1", "ASIA", false),
];

/// What is in stock is not the same everywhere: nothing of this pool is in [`SOLD_OUT_IN`].
pub const SOLD_OUT: &str = "HOPPER_141";
pub const SOLD_OUT_IN: &str = "EU-RO-1";

pub fn types_of(pool: &str) -> Option<&'static [&'static str]> {
    POOLS.iter().find(|(id, ..)| *id == pool).map(|(_, types, ..)| *types)
}

fn stock(pool: &str, data_center: &str) -> &'static str {
    if pool == SOLD_OUT && data_center == SOLD_OUT_IN { "NONE" } else { "HIGH" }
}

fn everywhere(level: impl Fn(&str, bool) -> &'static str) -> Value {
    let all = DATA_CENTERS.iter();
    all.map(|(id, _, cpus)| json!({ "id": id, "name": id, "availability": level(id, *cpus) })).collect()
}

/// `product` is needed with `include`, and every filter is allowed with it only.
fn misfit(query: &BTreeMap<String, String>) -> Option<Reply> {
    let is_included = query.contains_key("include");
    let refuse = |detail: &str| Some(Reply::problem(400, detail.to_owned(), Vec::new()));
    match query.keys().find(|name| *name != "include") {
        Some(name) if !is_included => refuse(&format!("'{name}' is valid only with 'include'")),
        _ if is_included && !query.contains_key("product") => refuse("'product' is required with 'include'"),
        _ => None,
    }
}

fn gpu_types(is_included: bool) -> Vec<Value> {
    let mut found = Vec::new();
    for (pool, types, memory, price) in POOLS {
        for id in *types {
            let mut gpu = json!({
                "id": id,
                "name": id.trim_start_matches("NVIDIA ").trim_start_matches("GeForce "),
                "pool": pool,
                "manufacturer": "NVIDIA",
                "memory": memory,
                "secure": true,
                "community": false,
                "price": { "secure": price, "community": 0.0, "serverless": price },
                "maxCount": { "secure": 8, "community": 0 },
            });
            if is_included {
                gpu["availability"] = "HIGH".into();
                gpu["dataCenters"] = everywhere(|id, _| stock(pool, id));
                gpu["cudaVersions"] = json!([{ "version": "12.8", "available": true }]);
            }
            found.push(gpu);
        }
    }
    found
}

pub fn gpus(query: &BTreeMap<String, String>) -> Reply {
    misfit(query)
        .unwrap_or_else(|| Reply::json(200, json!({ "gpus": gpu_types(query.contains_key("include")) })))
}

pub fn gpu(id: &str, query: &BTreeMap<String, String>) -> Reply {
    misfit(query).unwrap_or_else(|| one(gpu_types(query.contains_key("include")), id, "GPU type"))
}

fn cpu_types(is_included: bool) -> Vec<Value> {
    let all = FLAVORS.iter().map(|(id, name, min, max, gb)| {
        let mut cpu = json!({
            "id": id,
            "name": name,
            "group": &id[..4],
            "vcpu": { "min": min, "max": max },
            "ramGbPerVcpu": gb,
            "price": { "securePerVcpu": 0.035, "serverlessPerVcpu": 0.03 },
        });
        if is_included {
            cpu["availability"] = "HIGH".into();
            cpu["dataCenters"] = everywhere(|_, cpus| if cpus { "HIGH" } else { "NONE" });
        }
        cpu
    });
    all.collect()
}

pub fn cpus(query: &BTreeMap<String, String>) -> Reply {
    misfit(query)
        .unwrap_or_else(|| Reply::json(200, json!({ "cpus": cpu_types(query.contains_key("include")) })))
}

pub fn cpu(id: &str, query: &BTreeMap<String, String>) -> Reply {
    misfit(query).unwrap_or_else(|| one(cpu_types(query.contains_key("include")), id, "CPU type"))
}

fn centers(query: &BTreeMap<String, String>) -> Vec<Value> {
    let include = query.get("include").map_or("", String::as_str);
    let all = DATA_CENTERS.iter().map(|(id, region, has_cpus)| {
        let mut center = json!({
            "id": id,
            "name": id,
            "region": region,
            "globalNetwork": false,
            "networkVolumeTypes": ["STANDARD"],
            "compliance": [],
        });
        if include.contains("GPU_AVAILABILITY") {
            let types = POOLS.iter().flat_map(|(pool, types, ..)| types.iter().map(move |gpu| (pool, gpu)));
            center["gpuAvailability"] = types
                .map(|(pool, gpu)| json!({ "id": gpu, "name": gpu, "availability": stock(pool, id) }))
                .collect();
        }
        if include.contains("CPU_AVAILABILITY") {
            let level = if *has_cpus { "HIGH" } else { "NONE" };
            let flavors = FLAVORS.iter();
            center["cpuAvailability"] = flavors
                .map(|(id, name, ..)| json!({ "id": id, "name": name, "availability": level }))
                .collect();
        }
        center
    });
    all.collect()
}

pub fn data_centers(query: &BTreeMap<String, String>) -> Reply {
    let regions: Vec<&str> = query.get("regions").map(|all| all.split(',').collect()).unwrap_or_default();
    let mut all = centers(query);
    all.retain(|center| regions.is_empty() || regions.contains(&center["region"].as_str().unwrap()));
    Reply::json(200, json!({ "dataCenters": all }))
}

pub fn data_center(id: &str, query: &BTreeMap<String, String>) -> Reply {
    one(centers(query), id, "data center")
}

fn one(all: Vec<Value>, id: &str, what: &str) -> Reply {
    match all.into_iter().find(|one| one["id"] == id) {
        Some(one) => Reply::json(200, one),
        None => Reply::not_found(what),
    }
}

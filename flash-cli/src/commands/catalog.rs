//! `flash catalog`: what Runpod offers, with current prices and stock.
use std::path::PathBuf;

use clap::{Args, Subcommand};
use flash_target::TargetError;
use flash_target_runpod::{
    account,
    rest::{Addresses, CatalogCpu, CatalogDataCenter, CatalogGpu, Rest, Stock, StockOf},
};
use serde_json::json;

use super::command::{Command, Context};
use crate::{
    exit::{Code, Failure},
    output::{Format, Output},
};

/// Show what Runpod offers for serverless workers: hardware, prices, stock, data centers.
///
/// Queries Runpod with the key of `flash login`. Prices are those of flex workers.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash catalog gpus\n  flash catalog cpus --json\n  flash catalog datacenters\n\n\
                  Exit codes: 0 success; 1 Runpod could not be queried; 2 wrong usage, or no key."
)]
pub(crate) struct CatalogArguments {
    #[command(subcommand)]
    what: What,
    /// The project's directory; its .env is searched for a key.
    #[arg(long = "dir", short = 'C', value_name = "DIR", default_value = ".", global = true)]
    directory: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// GPU types with pool, memory, price and stock.
    Gpus,
    /// CPU flavors with sizes, memory, price and stock.
    Cpus,
    /// Data centers with what is in stock there.
    Datacenters,
}

impl Command for CatalogArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        context.block_on(show(&self, context.output()))?;
        Ok(Code::Success)
    }
}

async fn show(arguments: &CatalogArguments, output: &Output) -> Result<(), Failure> {
    let found = account::find(Some(&arguments.directory))?.ok_or_else(account::no_key)?;
    let addresses = Addresses::from_environment().map_err(TargetError::from)?;
    let rest = Rest::new(found.key, addresses).map_err(TargetError::from)?;
    match arguments.what {
        What::Gpus => gpus(rest.gpu_types().await.map_err(TargetError::from)?, output),
        What::Cpus => cpus(rest.cpu_types().await.map_err(TargetError::from)?, output),
        What::Datacenters => places(&rest.data_centers().await.map_err(TargetError::from)?, output),
    }
    Ok(())
}

fn stock(stock: Option<Stock>) -> String {
    match stock {
        Some(Stock::High) => "high",
        Some(Stock::Medium) => "medium",
        Some(Stock::Low) => "low",
        Some(Stock::None) => "none",
        None => "unknown",
    }
    .to_owned()
}

/// The IDs of the entries that are in stock.
fn available(list: &[StockOf]) -> Vec<&str> {
    list.iter().filter(|one| one.availability > Stock::None).map(|one| one.id.as_str()).collect()
}

/// Dollars per second, with as many digits as published prices have, and dollars per hour.
fn price(per_hour: f64) -> [String; 2] {
    [format!("{:.5}", per_hour / 3600.0), format!("{per_hour:.3}")]
}

fn gpus(mut gpus: Vec<CatalogGpu>, output: &Output) {
    // GPU types without a pool cannot be requested.
    gpus.retain(|gpu| gpu.pool.is_some());
    gpus.sort_by(|a, b| (a.memory, &a.pool, &a.id).cmp(&(b.memory, &b.pool, &b.id)));
    if output.is_json() {
        output.object(&json!({ "gpus": gpus }));
        return;
    }
    let row = |gpu: &CatalogGpu| {
        let [second, hour] = gpu.price.serverless.map_or_else(|| ["?".to_owned(), "?".to_owned()], price);
        vec![
            gpu.pool.clone().unwrap_or_default(),
            gpu.id.clone(),
            gpu.memory.to_string(),
            second,
            hour,
            stock(gpu.availability),
        ]
    };
    let rows: Vec<_> = gpus.iter().map(row).collect();
    output.table(&["pool", "GPU type", "GB", "$/s", "$/h", "stock"], &rows);
}

fn cpus(mut cpus: Vec<CatalogCpu>, output: &Output) {
    cpus.sort_by(|a, b| a.id.cmp(&b.id));
    if output.is_json() {
        output.object(&json!({ "cpus": cpus }));
        return;
    }
    let row = |cpu: &CatalogCpu| {
        // The API does not name the unit of time; its examples are hourly prices.
        let [_, hour] = price(cpu.price.serverless_per_vcpu);
        vec![
            cpu.id.clone(),
            format!("{} to {}", cpu.vcpu.min, cpu.vcpu.max),
            cpu.ram_gb_per_vcpu.to_string(),
            hour,
            stock(cpu.availability),
        ]
    };
    let rows: Vec<_> = cpus.iter().map(row).collect();
    output.table(&["flavor", "vCPUs", "GB per vCPU", "$/h per vCPU", "stock"], &rows);
}

fn places(places: &[CatalogDataCenter], output: &Output) {
    if output.is_json() {
        output.object(&json!({ "data_centers": places }));
        return;
    }
    let row = |place: &CatalogDataCenter| {
        let list = |list: Vec<&str>| if list.is_empty() { "-".to_owned() } else { list.join(", ") };
        vec![
            place.id.clone(),
            place.region.clone(),
            list(available(&place.cpu_availability)),
            available(&place.gpu_availability).len().to_string(),
            if place.network_volume_types.is_empty() { "no" } else { "yes" }.to_owned(),
        ]
    };
    let rows: Vec<_> = places.iter().map(row).collect();
    output.table(&["data center", "region", "CPUs in stock", "GPU types in stock", "volumes"], &rows);
}

//! The hourly cost of a release, with its minimum and maximum number of workers.
use flash_protocol::{
    catalogue::{NanoDollars, PriceList},
    manifest::WorkerType,
};
use serde::{Deserialize, Serialize};

use flash_target::ReleaseSpec;

const SECONDS_PER_HOUR: u64 = 3600;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourlyCost {
    /// With the least workers of each type.
    pub at_min: NanoDollars,
    /// With the most.
    pub at_max: NanoDollars,
    /// Worker types without a known price: not included in the sums.
    pub unknown: Vec<String>,
}

/// The hourly cost.
pub(crate) fn hourly(spec: &ReleaseSpec) -> HourlyCost {
    let own = spec.prices.iter().map(|(name, price)| (name.as_str(), *price));
    // Prices were checked when flash.toml was read; those of a newer version's catalog may be unknown here.
    let prices = PriceList::with_overrides(own).unwrap_or_default();
    let mut cost = HourlyCost::default();
    for worker in &spec.manifest.workers {
        match per_hour(worker, &prices) {
            Some(price) => {
                let times = |workers: u32| price.saturating_mul(u64::from(workers));
                cost.at_min.0 = cost.at_min.0.saturating_add(times(worker.workers_min));
                cost.at_max.0 = cost.at_max.0.saturating_add(times(worker.workers_max));
            }
            None => cost.unknown.push(worker.name.clone()),
        }
    }
    cost
}

/// Nanodollars for one worker.
fn per_hour(worker: &WorkerType, prices: &PriceList) -> Option<u64> {
    Some(worker.compute.price_per_second(prices)?.0.saturating_mul(SECONDS_PER_HOUR))
}

impl HourlyCost {
    /// For people: `$0.1234 to $1.2345`, and what is not included.
    pub fn text(&self) -> String {
        let dollars = |cost: NanoDollars| format!("${:.4}", cost.0 as f64 / 1e9);
        let unknown = match self.unknown.as_slice() {
            [] => String::new(),
            names => format!(" + unknown ({})", names.join(", ")),
        };
        format!("{} at min, {} at max{unknown}", dollars(self.at_min), dollars(self.at_max))
    }
}

#[cfg(test)]
mod tests {
    use flash_protocol::manifest::ComputeEntry;

    use super::*;
    use crate::fixtures::spec;

    #[test]
    fn an_hour_costs_its_workers_at_the_projects_prices() {
        let mut spec = spec();
        spec.prices.insert("cpu3g-2-8".to_owned(), 0.001);
        spec.manifest.workers[0].workers_min = 1;
        let cost = hourly(&spec);
        assert_eq!(cost.text(), "$3.6000 at min, $21.6000 at max");
        spec.manifest.workers[1].compute = ComputeEntry::Cpu { instances: Vec::new() };
        assert_eq!(hourly(&spec).text(), "$3.6000 at min, $10.8000 at max + unknown (web)");
    }
}

//! Prices per second, in whole nano-dollars so that sums are exact.
use std::{collections::BTreeMap, fmt, sync::LazyLock, time::Duration};

use serde::{Deserialize, Serialize};

use super::{CpuInstance, GpuPool};

/// An amount of money: billionths of a US dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoDollars(pub u64);

impl NanoDollars {
    /// Converts from dollars. `None` if the amount is negative, not finite or over 10^9 dollars.
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        let sensible = dollars.is_finite() && (0.0..=1e9).contains(&dollars);
        // In range after the check above, so the conversion only loses the fraction.
        sensible.then(|| Self((dollars * 1e9).round() as u64))
    }

    /// The cost of `time` at this price per second, rounded to the nearest nano-dollar.
    pub fn for_duration(self, time: Duration) -> Self {
        let exact = u128::from(self.0) * time.as_nanos();
        Self(u64::try_from((exact + 500_000_000) / 1_000_000_000).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for NanoDollars {
    /// Writes dollars with nine decimals: `$0.000001500`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// What a price is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PriceKey {
    /// One worker on this CPU instance.
    Cpu(CpuInstance),
    /// One GPU of this pool.
    Gpu(GpuPool),
}

impl PriceKey {
    /// The key for an ID as in `[prices]`: `cpu3g-2-8` or `ADA_24`.
    pub fn from_id(id: &str) -> Option<Self> {
        CpuInstance::from_id(id).map(Self::Cpu).or_else(|| GpuPool::from_id(id).map(Self::Gpu))
    }
}

/// An override with an unknown name or an invalid price.
#[derive(Debug, Clone, PartialEq)]
pub enum PriceListError {
    /// Neither a CPU instance nor a GPU pool.
    UnknownName(String),
    /// Not a finite, non-negative number of dollars per second.
    BadPrice(String, f64),
}

impl fmt::Display for PriceListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName(name) => write!(f, "`{name}` is neither a CPU instance nor a GPU pool"),
            Self::BadPrice(name, price) => {
                write!(f, "price of `{name}` is {price}, expected dollars per second")
            }
        }
    }
}

impl std::error::Error for PriceListError {}

#[derive(Deserialize)]
struct PriceFile {
    gpu_per_second: BTreeMap<GpuPool, f64>,
    cpu_per_vcpu_second: BTreeMap<String, f64>,
}

static CATALOGUE: LazyLock<PriceFile> = LazyLock::new(|| {
    serde_json::from_str(include_str!("prices.json")).expect("prices.json is checked by a test")
});

/// Prices per second: those of the catalogue, with a project's overrides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PriceList {
    overrides: Vec<(PriceKey, NanoDollars)>,
}

impl PriceList {
    /// The catalogue's prices with `overrides`: IDs as in `[prices]`, in dollars per second.
    ///
    /// # Errors
    /// The first override with an unknown name or an invalid price.
    pub fn with_overrides<'a>(
        overrides: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<Self, PriceListError> {
        let parse = |(id, dollars): (&str, f64)| {
            let key = PriceKey::from_id(id).ok_or_else(|| PriceListError::UnknownName(id.to_owned()))?;
            let price = NanoDollars::from_dollars(dollars)
                .ok_or_else(|| PriceListError::BadPrice(id.to_owned(), dollars))?;
            Ok((key, price))
        };
        Ok(Self { overrides: overrides.into_iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// The price of one second; `None` if no price is published.
    pub fn per_second(&self, key: PriceKey) -> Option<NanoDollars> {
        let own = self.overrides.iter().rev().find(|(known, _)| *known == key).map(|(_, price)| *price);
        own.or_else(|| match key {
            PriceKey::Gpu(pool) => {
                CATALOGUE.gpu_per_second.get(&pool).copied().and_then(NanoDollars::from_dollars)
            }
            PriceKey::Cpu(cpu) => {
                let per_vcpu = CATALOGUE.cpu_per_vcpu_second.get(cpu.flavor())?;
                NanoDollars::from_dollars(per_vcpu * f64::from(cpu.vcpus()))
            }
        })
    }
}

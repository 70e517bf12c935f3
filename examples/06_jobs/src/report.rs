//! Reports by itself.
use flash_sdk::{Result, remote, stream::TryStreamExt as _};

use crate::prices::price;

/// The shares in the report.
const SHARES: [&str; 2] = ["FLSH", "RUST"];

/// Logs what all shares cost together, every minute; a real report would say `"0 3 * * *"`.
///
/// If no platform runs at three o'clock, it reports once when one runs again.
#[remote(
    worker = "reports",
    cpu = Cpu3c_1_2,
    workers = 0..=1,
    schedule = "* * * * *",
    timezone = "Europe/Berlin",
    missed = once
)]
pub async fn report() -> Result<u32> {
    let shares = SHARES.map(str::to_owned);
    let prices: Vec<u32> = price::options().map_ordered(shares).try_collect().await?;
    let sum = prices.iter().sum();
    tracing::info!("all shares together cost {sum} cents");
    Ok(sum)
}

//! A route makes no job, so its call has no options of jobs; and a stream has no single result.
use std::time::Duration;

use flash_sdk::{Priority, Result, remote};
use futures_util::Stream;

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/add")]
async fn add(left: u32, right: u32) -> Result<u32> {
    Ok(left + right)
}

#[remote(cpu = Cpu3c_1_2)]
fn count(to: u32) -> impl Stream<Item = Result<u32>> {
    futures_util::stream::iter((1..=to).map(Ok))
}

async fn calls() -> Result<()> {
    add::options().ttl(Duration::from_secs(60)).call((1, 2)).await?;
    add::options().priority(Priority::Low).call((1, 2)).await?;
    add::options().idempotency_key("sum").call((1, 2)).await?;
    add::options().retries(3).call((1, 2)).await?;
    count::options().call(3).await?;
    Ok(())
}

fn main() {}

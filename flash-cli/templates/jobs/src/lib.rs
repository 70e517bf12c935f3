//! Jobs of three kinds: one with retries, one on a schedule, and a long one on a worker of its own.
use flash_sdk::{Context, Error, Result, progress, remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks a service that is busy now and then, here always at first.
///
/// The error says that another attempt may help, so the job waits for one to four seconds and runs again, three times at
/// most.
#[remote(worker = "prices", cpu = Cpu3c_1_2, workers = 0..=2, retries = 3, backoff = 1..=4, example = r#"{"item": "tea"}"#)]
pub async fn price(item: String) -> Result<u32> {
    let attempt = Context::current().map_or(1, |call| call.attempt());
    if attempt == 1 {
        return Err(Error::retryable("the service is busy"));
    }
    match item.as_str() {
        "tea" => Ok(4_20),
        "coffee" => Ok(3_10),
        other => Err(Error::status(404, format!("nobody sells {other}"))),
    }
}

/// Logs what all items cost together: every minute, so that you see it soon. `"0 3 * * *"` is each night at three.
///
/// If no platform runs at that time, it runs once when one runs again.
#[remote(worker = "reports", cpu = Cpu3c_1_2, workers = 0..=1, schedule = "* * * * *", timezone = "UTC", missed = once)]
pub async fn report() -> Result<u32> {
    let sum = price("tea".to_owned()).await? + price("coffee".to_owned()).await?;
    tracing::info!("all items together cost {sum} cents");
    Ok(sum)
}

/// How far a count is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Numbers that were looked at.
    pub numbers: u32,
    /// How many of them are prime.
    pub primes: u32,
}

/// Counts the primes below a limit.
///
/// A task: each job has a fresh worker, which is gone after it. The status of the job shows the progress as its output.
#[remote(worker = "primes", cpu = Cpu3c_2_4, task, workers = 0..=2, execution_timeout = 86400)]
pub fn primes(below: u32) -> Result<Progress> {
    let call = Context::current();
    let mut seen = Progress { numbers: 0, primes: 0 };
    for number in 0..below {
        let is_prime = number > 1 && (2..).take_while(|by| by * by <= number).all(|by| number % by != 0);
        seen = Progress { numbers: number + 1, primes: seen.primes + u32::from(is_prime) };
        if seen.numbers % 100_000 == 0 {
            progress(seen.clone())?;
            // Nothing interrupts a plain `fn`: it checks whether the job was cancelled.
            if call.as_ref().is_some_and(Context::is_cancelled) {
                break;
            }
        }
    }
    Ok(seen)
}

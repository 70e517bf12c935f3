//! Asks for prices.
use flash_sdk::{Context, Error, Result, remote};

/// The price of a share in cents.
///
/// The service that knows it is busy now and then. Its error says that another attempt may help, so the job waits for one
/// to four seconds and runs again, three times at most. A share that does not exist is an ordinary error: no retry.
#[remote(
    worker = "prices",
    cpu = Cpu3c_1_2,
    workers = 0..=2,
    retries = 3,
    backoff = 1..=4,
    example = r#"{"share": "FLSH"}"#
)]
pub async fn price(share: String) -> Result<u32> {
    ask(&share)
}

/// Stands for a service that is busy whenever it is asked for the first time.
fn ask(share: &str) -> Result<u32> {
    let attempt = Context::current().map_or(1, |call| call.attempt());
    if attempt == 1 {
        return Err(Error::retryable("the exchange is busy"));
    }
    match share {
        "FLSH" => Ok(4_200),
        "RUST" => Ok(7_300),
        other => Err(Error::status(404, format!("no share is called {other}"))),
    }
}

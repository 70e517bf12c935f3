//! The jobs in process, with fakes of what they call.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use flash_sdk::{Error, testing::fake};
use price_jobs::{prices::price, report::report, simulation::simulate};

#[flash_sdk::test]
async fn a_busy_service_is_asked_again_and_a_missing_share_is_not() {
    assert_eq!(price("FLSH".to_owned()).await.unwrap(), 4_200);
    let missing = price("NONE".to_owned()).await.unwrap_err();
    assert_eq!((missing.message(), missing.is_retryable()), ("no share is called NONE", false));
}

#[flash_sdk::test]
async fn the_report_is_the_sum_of_all_shares() {
    let prices = fake(price, |share: String| async move { Ok(u32::try_from(share.len()).unwrap()) });
    assert_eq!(report().await.unwrap(), 8);
    let mut asked = prices.inputs();
    asked.sort();
    assert_eq!(asked, ["FLSH", "RUST"]);
}

#[flash_sdk::test]
async fn one_price_that_is_not_known_is_no_report() {
    fake(price, |_| async { Err(Error::status(404, "gone")) });
    assert_eq!(report().await.unwrap_err().message(), "gone");
}

#[flash_sdk::test]
async fn many_walks_end_about_where_they_began() {
    let end = simulate(10_000, 10).await.unwrap();
    // The average of 10,000 ends of 10 steps differs by 0.032 on average: ten times that does not happen.
    assert!(end.walks == 10_000 && end.average.abs() < 0.32, "{end:?}");
}

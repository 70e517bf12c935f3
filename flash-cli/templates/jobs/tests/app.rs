//! The jobs in process, with fakes of what they call.
use flash_sdk::{Error, Result, testing::fake};
use ::{{crate}}::{price, primes, report};

#[flash_sdk::test]
async fn a_busy_service_is_asked_again_and_an_unknown_item_is_not() -> Result<()> {
    assert_eq!(price("tea".to_owned()).await?, 420);
    let unknown = price("gold".to_owned()).await.unwrap_err();
    assert_eq!((unknown.message(), unknown.is_retryable()), ("nobody sells gold", false));
    Ok(())
}

#[flash_sdk::test]
async fn the_report_is_the_sum() -> Result<()> {
    let prices = fake(price, |item: String| async move { Ok(if item == "tea" { 1 } else { 2 }) });
    assert_eq!(report().await?, 3);
    assert_eq!(prices.calls(), 2);
    Ok(())
}

#[flash_sdk::test]
async fn no_price_is_no_report() {
    fake(price, |_| async { Err::<u32, _>(Error::handler("gone")) });
    assert_eq!(report().await.unwrap_err().message(), "gone");
}

#[flash_sdk::test]
async fn there_are_25_primes_below_100() -> Result<()> {
    assert_eq!(primes(100).await?.primes, 25);
    Ok(())
}

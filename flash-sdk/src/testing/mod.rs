//! Tests of an app: fakes of its functions, and the app on the real platform.
//!
//! ```
//! use flash_sdk::{Error, Result, remote, testing::fake};
//!
//! /// Slow, and needs a GPU.
//! #[remote(gpu = Ada24)]
//! async fn sentiment(text: String) -> Result<String> {
//!     # let _ = text;
//!     Err(Error::handler("no GPU here"))
//! }
//!
//! /// The function under test.
//! #[remote(cpu = Cpu3c_1_2)]
//! async fn summary(text: String) -> Result<String> {
//!     let sentiment = sentiment(text.clone()).await?;
//!     Ok(format!("{sentiment}: {text}"))
//! }
//!
//! # /*
//! #[flash_sdk::test]
//! # */
//! async fn the_summary_names_the_sentiment() -> Result<()> {
//!     let sentiment = fake(sentiment, |text| async move {
//!         Ok(if text.ends_with('!') { "happy".to_owned() } else { "neutral".to_owned() })
//!     });
//!     assert_eq!(summary("Great!".to_owned()).await?, "happy: Great!");
//!     assert_eq!(sentiment.inputs(), ["Great!"]);
//!     Ok(())
//! }
//! # fn main() -> Result<()> {
//! #     flash_sdk::__private::test(the_summary_names_the_sentiment())
//! # }
//! ```
mod callable;
mod fake;
mod platform;
mod process;
mod scope;

pub use callable::{Callable, OneResult, Reply, Streamed};
pub use fake::{Fake, fake};
pub use platform::Platform;
#[doc(hidden)]
pub use scope::run;
pub use scope::scope;

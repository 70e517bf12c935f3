//! Streams of chunks: what streaming functions return and their callers read.
//!
//! A streaming function returns `impl Stream<Item = Result<T>> + Send`. Combine one from [`StreamExt`], or make one with
//! [`blocking`] from a thread that produces chunks.
//!
//! ```
//! use flash_sdk::{Result, remote, stream::{self, Stream, StreamExt as _}};
//!
//! #[remote(cpu = Cpu3c_1_2)]
//! pub fn countdown(from: u32) -> impl Stream<Item = Result<u32>> + Send {
//!     stream::iter((1..=from).rev().map(Ok))
//! }
//!
//! # async fn example() -> Result<()> {
//! let mut numbers = countdown(3);
//! while let Some(number) = numbers.next().await {
//!     println!("{}", number?);
//! }
//! # Ok(())
//! # }
//! # fn main() {}
//! ```
mod blocking;
mod event;
pub(crate) mod generator;
mod guarded;

pub use blocking::{Sink, blocking};
pub use event::Event;
pub use futures_util::stream::{Stream, StreamExt, TryStreamExt, iter};
pub(crate) use guarded::{Call, Guarded};

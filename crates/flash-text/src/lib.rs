//! Text for people: what is similar to a mistyped name, an error with its causes, and the beginning of a text of any
//! length. Also the syntax of `.env` files.
//!
//! It depends on no other crate of Flash, so that all of them can word these things alike. What a message says, and
//! which `.env` file applies, is left to them.
#![warn(unreachable_pub)]

pub mod dotenv;
mod error_chain;
mod similar;
mod truncated;

pub use error_chain::error_chain;
pub use similar::{nearest, similar_names};
pub use truncated::{MAX_CHARS, Truncated, cut};

#[cfg(test)]
flash_test_support::fuzz_tests!("dotenv");

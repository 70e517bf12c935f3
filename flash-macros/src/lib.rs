//! Placeholder.
use proc_macro::TokenStream;
/// Placeholder.
#[proc_macro_attribute]
pub fn remote(_: TokenStream, item: TokenStream) -> TokenStream { item }
/// Placeholder.
#[proc_macro_attribute]
pub fn main(_: TokenStream, item: TokenStream) -> TokenStream { item }

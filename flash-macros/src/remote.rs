//! Expands `#[remote]`. Arguments and item are both parsed before it stops, so that one build reports all errors.
use proc_macro2::TokenStream;
use quote::quote;

use crate::{
    args::RemoteArgs,
    errors::Errors,
    expand,
    item::{self, Target},
};

/// Works on tokens only, so that unit tests need no compiler.
pub(crate) fn expand_remote(args: TokenStream, item: TokenStream) -> TokenStream {
    let errors = Errors::default();
    let item = item::parse(item, &errors);
    // A function with an invalid attribute keeps its public functions, so that calls to it do not fail too.
    let args = RemoteArgs::parse(args, &item.place, &errors).unwrap_or_else(RemoteArgs::stand_in);
    let expanded = match item.target {
        None => item.as_written,
        Some(Target::Function(function)) => {
            if let Some(route) = &args.route {
                route.check(&function, &errors);
            }
            args.function.check(&function, args.route.is_some(), &errors);
            expand::function(&function, &args)
        }
        Some(Target::Impl(block)) => expand::impl_block(&block, &args),
    };
    let errors = errors.into_tokens();
    quote! { #expanded #errors }
}

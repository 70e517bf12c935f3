//! Expands `#[remote]`. Arguments and item are both parsed before it stops, so that one build reports all errors.
use proc_macro2::TokenStream;
use quote::quote;

use crate::{
    args::{self, RemoteArgs},
    errors::Errors,
    expand,
    item::{self, Target},
};

/// Works on tokens only, so that unit tests need no compiler.
pub(crate) fn expand_remote(args: TokenStream, item: TokenStream) -> TokenStream {
    let errors = Errors::default();
    let item = match args::makes(&args) {
        Some(makes) => item::parse_router(item, makes, &errors),
        None => item::parse(item, &errors),
    };
    // A function with an invalid attribute keeps its public functions, so that calls to it do not fail too.
    let args = RemoteArgs::parse(args, &item.place, &errors).unwrap_or_else(RemoteArgs::stand_in);
    let expanded = match item.target {
        None => item.as_written,
        Some(Target::Function(function)) => {
            match &args.route {
                Some(route) => route.check(&function, &errors),
                None => function.check_without_route(&errors),
            }
            args.function.check(&function, args.route.is_some(), &errors);
            expand::function(&function, &args)
        }
        Some(Target::Router(function)) => {
            let as_written = &item.as_written;
            let registration = expand::router(&function, &args);
            quote! { #as_written #registration }
        }
        Some(Target::Impl(block)) => {
            let routed = block.methods.iter().find_map(|method| method.route.as_ref());
            if let Some(route) = routed.filter(|_| args.is_task()) {
                errors.on(&route.path, "a task takes jobs, and no requests: remove `task`, or the route");
            }
            expand::impl_block(&block, &args)
        }
    };
    let errors = errors.into_tokens();
    quote! { #expanded #errors }
}

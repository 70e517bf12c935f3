//! `#[flash_sdk::test]`: an async test with a runtime and fakes of its own.
use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemFn;

use crate::errors::Errors;

/// Works on tokens only, so that unit tests need no compiler.
pub(crate) fn expand_test(args: TokenStream, item: TokenStream) -> TokenStream {
    let errors = Errors::default();
    if !args.is_empty() {
        errors.on(&args, "`#[flash_sdk::test]` takes no arguments");
    }
    let expanded = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => {
            let known = errors.count();
            check(&function, &errors);
            match errors.count() == known {
                true => expand(&function),
                // Its own mistakes are still reported, and it is not reported as unused.
                false => quote! { #[allow(dead_code)] #item },
            }
        }
        Err(_) => {
            errors.on(&item, "`#[flash_sdk::test]` goes on an `async fn`");
            item
        }
    };
    let errors = errors.into_tokens();
    quote! { #expanded #errors }
}

fn check(function: &ItemFn, errors: &Errors) {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        let message = "`#[flash_sdk::test]` goes on an `async fn`: a plain function needs only `#[test]`";
        errors.on(&signature.ident, message);
    }
    if !signature.inputs.is_empty() {
        errors.on(&signature.inputs, "a test takes no arguments: nobody would pass them");
    }
    if !signature.generics.params.is_empty() {
        errors.on(&signature.generics, "a test cannot be generic");
    }
    for attribute in &function.attrs {
        if attribute.path().segments.last().is_some_and(|name| name.ident == "test") {
            errors.on(
                attribute,
                "`#[flash_sdk::test]` is a test with a runtime already: remove this attribute",
            );
        }
    }
}

fn expand(function: &ItemFn) -> TokenStream {
    let ItemFn { attrs, vis, sig, block, .. } = function;
    let (name, output) = (&sig.ident, &sig.output);
    // A function of its own, so that errors about the return type point to it.
    quote! {
        #(#attrs)*
        #[::core::prelude::v1::test]
        #vis fn #name() #output {
            async fn __flash_test() #output #block

            ::flash_sdk::__private::test(__flash_test())
        }
    }
}

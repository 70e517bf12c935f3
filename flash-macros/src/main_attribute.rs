//! `#[flash_sdk::main]`: the binary takes the role that environment variables set, or runs the user's `main` if there
//! is none.
use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemFn, ReturnType, parse_quote, spanned::Spanned as _};

use crate::{errors::Errors, expand::converted, function::result_argument};

/// Works on tokens only, so that unit tests need no compiler.
pub(crate) fn expand_main(args: TokenStream, item: TokenStream) -> TokenStream {
    let errors = Errors::default();
    if !args.is_empty() {
        errors.on(&args, "`#[flash_sdk::main]` takes no arguments");
    }
    let expanded = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => {
            let known = errors.count();
            check(&function, &errors);
            match errors.count() == known {
                true => expand(function),
                false => as_plain_main(function),
            }
        }
        Err(_) => {
            errors.on(&item, "`#[flash_sdk::main]` goes on `async fn main()`");
            item
        }
    };
    let errors = errors.into_tokens();
    quote! { #expanded #errors }
}

fn check(function: &ItemFn, errors: &Errors) {
    let signature = &function.sig;
    if signature.ident != "main" {
        errors.on(&signature.ident, "`#[flash_sdk::main]` goes on the function `main`");
    }
    if !signature.inputs.is_empty() {
        errors.on(&signature.inputs, "`main` takes no arguments: read them from `std::env::args()`");
    }
    if !signature.generics.params.is_empty() {
        errors.on(&signature.generics, "`main` cannot be generic");
    }
    for attribute in &function.attrs {
        if attribute.path().segments.last().is_some_and(|name| name.ident == "main") {
            errors.on(attribute, "`#[flash_sdk::main]` brings its own runtime: remove this attribute");
        }
    }
}

fn expand(function: ItemFn) -> TokenStream {
    let ItemFn { attrs, vis, sig, block, .. } = function;
    let user_main = quote! { __flash_user_main };
    let (returned, outcome, run) = match &sig.output {
        ReturnType::Default => (quote! { () }, quote! { () }, user_main),
        ReturnType::Type(_, ty) => match result_argument(ty) {
            Some(output) => {
                let converted = converted(&quote!(__flash_user_main().await), ty.span());
                (quote! { #ty }, quote! { ::flash_sdk::Result<#output> }, quote! { || async { #converted } })
            }
            None => (quote! { #ty }, quote! { #ty }, user_main),
        },
    };
    // Repeated, so that errors about the return type point to it.
    quote! {
        #(#attrs)*
        #[allow(clippy::useless_conversion, clippy::needless_borrow)]
        #vis fn main() -> ::std::process::ExitCode {
            async fn __flash_user_main() -> #returned #block

            // In the app's crate, so that only binaries with this attribute contain it.
            static MARK: ::flash_sdk::__private::EntryMark = ::flash_sdk::__private::ENTRY_MARK;

            ::flash_sdk::__private::main::<_, _, #outcome>(
                ::flash_sdk::__private::AppInfo {
                    name: ::core::env!("CARGO_PKG_NAME"),
                    version: ::core::env!("CARGO_PKG_VERSION"),
                    mark: &MARK,
                },
                #run,
            )
        }
    }
}

/// The function in a form that causes no further compiler errors.
fn as_plain_main(mut function: ItemFn) -> TokenStream {
    function
        .attrs
        .retain(|attribute| attribute.path().segments.last().is_none_or(|name| name.ident != "main"));
    if function.sig.ident != "main" {
        return quote! { #function };
    }
    let attributes = std::mem::take(&mut function.attrs);
    function.sig.ident = parse_quote!(__flash_user_main);
    function.attrs.push(parse_quote!(#[allow(dead_code)]));
    quote! { #(#attributes)* fn main() { #function } }
}

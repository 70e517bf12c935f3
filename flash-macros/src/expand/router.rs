//! The registration of a function that makes a router. The function itself stays as it is written.
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{ext::IdentExt as _, spanned::Spanned as _};

use super::converted;
use crate::{
    item::ImplBlock,
    router::{Returned, RouterFunction, Serves},
};

/// The registration, beside the function or the `impl` of `owner`.
pub(super) fn registration(
    function: &RouterFunction,
    serves: &Serves,
    owner: Option<&ImplBlock>,
    resource: &TokenStream,
) -> TokenStream {
    let RouterFunction { name, docs, cfg, .. } = function;
    let cfg_of_owner = owner.into_iter().flat_map(|owner| &owner.rest.attrs);
    let cfg_of_owner = cfg_of_owner.filter(|attribute| attribute.path().is_ident("cfg"));
    let name_text = name.unraw().to_string();
    let owner_text = match owner {
        Some(owner) => {
            let owner = owner.type_name.unraw().to_string();
            quote! { ::core::option::Option::Some(#owner) }
        }
        None => quote! { ::core::option::Option::None },
    };
    let prefix = match serves {
        Serves::Prefix(prefix) => quote! { ::core::option::Option::Some(#prefix) },
        Serves::Rest | Serves::Models(_) => quote! { ::core::option::Option::None },
    };
    let models = match serves {
        Serves::Models(names) => quote! { ::core::option::Option::Some(&[#(#names),*]) },
        Serves::Rest | Serves::Prefix(_) => quote! { ::core::option::Option::None },
    };
    let names = match serves {
        Serves::Models(_) => quote! { __flash_models },
        Serves::Rest | Serves::Prefix(_) => quote! { _ },
    };
    let lifecycle = match owner {
        Some(owner) => {
            let owner = &owner.rest.self_ty;
            quote! { ::core::option::Option::Some(<#owner>::__flash_lifecycle) }
        }
        None => quote! { ::core::option::Option::None },
    };
    let line = quote_spanned!(name.span()=> ::core::line!());
    let make = make(function, serves, owner);
    quote! {
        #(#cfg_of_owner)*
        #(#cfg)*
        ::flash_sdk::__private::inventory::submit! {
            ::flash_sdk::__private::RegisteredRouter(|| {
                static ROUTER: ::flash_sdk::__private::RouterFunction = ::flash_sdk::__private::RouterFunction {
                    name: #name_text,
                    owner: #owner_text,
                    file: ::core::file!(),
                    line: #line,
                    docs: ::core::concat!(#(#docs, "\n"),*),
                    resource: #resource,
                    prefix: #prefix,
                    models: #models,
                    make: |#names| ::std::boxed::Box::pin(async move { #make }),
                    lifecycle: #lifecycle,
                };
                &ROUTER
            })
        }
    }
}

/// Calls the function, on the blocking pool if it is synchronous, and converts its error.
fn make(function: &RouterFunction, serves: &Serves, owner: Option<&ImplBlock>) -> TokenStream {
    let RouterFunction { name, is_async, returned, returned_type, .. } = function;
    let span = returned_type.span();
    let (prepare, target) = match owner {
        Some(owner) => {
            let owner = &owner.rest.self_ty;
            (
                quote! { let __flash_instance = <#owner>::__flash_instance().await?; },
                quote!(__flash_instance.#name()),
            )
        }
        None => (TokenStream::new(), quote!(#name())),
    };
    let call = if *is_async { quote!(#target.await) } else { target };
    let router = quote!(__flash_router);
    let into_router = match serves {
        Serves::Models(_) => {
            quote_spanned!(span=> ::flash_sdk::__private::IsModels::into_router(#router, &__flash_models)?)
        }
        Serves::Rest | Serves::Prefix(_) => {
            quote_spanned!(span=> ::flash_sdk::__private::IsRouter::into_router(#router))
        }
    };
    let outcome = match returned {
        Returned::Itself => quote! { ::flash_sdk::Result::<_, ::flash_sdk::Error>::Ok(__flash_outcome) },
        Returned::Result => converted(&quote!(__flash_outcome), span),
        Returned::Alias => converted(
            &quote_spanned!(span=> ::flash_sdk::__private::Outcome::into_result(__flash_outcome)),
            span,
        ),
    };
    let steps = quote! {
        let __flash_outcome = #call;
        #outcome
    };
    let made = match is_async {
        true => quote! { { #steps } },
        false => quote! { ::flash_sdk::__private::blocking(move || { #steps }).await },
    };
    quote! {
        #prepare
        let __flash_router = #made?;
        ::core::result::Result::Ok(#into_router)
    }
}

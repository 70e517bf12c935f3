//! The single value of an `impl` in a process: how it is made, checked and ended.
use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::{ext::IdentExt as _, spanned::Spanned as _};

use super::converted;
use crate::{
    hook::{HealthHook, Hook},
    item::{ImplBlock, Init},
};

/// The functions of the block that the worker uses.
pub(super) fn members(block: &ImplBlock) -> TokenStream {
    let (instance, lifecycle) = (instance(block), lifecycle(block));
    quote! { #instance #lifecycle }
}

fn instance(block: &ImplBlock) -> TokenStream {
    let owner = &block.rest.self_ty;
    let make = match &block.init {
        None => quote! { async { ::core::unreachable!("a compile error tells what is missing") } },
        Some(init) => make(init),
    };
    // Puts errors about `Send` or `Sync` at the type.
    let instance_type = quote_spanned!(owner.span()=> ::flash_sdk::__private::Instance<#owner>);
    quote! {
        #[doc(hidden)]
        #[allow(dead_code)]
        fn __flash_cell() -> &'static ::flash_sdk::__private::Instance<Self> {
            static INSTANCE: #instance_type = ::flash_sdk::__private::Instance::new();
            &INSTANCE
        }

        #[doc(hidden)]
        #[allow(dead_code, clippy::useless_conversion, clippy::needless_borrow)]
        async fn __flash_instance() -> ::flash_sdk::Result<::std::sync::Arc<Self>> {
            Self::__flash_cell().get(|| #make).await
        }
    }
}

/// Makes the value, on the blocking pool unless its constructor is async.
fn make(Init { name, is_async, is_fallible, model }: &Init) -> TokenStream {
    let prepare = model.iter().map(|ty| {
        quote_spanned! {ty.span()=>
            let __flash_model: #ty = ::flash_sdk::__private::model_dir(Self::__FLASH_RESOURCE)?;
        }
    });
    let prepare = quote! { #(#prepare)* };
    let argument = model.iter().map(|ty| Ident::new("__flash_model", ty.span()));
    let argument = quote! { #(#argument)* };
    let made = match is_async {
        true => quote! { Self::#name(#argument).await },
        false => quote! { Self::#name(#argument) },
    };
    let made = match (is_fallible, is_async) {
        (true, _) => converted(&made, name.span()),
        (false, true) => quote! { ::core::result::Result::Ok(#made) },
        (false, false) => quote! { ::flash_sdk::Result::<Self>::Ok(#made) },
    };
    match (is_async, model) {
        (true, _) => quote! { async { #prepare #made } },
        (false, None) => quote! { ::flash_sdk::__private::blocking(|| #made) },
        (false, Some(_)) => quote! { ::flash_sdk::__private::blocking(|| { #prepare #made }) },
    }
}

fn lifecycle(block: &ImplBlock) -> TokenStream {
    let owner = &block.rest.self_ty;
    let name = block.type_name.unraw().to_string();
    let init = quote_spanned! {owner.span()=>
        || ::std::boxed::Box::pin(async { <#owner>::__flash_instance().await.map(|_| ()) })
    };
    let exit = match &block.hooks.exit {
        Some(hook) => {
            let run = run(block, hook);
            quote! { ::core::option::Option::Some(#run) }
        }
        None => quote! { ::core::option::Option::None },
    };
    let health = match &block.hooks.health {
        Some(HealthHook { hook, every }) => {
            let run = run(block, hook);
            quote! {
                ::core::option::Option::Some(::flash_sdk::__private::HealthCheck {
                    every_seconds: #every,
                    ask: #run,
                })
            }
        }
        None => quote! { ::core::option::Option::None },
    };
    let needs_model = block.init.as_ref().is_some_and(|init| init.model.is_some());
    quote! {
        #[doc(hidden)]
        #[allow(dead_code, clippy::useless_conversion, clippy::needless_borrow)]
        fn __flash_lifecycle() -> &'static ::flash_sdk::__private::Lifecycle {
            static LIFECYCLE: ::flash_sdk::__private::Lifecycle = ::flash_sdk::__private::Lifecycle {
                name: #name,
                needs_model: #needs_model,
                init: #init,
                exit: #exit,
                health: #health,
            };
            &LIFECYCLE
        }
    }
}

/// Calls a hook, if the value was made.
fn run(block: &ImplBlock, Hook { name, is_async, is_fallible }: &Hook) -> TokenStream {
    let owner = &block.rest.self_ty;
    let called = quote_spanned!(name.span()=> __flash_instance.#name());
    let called = if *is_async { quote!(#called.await) } else { called.into_token_stream() };
    let outcome = if *is_fallible {
        let outcome = quote!(::flash_sdk::__private::Outcome::into_result(__flash_outcome));
        let converted = converted(&outcome, name.span());
        quote! { let __flash_outcome = #called; #converted }
    } else {
        quote! { #called; ::flash_sdk::Result::<()>::Ok(()) }
    };
    let run = if *is_async {
        outcome
    } else {
        quote! { ::flash_sdk::__private::blocking(move || { #outcome }).await }
    };
    quote_spanned! {name.span()=>
        || ::std::boxed::Box::pin(async {
            match <#owner>::__flash_cell().made() {
                ::core::option::Option::Some(__flash_instance) => { #run }
                ::core::option::Option::None => ::core::result::Result::Ok(()),
            }
        })
    }
}

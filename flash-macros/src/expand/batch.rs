//! A method whose calls run in batches: each call prepares its item, waits for a batch, and gets its own result.
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;

use super::{Expansion, converted, judged};
use crate::{
    batch::{Batch, Limits, Prepare},
    item::Batched,
};

/// A value of `flash_sdk::__private::BatchLimits`.
pub(super) fn limits(limits: &Limits) -> TokenStream {
    let Limits { max, budget, padded, wait_ms, weighed } = limits;
    let budget = match budget {
        Some(budget) => quote! { ::core::option::Option::Some(#budget) },
        None => quote! { ::core::option::Option::None },
    };
    quote! {
        ::flash_sdk::__private::BatchLimits {
            max: #max,
            budget: #budget,
            padded: #padded,
            wait_ms: #wait_ms,
            weighed: #weighed,
        }
    }
}

impl Expansion<'_> {
    /// See [`Expansion::run`]. The static value holds the calls that wait in this process.
    pub(super) fn run_in_batch(&self, batched: &Batched) -> TokenStream {
        let Batched { batch, .. } = batched;
        let function = self.function;
        let (output, names, item) = (&function.output, self.argument_names(), &batch.item);
        let owner = self.owner.map(|owner| &owner.rest.self_ty);
        let limits = limits(&batch.limits);
        let prepared = self.prepared(batch);
        let cost = match &batch.cost {
            Some(cost) => quote_spanned! {cost.span()=>
                ::flash_sdk::__private::batch_cost((#cost)(&__flash_item))
            },
            None => quote! { 1 },
        };
        let results = self.results(batch);
        // The span puts errors about an item or a result that is not `Send` or `Clone` at the method.
        let batcher =
            quote_spanned! {function.name.span()=> ::flash_sdk::__private::Batcher<#item, #output> };
        let run = quote_spanned! {function.name.span()=> ::flash_sdk::__private::RunBatch<#item, #output> };
        quote! {
            #[allow(refining_impl_trait, clippy::useless_conversion, clippy::needless_borrow)]
            fn run(
                (#(#names,)*): Self::Args
            ) -> ::flash_sdk::__private::BoxFuture<'static, ::flash_sdk::Result<#output>> {
                static BATCHER: #batcher = ::flash_sdk::__private::Batcher::new(#limits);
                ::std::boxed::Box::pin(async move {
                    let __flash_instance = <#owner>::__flash_instance().await?;
                    let __flash_item: #item = #prepared;
                    let __flash_cost = #cost;
                    let __flash_run: #run = ::std::sync::Arc::new(move |__flash_items| {
                        let __flash_instance = ::std::sync::Arc::clone(&__flash_instance);
                        ::std::boxed::Box::pin(async move { #results })
                    });
                    BATCHER.call(__flash_item, __flash_cost, __flash_run).await
                })
            }
        }
    }

    /// The item of one call, made from its arguments.
    fn prepared(&self, batch: &Batch) -> TokenStream {
        let names = self.argument_names();
        let Some(Prepare { name, is_async, is_fallible }) = &batch.prepare else {
            return quote! { #(#names)* };
        };
        let call = quote_spanned! {name.span()=> __flash_prepare.#name(#(#names),*) };
        let outcome = if *is_async {
            quote! { #call.await }
        } else {
            call
        };
        let outcome = match is_fallible {
            true => {
                let converted = converted(&quote!(__flash_outcome), name.span());
                quote! { { let __flash_outcome = #outcome; #converted } }
            }
            false => {
                let item = &batch.item;
                quote! { ::flash_sdk::Result::<#item>::Ok(#outcome) }
            }
        };
        let instance = quote! { let __flash_prepare = ::std::sync::Arc::clone(&__flash_instance); };
        match is_async {
            true => quote! { { #instance #outcome? } },
            false => quote! {
                {
                    #instance
                    ::flash_sdk::__private::blocking(move || #outcome).await?
                }
            },
        }
    }

    /// The results of a batch, each with its own error.
    fn results(&self, batch: &Batch) -> TokenStream {
        let local = &self.local;
        let returned = self.returned_span();
        let one = match self.function.is_alias {
            true => quote_spanned!(returned=> ::flash_sdk::__private::Outcome::into_result(__flash_outcome)),
            false => quote!(__flash_outcome),
        };
        let converted = judged(&one, returned, self.settings);
        let each = quote! {
            ::core::iter::Iterator::collect::<::std::vec::Vec<_>>(::core::iter::Iterator::map(
                ::core::iter::IntoIterator::into_iter(__flash_outcomes),
                |__flash_outcome| #converted,
            ))
        };
        match batch.is_async {
            true => quote! {
                let __flash_outcomes = __flash_instance.#local(__flash_items).await;
                ::flash_sdk::Result::<::std::vec::Vec<_>>::Ok(#each)
            },
            false => quote! {
                ::flash_sdk::__private::blocking(move || {
                    let __flash_outcomes = __flash_instance.#local(__flash_items);
                    ::flash_sdk::Result::<::std::vec::Vec<_>>::Ok(#each)
                })
                .await
            },
        }
    }
}

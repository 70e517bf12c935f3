//! Generates tokens from the validated model. It makes no decisions and reports no errors.
//!
//! A function becomes a marker type that implements a trait of `flash_sdk`, a public function that makes calls, the
//! companions (`spawn`, `map`, …), and the user's code under another name.
mod batch;
mod companions;
mod lifecycle;
mod router;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::{Attribute, ReturnType, Signature, Type, ext::IdentExt as _, spanned::Spanned as _};

use crate::{
    args::{Compute, Config, FunctionSettings, Memory, Model, RemoteArgs, Resource, Scaler, Schedule},
    function::{Argument, Function, Kind},
    item::{Batched, ImplBlock},
    route::Route,
    router::RouterFunction,
};

/// The expansion of one function.
struct Expansion<'a> {
    function: &'a Function,
    route: Option<&'a Route>,
    settings: &'a FunctionSettings,
    batched: Option<&'a Batched>,
    marker: Ident,
    /// The user's own code. Of a method it is public, for tests with a value of their own.
    local: Ident,
    owner: Option<&'a ImplBlock>,
}

/// Expands a free function.
pub(crate) fn function(function: &Function, args: &RemoteArgs) -> TokenStream {
    let name = function.name.unraw();
    let expansion = Expansion {
        function,
        route: args.route.as_ref(),
        settings: &args.function,
        batched: None,
        marker: format_ident!("__flash_{name}"),
        local: format_ident!("__flash_local_{name}", span = function.name.span()),
        owner: None,
    };
    let public = expansion.public();
    let marker = expansion.marker(&resource(&args.resource));
    let local = expansion.local();
    let (companions, place) = (expansion.companion_module(), expansion.place());
    quote! { #public #companions #marker #place #local }
}

/// Registers a function that makes a router.
pub(crate) fn router(function: &RouterFunction, args: &RemoteArgs) -> TokenStream {
    // An invalid attribute, which is reported.
    let Some(serves) = &args.serves else { return TokenStream::new() };
    router::registration(function, serves, None, &resource(&args.resource))
}

/// Expands an `impl` block.
pub(crate) fn impl_block(block: &ImplBlock, args: &RemoteArgs) -> TokenStream {
    let expansions = block.methods.iter().map(|method| Expansion {
        function: &method.function,
        route: method.route.as_ref(),
        settings: &method.settings,
        batched: method.batched.as_ref(),
        marker: format_ident!("__flash_{}_{}", block.type_name.unraw(), method.function.name.unraw()),
        local: format_ident!("{}_on", method.function.name.unraw(), span = method.function.name.span()),
        owner: Some(block),
    });
    let (mut members, mut markers) = (lifecycle::members(block), TokenStream::new());
    // Generated once for all methods, so that the compiler reports an unknown name only once.
    let resource = resource(&args.resource);
    members.extend(quote! {
        #[doc(hidden)]
        #[allow(dead_code)]
        const __FLASH_RESOURCE: ::flash_sdk::__private::Resource = #resource;
    });
    let owner = &block.rest.self_ty;
    for expansion in expansions {
        members.extend(expansion.public());
        members.extend(expansion.companion_functions());
        members.extend(expansion.local());
        markers.extend(expansion.marker(&quote!(<#owner>::__FLASH_RESOURCE)));
    }
    if let Some((function, serves)) = &block.router {
        let resource = quote!(<#owner>::__FLASH_RESOURCE);
        markers.extend(router::registration(function, serves, Some(block), &resource));
    }
    let mut whole = block.rest.clone();
    whole.items.push(syn::ImplItem::Verbatim(members));
    quote! { #whole #markers }
}

impl Expansion<'_> {
    fn cfg(&self) -> impl Iterator<Item = &Attribute> {
        let of_owner = self.owner.into_iter().flat_map(|owner| &owner.rest.attrs);
        of_owner.filter(|attribute| attribute.path().is_ident("cfg")).chain(&self.function.attributes.cfg)
    }

    /// The arguments as the elements of their tuple, which are both expressions and patterns.
    fn argument_names(&self) -> Vec<TokenStream> {
        let name = |argument: &Argument| {
            let name = &argument.ident;
            match argument.wrapper() {
                Some(wrapper) => quote! { #wrapper(#name) },
                None => quote! { #name },
            }
        };
        self.function.arguments.iter().map(name).collect()
    }

    /// The type of the result as it is sent.
    fn written_output(&self) -> TokenStream {
        match self.function.returns_response() {
            true => quote! { ::flash_sdk::__private::WholeResponse },
            false => self.function.output.to_token_stream(),
        }
    }

    /// A result as it is sent, as the user's signature has it.
    fn unwrapped(&self, result: TokenStream) -> TokenStream {
        match self.function.returns_response() {
            true => quote! { #result.map(::flash_sdk::__private::WholeResponse::into_response) },
            false => result,
        }
    }

    /// The public function under its own name, which calls the function where it is deployed.
    fn public(&self) -> TokenStream {
        let Function { name, visibility, attributes, output, kind, .. } = self.function;
        let (marker, names) = (&self.marker, self.argument_names());
        let parameters = parameters(&self.function.arguments);
        let (cfg, public) = (&attributes.cfg, &attributes.public);
        let (asyncness, result, call) = match kind {
            Kind::Stream => (
                None,
                quote! {
                    impl ::flash_sdk::__private::Stream<Item = ::flash_sdk::Result<#output>>
                        + ::core::marker::Send
                        + ::core::marker::Unpin
                },
                quote! { ::flash_sdk::__private::stream::<#marker>((#(#names,)*)) },
            ),
            Kind::Async | Kind::Blocking => (
                Some(quote!(async)),
                quote! { ::flash_sdk::Result<#output> },
                self.unwrapped(quote! { ::flash_sdk::__private::call::<#marker>((#(#names,)*)).await }),
            ),
        };
        quote! {
            #(#cfg)*
            #(#public)*
            #[allow(dead_code, clippy::too_many_arguments)]
            #visibility #asyncness fn #name(#parameters) -> #result {
                #call
            }
        }
    }

    /// The user's code, under a name that nothing else uses.
    fn local(&self) -> TokenStream {
        let Function { name, visibility, attributes, body, .. } = self.function;
        let (cfg, own) = (&attributes.cfg, &attributes.own);
        let signature = self.batched.map_or(&self.function.signature, |batched| &batched.signature);
        let signature = Signature { ident: self.local.clone(), ..signature.clone() };
        let public = self.owner.map(|_| {
            let title =
                format!("The code of `{}` on this value, for tests: no worker, no `#[init]`.", name.unraw());
            quote! {
                #[doc = #title]
                ///
                /// # Errors
                /// When the method fails.
                #[allow(unreachable_pub)]
                #visibility
            }
        });
        quote! {
            #(#cfg)*
            #(#own)*
            #public #signature #body
        }
    }

    /// The marker type, its description and its registration.
    fn marker(&self, resource: &TokenStream) -> TokenStream {
        let Function { arguments, kind, .. } = self.function;
        let (marker, output) = (&self.marker, self.written_output());
        let cfg: Vec<_> = self.cfg().collect();
        let types = arguments
            .iter()
            .map(|argument| argument.wrapped().unwrap_or_else(|| argument.ty.to_token_stream()));
        let args = quote_spanned!(self.arguments_span()=> (#(#types,)*));
        let (contract, item) = match kind {
            Kind::Stream => (quote!(RemoteStream), quote!(Item)),
            Kind::Async | Kind::Blocking => (quote!(RemoteFunction), quote!(Output)),
        };
        let (descriptor, run) = (self.descriptor(resource), self.run());
        let name = &self.function.name;
        let item_path = match self.owner {
            Some(owner) => {
                let owner = &owner.rest.self_ty;
                quote! { <#owner>::#name }
            }
            None => quote! { #name },
        };
        // The marker is always private, so that the function's types may be private too.
        quote! {
            #(#cfg)*
            #[doc(hidden)]
            #[allow(non_camel_case_types)]
            struct #marker;

            #(#cfg)*
            impl ::flash_sdk::__private::#contract for #marker {
                type Args = #args;
                type #item = #output;

                fn descriptor() -> &'static ::flash_sdk::__private::Function {
                    #descriptor
                }

                #run
            }

            #(#cfg)*
            ::flash_sdk::__private::inventory::submit! {
                ::flash_sdk::__private::Registered {
                    function: <#marker as ::flash_sdk::__private::#contract>::descriptor,
                    #[allow(deprecated)]
                    item: || ::flash_sdk::__private::type_of(&#item_path),
                }
            }
        }
    }

    fn descriptor(&self, resource: &TokenStream) -> TokenStream {
        let Function { name, docs, arguments, kind, .. } = self.function;
        let (marker, output) = (&self.marker, self.written_output());
        let name_text = name.unraw().to_string();
        let owner = match self.owner {
            Some(owner) => {
                let owner = owner.type_name.unraw().to_string();
                quote! { ::core::option::Option::Some(#owner) }
            }
            None => quote! { ::core::option::Option::None },
        };
        // With the span of the name, `line!` returns the name's line.
        let line = quote_spanned!(name.span()=> ::core::line!());
        let route = match self.route {
            Some(Route { method, path, .. }) => quote! {
                ::core::option::Option::Some(::flash_sdk::__private::Route { method: #method, path: #path })
            },
            None => quote! { ::core::option::Option::None },
        };
        let settings = self.function_settings();
        let arguments = arguments.iter().map(|argument| {
            let (name, ty) = (argument.name(), &argument.ty);
            let span = ty.span();
            match argument.part() {
                Some(_) => {
                    let ty = argument.wrapped().unwrap_or_else(|| ty.to_token_stream());
                    quote_spanned!(span=> ::flash_sdk::__private::Argument::of_request::<#ty>(#name))
                }
                None => quote_spanned!(span=> ::flash_sdk::__private::Argument::of::<#ty>(#name)),
            }
        });
        let handler = match kind {
            Kind::Stream => quote!(streaming),
            Kind::Async | Kind::Blocking => quote!(once),
        };
        let lifecycle = match self.owner {
            Some(owner) => {
                let owner = &owner.rest.self_ty;
                quote! { ::core::option::Option::Some(<#owner>::__flash_lifecycle) }
            }
            None => quote! { ::core::option::Option::None },
        };
        quote! {
            static FUNCTION: ::flash_sdk::__private::Function = ::flash_sdk::__private::Function {
                name: #name_text,
                owner: #owner,
                module_path: ::core::module_path!(),
                file: ::core::file!(),
                line: #line,
                docs: ::core::concat!(#(#docs, "\n"),*),
                resource: #resource,
                route: #route,
                settings: #settings,
                arguments: &[#(#arguments),*],
                output: ::flash_sdk::__private::Output::of::<#output>(),
                handler: ::flash_sdk::__private::#handler::<#marker>(),
                lifecycle: #lifecycle,
                binding: ::flash_sdk::__private::OnceLock::new(),
            };
            &FUNCTION
        }
    }

    fn function_settings(&self) -> TokenStream {
        let settings = settings(self.settings, self.batched);
        let replay = self.route.and_then(|route| route.replay.as_ref()).into_iter();
        let replay = replay.map(|(_, events)| quote! { .replay(#events) });
        quote! { #settings #(#replay)* }
    }

    /// The user's code, with the same signature for all functions.
    fn run(&self) -> TokenStream {
        if let Some(batched) = self.batched {
            return self.run_in_batch(batched);
        }
        let Function { kind, name, .. } = self.function;
        let output = self.written_output();
        let (local, names) = (&self.local, self.argument_names());
        let (prepare, target) = match self.owner {
            Some(owner) => {
                let owner = &owner.rest.self_ty;
                // User arguments do not have this name.
                let prepare = quote! { let __flash_instance = <#owner>::__flash_instance().await?; };
                (prepare, quote! { __flash_instance.#local })
            }
            None => (TokenStream::new(), quote! { #local }),
        };
        let given = self.function.arguments.iter().map(|argument| &argument.ident);
        let call = quote! { #target(#(#given),*) };
        // The spans put compiler errors at their cause: at the function's name for a future or stream that is not
        // `Send`, at the return type for an error type that does not convert. So whole expressions have that span,
        // and their parts are bound to names before.
        let (result, body) = match kind {
            Kind::Stream => (
                quote! {
                    ::core::pin::Pin<::std::boxed::Box<
                        dyn ::flash_sdk::__private::Stream<Item = ::flash_sdk::Result<#output>>
                            + ::core::marker::Send
                    >>
                },
                {
                    let converted = converted(&quote!(__flash_chunk), self.returned_span());
                    let made = Ident::new("__flash_made", name.span());
                    let chunks = |made: TokenStream| quote! { ::flash_sdk::__private::chunks(#made, |__flash_chunk| #converted) };
                    match self.owner {
                        None => chunks(call),
                        // The stream may borrow the instance, so the block around it owns the instance.
                        Some(_) => {
                            let chunks = chunks(quote!(#made));
                            quote! {
                                ::flash_sdk::__private::generated(move |__flash_yielder| async move {
                                    #prepare
                                    let #made = #call;
                                    let __flash_chunks = #chunks;
                                    __flash_yielder.forward(__flash_chunks).await
                                })
                            }
                        }
                    }
                },
            ),
            Kind::Async | Kind::Blocking => {
                let returned = self.returned_span();
                let outcome = if self.function.is_alias {
                    quote_spanned!(returned=> ::flash_sdk::__private::Outcome::into_result(__flash_outcome))
                } else {
                    quote!(__flash_outcome)
                };
                let mut converted = judged(&outcome, returned, self.settings);
                if self.function.returns_response() {
                    converted
                        .extend(quote_spanned! {returned=> .map(::flash_sdk::__private::WholeResponse::of) });
                }
                let steps = match kind {
                    Kind::Async => quote! { let __flash_outcome = #call.await; #converted },
                    _ => quote! {
                        let __flash_run = move || { let __flash_outcome = #call; #converted };
                        ::flash_sdk::__private::blocking(__flash_run).await
                    },
                };
                (
                    quote! { ::flash_sdk::__private::BoxFuture<'static, ::flash_sdk::Result<#output>> },
                    quote_spanned! {name.span()=> async move { #prepare #steps } },
                )
            }
        };
        let boxed = quote_spanned!(name.span()=> ::std::boxed::Box::pin(#body));
        // Boxed, so that functions that call each other recursively have types of finite size, and the compiler can
        // see that each is `Send`.
        quote! {
            #[allow(refining_impl_trait, clippy::useless_conversion, clippy::needless_borrow)]
            fn run((#(#names,)*): Self::Args) -> #result {
                #boxed
            }
        }
    }

    /// The span for errors about all arguments together.
    fn arguments_span(&self) -> Span {
        match &self.function.arguments[..] {
            [alone] => alone.ty.span(),
            _ => self.function.name.span(),
        }
    }

    fn returned_span(&self) -> Span {
        match &self.function.signature.output {
            ReturnType::Type(_, ty) => Type::span(ty),
            ReturnType::Default => self.function.name.span(),
        }
    }
}

/// Converts a result to the error type of `flash_sdk`. The references select the conversion: see
/// `flash_sdk::__private::ways`.
pub(crate) fn converted(outcome: &TokenStream, span: Span) -> TokenStream {
    quote_spanned! {span=>
        #outcome.map_err(|__flash_error| {
            use ::flash_sdk::__private::ways::*;
            (&&&&&look(&__flash_error)).__flash_way().error(__flash_error)
        })
    }
}

/// As [`converted`]; with `retry_if`, the error that the function itself returned is judged before it is converted.
pub(crate) fn judged(outcome: &TokenStream, span: Span, settings: &FunctionSettings) -> TokenStream {
    let predicate = settings.retries.as_ref().and_then(|retries| retries.predicate.as_ref());
    let Some(predicate) = predicate else { return converted(outcome, span) };
    // The span puts a predicate of another error type at the predicate.
    let again =
        quote_spanned! {predicate.span()=> ::flash_sdk::__private::judge(&__flash_error, #predicate) };
    quote_spanned! {span=>
        #outcome.map_err(|__flash_error| {
            use ::flash_sdk::__private::ways::*;
            let __flash_again = #again;
            let __flash_error = (&&&&&look(&__flash_error)).__flash_way().error(__flash_error);
            if __flash_again { __flash_error.into_retryable() } else { __flash_error }
        })
    }
}

/// `a: A, b: B`, without `mut` and attributes.
fn parameters(arguments: &[Argument]) -> TokenStream {
    let parameters = arguments.iter().map(|Argument { ident, ty }| quote!(#ident: #ty));
    quote! { #(#parameters),* }
}

fn resource(resource: &Resource) -> TokenStream {
    match resource {
        Resource::Named(name) => quote! { ::flash_sdk::__private::Resource::Named(#name) },
        Resource::Constant(constant) => quote! { ::flash_sdk::__private::Resource::Declared(#constant) },
        Resource::Declared(config) => {
            let config = declared(config);
            quote! { ::flash_sdk::__private::Resource::Declared(#config) }
        }
    }
}

/// The calls of the const builders of `flash_sdk` for the settings of one function.
fn settings(settings: &FunctionSettings, batched: Option<&Batched>) -> TokenStream {
    let retries = settings.retries.iter().map(|retries| {
        let count = retries.count;
        let backoff = retries.backoff.iter().map(|(first, longest)| quote! { .backoff(#first, #longest) });
        quote! { .retries(::flash_sdk::__private::Retries::new(#count) #(#backoff)*) }
    });
    let schedule = settings.schedule.iter().map(|schedule| {
        let Schedule { cron, timezone, missed, overlap, .. } = schedule;
        let timezone = timezone.iter().map(|name| quote! { .timezone(#name) });
        let word = |word: &'static str| Ident::new(word, Span::call_site());
        let missed = missed.map(word).into_iter();
        let missed = missed.map(|missed| quote! { .missed(::flash_sdk::__private::Missed::#missed) });
        let overlap = overlap.map(word).into_iter();
        let overlap = overlap.map(|overlap| quote! { .overlap(::flash_sdk::__private::Overlap::#overlap) });
        quote! {
            .schedule(::flash_sdk::__private::Schedule::new(#cron) #(#timezone)* #(#missed)* #(#overlap)*)
        }
    });
    let batch = batched.iter().map(|batched| {
        let limits = batch::limits(&batched.batch.limits);
        quote! { .batch(#limits) }
    });
    let example = settings.example.iter().map(|example| quote! { .example(#example) });
    quote! {
        ::flash_sdk::__private::FunctionSettings::new() #(#retries)* #(#schedule)* #(#batch)* #(#example)*
    }
}

/// The calls of the const builders of `flash_sdk` for this configuration.
fn declared(config: &Config) -> TokenStream {
    let Config { name, workers, idle_timeout, execution_timeout, max_concurrency, data_centers, .. } = config;
    let compute = match &config.compute {
        Compute::Cpu(instances) => quote! { .cpus(&[#(::flash_sdk::CpuInstance::#instances),*]) },
        Compute::Gpu { pools, types, .. } => {
            quote! { .gpus(&[#(::flash_sdk::GpuPool::#pools),*], &[#(::flash_sdk::GpuType::#types),*]) }
        }
        // `vram_gib` chooses the pools.
        Compute::AnyGpu { .. } => TokenStream::new(),
    };
    let count = match &config.compute {
        Compute::Gpu { count, .. } | Compute::AnyGpu { count } => count.iter(),
        Compute::Cpu(_) => None.iter(),
    };
    let task = config.is_task.then(|| quote! { .task() });
    let buffer = config.buffer.iter();
    let workers = workers.iter().map(|(min, max)| quote! { .workers(#min..=#max) });
    let idle_timeout = idle_timeout.iter();
    let execution_timeout = execution_timeout.iter();
    let start_timeout = config.start_timeout.iter();
    let max_concurrency = max_concurrency.iter();
    let (disk_gib, shm_mib) = (config.disk_gib.iter(), config.shm_mib.iter());
    let max_body_mib = config.max_body_mib.iter();
    let request_timeout = config.request_timeout.iter();
    let scaler = config.scaler.iter().map(|scaler| match scaler {
        Scaler::QueueDelay(seconds) => quote! { .queue_delay(#seconds) },
        Scaler::RequestCount(requests) => quote! { .request_count(#requests) },
    });
    let data_centers = (!data_centers.is_empty())
        .then(|| quote! { .data_centers(&[#(::flash_sdk::DataCenter::#data_centers),*]) });
    let with_hardware = quote! { ::flash_sdk::ResourceConfig::new(#name) #compute };
    // What a builder alone can check is a call of its own and not the next of a chain: a chain's error has the caret
    // on all of it, this one on the user's value.
    let with_memory = match &config.vram_gib {
        None => with_hardware,
        Some(Memory { gib, span }) => {
            quote_spanned! {*span=> ::flash_sdk::ResourceConfig::vram_gib(#with_hardware, #gib) }
        }
    };
    let whole = quote! {
        #with_memory
            #(.gpu_count(#count))*
            #task
            #(#workers)*
            #(.idle_timeout(#idle_timeout))*
            #(.execution_timeout(#execution_timeout))*
            #(.start_timeout(#start_timeout))*
            #(.max_concurrency(#max_concurrency))*
            #(#scaler)*
            #(.buffer(#buffer))*
            #data_centers
            #(.disk_gib(#disk_gib))*
            #(.shm_mib(#shm_mib))*
            #(.max_body_mib(#max_body_mib))*
            #(.request_timeout(#request_timeout))*
    };
    match &config.model {
        None => whole,
        Some(Model { reference, files }) => {
            quote_spanned! {reference.span()=> ::flash_sdk::ResourceConfig::model(#whole, #reference, &[#(#files),*]) }
        }
    }
}

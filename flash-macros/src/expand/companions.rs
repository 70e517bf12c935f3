//! The companions of a function: a module with its name that contains `spawn`, `map`, `map_with`, `options`, `at`,
//! `handle` and `local`.
//!
//! An `impl` cannot contain a module, so a method's companions are associated functions, prefixed with the method's
//! name.
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Path, PathSegment, Type, VisRestricted, Visibility,
    ext::IdentExt as _,
    parse_quote,
    visit_mut::{self, VisitMut},
};

use super::{Expansion, parameters};
use crate::function::{Argument, Function, Kind};

/// How companions are named, and how they refer to the function's types.
struct Face {
    visibility: Visibility,
    prefix: Option<Ident>,
    parameters: Vec<Argument>,
    output: Type,
}

impl Face {
    fn name(&self, companion: &str) -> Ident {
        match &self.prefix {
            Some(prefix) => format_ident!("{}_{companion}", prefix.unraw(), span = prefix.span()),
            None => format_ident!("{companion}"),
        }
    }

    /// The item type of `map`.
    fn item(&self) -> TokenStream {
        let types = self.parameters.iter().map(|Argument { ty, .. }| ty);
        match self.parameters.len() {
            1 => quote! { #(#types)* },
            _ => quote! { (#(#types),*) },
        }
    }

    /// The same, from inside a child module.
    fn inside_module(mut self) -> Self {
        self.visibility = inside(&self.visibility);
        for Argument { ty, .. } in &mut self.parameters {
            Relative.visit_type_mut(ty);
        }
        Relative.visit_type_mut(&mut self.output);
        self
    }
}

impl Expansion<'_> {
    /// The marker under a name that the companions import. Inside another function's body the import fails, because
    /// modules cannot see items of a body, and the compiler's error shows this name.
    pub(super) fn place(&self) -> TokenStream {
        let (cfg, marker, place) = (&self.function.attributes.cfg, &self.marker, self.place_name());
        quote! {
            #(#cfg)*
            #[doc(hidden)]
            #[allow(non_camel_case_types, dead_code)]
            type #place = #marker;
        }
    }

    fn place_name(&self) -> Ident {
        let name = self.function.name.unraw();
        format_ident!("__remote_function_{name}_stands_in_a_module_not_inside_another_function")
    }

    /// The companion module of a free function.
    pub(super) fn companion_module(&self) -> TokenStream {
        let function = self.function;
        let (name, visibility, cfg) = (&function.name, &function.visibility, &function.attributes.cfg);
        let companions = self.companions(&self.face(None).inside_module());
        let title = format!("Other ways to call `{}`.", name.unraw());
        let (marker, place) = (&self.marker, self.place_name());
        // Imports everything from the parent, so that signatures in docs and editors show the types as the user wrote
        // them. Associated types of the marker would work too, but are unreadable.
        quote! {
            #(#cfg)*
            #[doc = #title]
            #[allow(
                dead_code,
                unused_imports,
                unused_qualifications,
                clippy::module_inception,
                clippy::wildcard_imports
            )]
            #visibility mod #name {
                use super::*;
                use super::#place as #marker;

                #companions
            }
        }
    }

    /// The companion functions of a method.
    pub(super) fn companion_functions(&self) -> TokenStream {
        let function = self.function;
        self.companions(&self.face(Some(function.name.clone())))
    }

    fn face(&self, prefix: Option<Ident>) -> Face {
        let Function { visibility, arguments, output, .. } = self.function;
        Face { visibility: visibility.clone(), prefix, parameters: arguments.clone(), output: output.clone() }
    }

    fn companions(&self, face: &Face) -> TokenStream {
        // Items and results are values as they are sent, which headers are not.
        let is_wrapped = self.function.is_wrapped();
        let (local, options) = (self.local_companion(face), (!is_wrapped).then(|| self.options(face)));
        if self.function.kind == Kind::Stream {
            let refused = self.refused_spawn(face, "AStream");
            return quote! { #refused #options #local };
        }
        let spawn = match self.route {
            Some(_) => self.refused_spawn(face, "ARoute"),
            // Reported: no job returns one.
            None if self.function.answers_http() => TokenStream::new(),
            None => self.spawn(face),
        };
        let map = (!self.function.arguments.is_empty() && !is_wrapped).then(|| self.map(face));
        let is_job = self.route.is_none() && !self.function.answers_http();
        let handle = is_job.then(|| self.handle(face));
        quote! { #spawn #map #options #handle #local }
    }

    /// The options of a call, and the same for a call to another environment.
    fn options(&self, face: &Face) -> TokenStream {
        let Face { visibility, output, .. } = face;
        let (cfg, marker, item) = (&self.function.attributes.cfg, &self.marker, face.item());
        let (kind, make) = match (self.function.kind, self.route) {
            (Kind::Stream, None) => ("StreamingJob", "streaming_job"),
            (Kind::Stream, Some(_)) => ("StreamingRoute", "streaming_route"),
            (_, None) => ("Job", "job"),
            (_, Some(_)) => ("DirectCall", "direct_call"),
        };
        let (kind, make) = (format_ident!("{kind}"), format_ident!("{make}"));
        // The span of the arguments, so that an error about them is the same as elsewhere and reported once.
        let make = quote_spanned!(self.arguments_span()=> ::flash_sdk::__private::#make::<#marker>());
        let options = quote! {
            ::flash_sdk::CallOptions<::flash_sdk::__private::#kind<#item, #output>>
        };
        let (name, at) = (face.name("options"), face.name("at"));
        let title = format!("Options of a call of `{}`: timeout, priority, environment, …", self.called());
        let title_at =
            format!("Options of a call of `{}` in another environment, by its name or URL.", self.called());
        quote! {
            #(#cfg)*
            #[doc = #title]
            #[allow(dead_code, clippy::type_complexity)]
            #visibility fn #name() -> #options {
                #make
            }

            #(#cfg)*
            #[doc = #title_at]
            #[allow(dead_code, clippy::type_complexity)]
            #visibility fn #at(environment: impl ::core::convert::Into<::std::string::String>) -> #options {
                #make.at(environment)
            }
        }
    }

    fn handle(&self, face: &Face) -> TokenStream {
        let Face { visibility, output, .. } = face;
        let (cfg, marker, name) = (&self.function.attributes.cfg, &self.marker, face.name("handle"));
        let title = format!("A job of `{}` that was submitted before, by its ID.", self.called());
        let job = quote_spanned!(self.arguments_span()=> ::flash_sdk::__private::job::<#marker>());
        quote! {
            #(#cfg)*
            #[doc = #title]
            ///
            /// # Errors
            /// Without a platform, because then a job is known only by the handle that `spawn` returned.
            #[allow(dead_code)]
            #visibility fn #name(
                id: impl ::core::convert::Into<::std::string::String>
            ) -> ::flash_sdk::Result<::flash_sdk::JobHandle<#output>> {
                #job.handle(id)
            }
        }
    }

    fn spawn(&self, face: &Face) -> TokenStream {
        let Face { visibility, output, .. } = face;
        let parameters = parameters(&face.parameters);
        let (cfg, marker, names, name) =
            (&self.function.attributes.cfg, &self.marker, self.argument_names(), face.name("spawn"));
        let title = format!(
            "Submits a call of `{}` as a job and returns without waiting for its result.",
            self.called()
        );
        quote! {
            #(#cfg)*
            #[doc = #title]
            ///
            /// # Errors
            /// When the job could not be submitted.
            #[allow(dead_code, clippy::too_many_arguments)]
            #visibility async fn #name(
                #parameters
            ) -> ::flash_sdk::Result<::flash_sdk::JobHandle<#output>> {
                ::flash_sdk::__private::spawn::<#marker>((#(#names,)*)).await
            }
        }
    }

    /// Routes and streams get a `spawn` that cannot be called: its bound is never met, and the compiler says why.
    fn refused_spawn(&self, face: &Face, kind: &str) -> TokenStream {
        let Face { visibility, output, .. } = face;
        let parameters = parameters(&face.parameters);
        let (cfg, name, kind) = (&self.function.attributes.cfg, face.name("spawn"), format_ident!("{kind}"));
        // The lifetime delays the check of the bound until the function is called.
        quote! {
            #(#cfg)*
            #[doc(hidden)]
            #[allow(dead_code, unused_variables, clippy::too_many_arguments, clippy::unused_async)]
            #visibility async fn #name(#parameters) -> ::flash_sdk::Result<::flash_sdk::JobHandle<#output>>
            where
                for<'never> ::flash_sdk::__private::#kind: ::flash_sdk::__private::MakesJobs<'never>,
            {
                ::core::unreachable!("its bound is never met")
            }
        }
    }

    fn map(&self, face: &Face) -> TokenStream {
        let Face { visibility, output, .. } = face;
        let item = face.item();
        let (cfg, marker) = (&self.function.attributes.cfg, &self.marker);
        let (map, map_with) = (face.name("map"), face.name("map_with"));
        let prefix = face.prefix.as_ref().map(|_| quote!(Self::));
        let title = format!("Calls `{}` once per item, 16 calls at a time.", self.called());
        let title_with = format!("Calls `{}` once per item, `concurrency` calls at a time.", self.called());
        let items = quote! {
            impl ::core::iter::IntoIterator<Item = #item, IntoIter: ::core::marker::Send>
        };
        let results = quote! {
            impl ::flash_sdk::__private::Stream<Item = (usize, ::flash_sdk::Result<#output>)>
                + ::core::marker::Send
        };
        let args = match self.function.arguments.len() {
            1 => {
                quote! { ::core::iter::Iterator::map(::core::iter::IntoIterator::into_iter(items), |item| (item,)) }
            }
            _ => quote! { items },
        };
        quote! {
            #(#cfg)*
            #[doc = #title]
            ///
            /// Results arrive as they are ready, each with the index of its item. If no worker is free, more start at
            /// once, without waiting for `queue_delay`: as many as `workers` allows, each with `max_concurrency` calls.
            #[allow(dead_code, clippy::type_complexity)]
            #visibility fn #map(items: #items) -> #results {
                #prefix #map_with(items, ::flash_sdk::__private::MAP_CONCURRENCY)
            }

            #(#cfg)*
            #[doc = #title_with]
            ///
            /// Results arrive as they are ready, each with the index of its item. If no worker is free, more start at
            /// once, without waiting for `queue_delay`: as many as `workers` allows, each with `max_concurrency` calls.
            #[allow(dead_code, clippy::type_complexity)]
            #visibility fn #map_with(items: #items, concurrency: usize) -> #results {
                ::flash_sdk::__private::map::<#marker, _>(#args, concurrency)
            }
        }
    }

    fn local_companion(&self, face: &Face) -> TokenStream {
        let Face { visibility, output, .. } = face;
        let parameters = parameters(&face.parameters);
        let (cfg, marker, names, name) =
            (&self.function.attributes.cfg, &self.marker, self.argument_names(), face.name("local"));
        let title = format!("Runs `{}` in this process, wherever it is deployed.", self.called());
        let allow = quote! { #[allow(dead_code, clippy::too_many_arguments)] };
        let run = quote! { <#marker as ::flash_sdk::__private::RemoteFunction>::run((#(#names,)*)).await };
        let run = self.unwrapped(run);
        match self.function.kind {
            Kind::Stream => quote! {
                #(#cfg)*
                #[doc = #title]
                #allow
                #visibility fn #name(
                    #parameters
                ) -> impl ::flash_sdk::__private::Stream<Item = ::flash_sdk::Result<#output>>
                    + ::core::marker::Send
                    + ::core::marker::Unpin
                {
                    <#marker as ::flash_sdk::__private::RemoteStream>::run((#(#names,)*))
                }
            },
            Kind::Async | Kind::Blocking => quote! {
                #(#cfg)*
                #[doc = #title]
                ///
                /// # Errors
                /// When the function fails.
                #allow
                #visibility async fn #name(#parameters) -> ::flash_sdk::Result<#output> {
                    #run
                }
            },
        }
    }

    /// The name that callers use.
    fn called(&self) -> String {
        match self.owner {
            Some(owner) => format!("{}::{}", owner.type_name.unraw(), self.function.name.unraw()),
            None => self.function.name.unraw().to_string(),
        }
    }
}

/// The same visibility, for use in a child module.
fn inside(visibility: &Visibility) -> Visibility {
    match visibility {
        Visibility::Inherited => parse_quote! { pub(super) },
        Visibility::Restricted(VisRestricted { path, .. }) if path.is_ident("self") => {
            parse_quote! { pub(super) }
        }
        Visibility::Restricted(VisRestricted { path, .. }) if starts_relative(path) => {
            let mut path = path.clone();
            Relative.visit_path_mut(&mut path);
            parse_quote! { pub(in #path) }
        }
        other => other.clone(),
    }
}

fn starts_relative(path: &Path) -> bool {
    path.leading_colon.is_none()
        && path.segments.first().is_some_and(|first| first.ident == "self" || first.ident == "super")
}

/// Rewrites paths that are relative to the function's module, for use in a child module.
struct Relative;

impl VisitMut for Relative {
    fn visit_path_mut(&mut self, path: &mut Path) {
        if starts_relative(path)
            && let Some(first) = path.segments.first_mut()
        {
            let span = first.ident.span();
            if first.ident == "self" {
                first.ident = Ident::new("super", span);
            } else {
                path.segments.insert(0, PathSegment::from(Ident::new("super", span)));
            }
        }
        visit_mut::visit_path_mut(self, path);
    }
}

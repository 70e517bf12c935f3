//! The annotated item: a function or an `impl` block, validated.
use heck::ToSnakeCase as _;
use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::{
    Attribute, FnArg, Ident, ImplItem, ImplItemFn, Item, ItemFn, ItemImpl, ReturnType, Signature, Type,
    Visibility, ext::IdentExt as _, parse_quote,
};

use crate::{
    args::{self, FunctionSettings, Place},
    batch::{self, Batch},
    errors::Errors,
    function::{Function, Role, alias_argument, check_generics, last_segment, result_argument},
    hook::{self, Hooks},
    route::Route,
    router::{Makes, RouterFunction, Serves},
};

/// A parsed item, and its replacement if it has errors.
pub(crate) struct Parsed {
    pub(crate) place: Place,
    /// `None` if an error leaves nothing to expand.
    pub(crate) target: Option<Target>,
    /// The item without the macro's attributes.
    pub(crate) as_written: TokenStream,
}

pub(crate) enum Target {
    Function(Box<Function>),
    /// It stays as it is written.
    Router(Box<RouterFunction>),
    Impl(Box<ImplBlock>),
}

/// An `impl` whose public methods are functions of one worker type.
pub(crate) struct ImplBlock {
    /// The `impl` without these methods.
    pub(crate) rest: ItemImpl,
    pub(crate) type_name: Ident,
    /// `None` if there was an error, which is reported.
    pub(crate) init: Option<Init>,
    pub(crate) hooks: Hooks,
    pub(crate) methods: Vec<Method>,
    /// The method marked `#[http]` or `#[openai]`, with the requests that it gets; it is also in `rest`.
    pub(crate) router: Option<(RouterFunction, Serves)>,
}

/// The constructor marked `#[init]`.
pub(crate) struct Init {
    pub(crate) name: Ident,
    pub(crate) is_async: bool,
    /// Returns `Result<Self>`, not `Self`.
    pub(crate) is_fallible: bool,
    /// Takes the model's directory: the type of that argument.
    pub(crate) model: Option<Type>,
}

pub(crate) struct Method {
    pub(crate) function: Function,
    pub(crate) route: Option<Route>,
    pub(crate) settings: FunctionSettings,
    pub(crate) batched: Option<Batched>,
}

/// A method whose calls run in batches.
pub(crate) struct Batched {
    pub(crate) batch: Batch,
    /// The user's signature: it takes all items of a batch, where callers pass one.
    pub(crate) signature: Signature,
}

pub(crate) fn parse(tokens: TokenStream, errors: &Errors) -> Parsed {
    match syn::parse2(tokens.clone()) {
        Ok(Item::Fn(item)) => parse_function(item, errors),
        Ok(Item::Impl(item)) => parse_impl(item, errors),
        Ok(other) => {
            errors.on(&other, "`#[remote]` goes on a function or on the `impl` block of a type");
            elsewhere(tokens)
        }
        Err(error) => {
            errors.push(error);
            elsewhere(tokens)
        }
    }
}

/// An item with the argument `http` or `openai`.
pub(crate) fn parse_router(tokens: TokenStream, makes: Makes, errors: &Errors) -> Parsed {
    let Ok(Item::Fn(item)) = syn::parse2(tokens.clone()) else { return parse(tokens, errors) };
    let place = Place::Function(item.sig.ident.clone());
    let function = RouterFunction::parse(&item.attrs, &item.sig, Role::Free, makes, errors);
    let as_written = without_receiver(item).to_token_stream();
    Parsed { place, target: function.map(|function| Target::Router(Box::new(function))), as_written }
}

fn elsewhere(as_written: TokenStream) -> Parsed {
    Parsed { place: Place::Elsewhere, target: None, as_written }
}

fn parse_function(mut item: ItemFn, errors: &Errors) -> Parsed {
    for name in ["init", "exit", "health"] {
        if let Some(marker) = take_marker(&mut item.attrs, name) {
            let message = format!(
                "`#[{name}]` goes on a method of an `impl` block with `#[remote]`: only its value has a life"
            );
            errors.on(marker, message);
        }
    }
    let place = Place::Function(item.sig.ident.clone());
    let as_written = without_receiver(item.clone()).to_token_stream();
    let function = Function::parse(item.attrs, item.vis, item.sig, *item.block, Role::Free, errors);
    Parsed { place, target: function.map(|function| Target::Function(Box::new(function))), as_written }
}

/// Removes `self`, because the compiler's error would only repeat ours.
fn without_receiver(mut item: ItemFn) -> ItemFn {
    if item.sig.receiver().is_some() {
        item.sig.inputs = item.sig.inputs.into_iter().skip(1).collect();
        *item.block = parse_quote!({ ::core::unreachable!("a compile error tells what is wrong") });
    }
    item
}

fn parse_impl(mut item: ItemImpl, errors: &Errors) -> Parsed {
    let known = errors.count();
    if let Some((path, _)) = &item.trait_ {
        errors.on(path, "`#[remote]` goes on a type's own `impl` block, not on a trait `impl`");
    }
    check_generics(&item.generics, errors);
    let type_name = last_segment(&item.self_ty).map(|segment| segment.ident.clone());
    if type_name.is_none() {
        errors.on(&item.self_ty, "`#[remote]` goes on the `impl` block of a named type");
    }
    let (Some(type_name), true) = (type_name, errors.count() == known) else {
        strip_markers(&mut item);
        return elsewhere(item.to_token_stream());
    };
    let place = Place::Impl { worker: type_name.unraw().to_string().to_snake_case(), span: type_name.span() };
    let init = parse_inits(&mut item, errors);
    let marked = take_routers(&mut item, errors);
    let whole = item.clone();
    let (mut methods, mut hooks) = (Vec::new(), Hooks::default());
    let mut refused = 0;
    let mut rest = Vec::new();
    for member in std::mem::take(&mut item.items) {
        match member {
            ImplItem::Fn(mut method) if hook::is_hook(&method) => {
                hooks.add(&mut method, errors);
                rest.push(ImplItem::Fn(method));
            }
            ImplItem::Fn(method) if is_remote(&method) && !marked.contains(&method.sig.ident) => {
                match parse_method(method, &whole, errors) {
                    Ok(method) => methods.push(method),
                    Err(as_written) => {
                        refused += 1;
                        rest.push(ImplItem::Fn(*as_written));
                    }
                }
            }
            ImplItem::Fn(mut other) => {
                if let Some(route) = take_marker(&mut other.attrs, "route") {
                    errors.on(route, "only a public method with `&self` can be a route");
                }
                if let Some(job) = take_marker(&mut other.attrs, "job") {
                    errors.on(job, "only a public method with `&self` takes jobs");
                }
                if let Some(batch) = take_marker(&mut other.attrs, "batch") {
                    errors.on(batch, "only a public method with `&self` runs in batches");
                }
                rest.push(ImplItem::Fn(other));
            }
            other => rest.push(other),
        }
    }
    item.items = rest;
    if methods.is_empty() && refused == 0 && marked.is_empty() {
        errors.on(&item.self_ty, "nothing to call: no method is `pub` and takes `&self`");
    }
    check_routes(&methods, errors);
    let router = marked.router;
    if let Some((router, _)) = &router {
        check_beside_router(router, &methods, errors);
    }
    let block = ImplBlock { rest: item, type_name, init, hooks, methods, router };
    Parsed { place, target: Some(Target::Impl(Box::new(block))), as_written: TokenStream::new() }
}

/// Whether it is public with any `self`. Unsupported kinds of `self` are reported when it is parsed.
fn is_remote(method: &ImplItemFn) -> bool {
    !matches!(method.vis, Visibility::Inherited) && method.sig.receiver().is_some()
}

/// Returns the original method if it is invalid.
fn parse_method(
    mut method: ImplItemFn,
    block: &ItemImpl,
    errors: &Errors,
) -> Result<Method, Box<ImplItemFn>> {
    let owner = &*block.self_ty;
    let route = take_marker(&mut method.attrs, "route");
    let job = take_marker(&mut method.attrs, "job");
    let batch = take_marker(&mut method.attrs, "batch");
    let known = errors.count();
    let ImplItemFn { attrs, vis, sig, block: body, .. } = method.clone();
    let batched = match batch {
        None => None,
        Some(attribute) => match batch::parse(&attribute, &sig, block, errors) {
            Some((batch, seen)) => {
                Some((Batched { batch: batch.named_outside(owner), signature: sig.clone() }, seen))
            }
            None => return Err(Box::new(method)),
        },
    };
    let (batched, signature) = batched.map_or((None, sig), |(batched, seen)| (Some(batched), seen));
    let function = Function::parse(attrs, vis, signature, body, Role::Method, errors);
    let route = route.and_then(|attribute| args::parse_route(&attribute, errors));
    let settings = job.map(|attribute| args::parse_job(&attribute, errors)).unwrap_or_default();
    let Some(function) = function else { return Err(Box::new(method)) };
    let function = function.named_outside(owner);
    if errors.count() == known {
        match &route {
            Some(route) => route.check(&function, errors),
            None => function.check_without_route(errors),
        }
    }
    settings.check(&function, route.is_some(), errors);
    Ok(Method { function, route, settings, batched })
}

fn check_routes(methods: &[Method], errors: &Errors) {
    for (index, method) in methods.iter().enumerate() {
        let Some(route) = &method.route else { continue };
        let is_twin =
            |earlier: &&Method| earlier.route.as_ref().is_some_and(|earlier| earlier.is_like(route));
        if let Some(twin) = methods[..index].iter().find(is_twin) {
            let message = format!("`{}` already answers this method and path", twin.function.name);
            errors.on(&route.path, message);
        }
    }
    let routed = methods.iter().find(|method| method.route.is_some());
    let Some(routed) = routed else { return };
    for queued in methods.iter().filter(|method| method.route.is_none()) {
        let message = format!(
            "`{}` is a route and `{}` is not, but a worker type serves either routes or jobs: add \
             `#[route(method = …, path = …)]` here, or move it to another type",
            routed.function.name, queued.function.name,
        );
        errors.on(&queued.function.name, message);
    }
}

/// The methods marked `#[http]` or `#[openai]`: the names of all, and the first if it is valid.
struct Marked {
    names: Vec<Ident>,
    router: Option<(RouterFunction, Serves)>,
}

impl Marked {
    fn contains(&self, name: &Ident) -> bool {
        self.names.contains(name)
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Removes all `#[http]` and `#[openai]` attributes and reads the first.
fn take_routers(item: &mut ItemImpl, errors: &Errors) -> Marked {
    let mut marked = Marked { names: Vec::new(), router: None };
    for member in &mut item.items {
        let ImplItem::Fn(method) = member else { continue };
        for makes in [Makes::Router, Makes::Models] {
            let Some(attribute) = take_marker(&mut method.attrs, makes.name()) else { continue };
            marked.add(makes, method, &attribute, errors);
        }
    }
    marked
}

impl Marked {
    fn add(&mut self, makes: Makes, method: &mut ImplItemFn, attribute: &Attribute, errors: &Errors) {
        if !self.is_empty() {
            let message =
                "only one `#[http]` or `#[openai]` is allowed: merge the routers with `Router::merge`";
            errors.on(attribute, message);
        }
        for marker in ["route", "job"] {
            if let Some(other) = take_marker(&mut method.attrs, marker) {
                let name = makes.name();
                errors.on(&other, format!("a method with `#[{name}]` makes a router: remove `#[{marker}]`"));
            }
        }
        let serves = Serves::marked(makes, attribute, errors);
        let function = RouterFunction::parse(&method.attrs, &method.sig, Role::Method, makes, errors);
        if let (Some(serves), Some(function), true) = (serves, function, self.is_empty()) {
            self.router = Some((function, serves));
        }
        self.names.push(method.sig.ident.clone());
    }
}

/// A worker type with a router takes no jobs.
fn check_beside_router(router: &RouterFunction, methods: &[Method], errors: &Errors) {
    for queued in methods.iter().filter(|method| method.route.is_none()) {
        let message = format!(
            "`{}` makes a router and `{}` is a job, but a worker type serves either HTTP or jobs: add \
             `#[route(method = …, path = …)]` here, or move it to another type",
            router.name, queued.function.name,
        );
        errors.on(&queued.function.name, message);
    }
}

/// Removes all `#[init]` attributes and reads the first.
fn parse_inits(item: &mut ItemImpl, errors: &Errors) -> Option<Init> {
    let mut found = false;
    let mut init = None;
    let owner = item.self_ty.clone();
    for member in &mut item.items {
        let ImplItem::Fn(constructor) = member else { continue };
        let Some(attribute) = take_marker(&mut constructor.attrs, "init") else { continue };
        if found {
            errors.on(&attribute, "only one `#[init]` is allowed: there is another above");
            continue;
        }
        found = true;
        init = parse_init(constructor, &attribute, &owner, errors);
    }
    if !found {
        errors.on(
            &item.self_ty,
            "no `#[init]` found: mark the constructor, as in `#[init] fn load() -> Result<Self>`",
        );
    }
    init
}

fn parse_init(
    constructor: &ImplItemFn,
    attribute: &Attribute,
    owner: &Type,
    errors: &Errors,
) -> Option<Init> {
    let known = errors.count();
    if let Err(error) = attribute.meta.require_path_only() {
        errors.push(error);
    }
    let signature = &constructor.sig;
    check_generics(&signature.generics, errors);
    let model = match signature.inputs.iter().collect::<Vec<_>>().as_slice() {
        [] => None,
        [FnArg::Typed(argument)] if is_model_dir(&argument.ty) => Some((*argument.ty).clone()),
        _ => {
            let message = "`#[init]` takes no arguments, or the directory of the model, `model: ModelDir`: a \
                           starting worker has nothing else to pass";
            errors.on(&signature.inputs, message);
            None
        }
    };
    let owner = owner.to_token_stream().to_string();
    let is_owner =
        |ty: &Type| matches!(ty.to_token_stream().to_string(), text if text == owner || text == "Self");
    let is_fallible = match &signature.output {
        ReturnType::Type(_, ty) if is_owner(ty) => false,
        ReturnType::Type(_, ty)
            if result_argument(ty).or_else(|| alias_argument(ty)).as_ref().is_some_and(is_owner) =>
        {
            true
        }
        ReturnType::Type(_, ty) => {
            errors.on(ty, "`#[init]` returns `Self` or `Result<Self>`");
            return None;
        }
        ReturnType::Default => {
            errors.on(&signature.ident, "`#[init]` returns `Self` or `Result<Self>`");
            return None;
        }
    };
    let init =
        Init { name: signature.ident.clone(), is_async: signature.asyncness.is_some(), is_fallible, model };
    (errors.count() == known).then_some(init)
}

/// Whether a type is named `ModelDir`.
fn is_model_dir(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "ModelDir"))
}

fn take_marker(attributes: &mut Vec<Attribute>, name: &str) -> Option<Attribute> {
    let at = attributes.iter().position(|attribute| attribute.path().is_ident(name))?;
    Some(attributes.remove(at))
}

/// The attributes that only this macro understands.
const MARKERS: [&str; 8] = ["init", "route", "job", "batch", "http", "openai", "exit", "health"];

/// Removes [`MARKERS`].
fn strip_markers(item: &mut ItemImpl) {
    for member in &mut item.items {
        if let ImplItem::Fn(method) = member {
            method.attrs.retain(|attribute| !MARKERS.iter().any(|marker| attribute.path().is_ident(marker)));
        }
    }
}

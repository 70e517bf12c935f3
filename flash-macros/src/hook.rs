//! `#[exit]` and `#[health]`: methods that the worker itself calls.
use proc_macro2::Ident;
use syn::{
    Attribute, ImplItemFn, LitInt, ReturnType, Token, Type,
    parse::{ParseStream, Parser as _},
    spanned::Spanned as _,
};

use crate::{
    errors::Errors,
    function::{check_generics, may_be_alias, result_argument},
};

/// The attributes of such methods.
pub(crate) const MARKERS: [&str; 2] = ["exit", "health"];

/// Seconds between two checks, unless the attribute sets them.
const DEFAULT_EVERY: u64 = 5;
const EVERY: std::ops::RangeInclusive<u64> = 1..=3600;

/// The hooks of an `impl`.
#[derive(Default)]
pub(crate) struct Hooks {
    /// Runs once when a worker stops.
    pub(crate) exit: Option<Hook>,
    /// Is asked again and again whether the worker is healthy.
    pub(crate) health: Option<HealthHook>,
}

/// One such method. It stays in the block as it is.
pub(crate) struct Hook {
    pub(crate) name: Ident,
    pub(crate) is_async: bool,
    /// Returns a `Result`, not nothing.
    pub(crate) is_fallible: bool,
}

pub(crate) struct HealthHook {
    pub(crate) hook: Hook,
    /// Seconds between two checks.
    pub(crate) every: u64,
}

/// Whether a method has one of the attributes.
pub(crate) fn is_hook(method: &ImplItemFn) -> bool {
    method.attrs.iter().any(|attribute| MARKERS.iter().any(|marker| attribute.path().is_ident(marker)))
}

impl Hooks {
    /// Adds a method that [`is_hook`], and removes its attributes.
    pub(crate) fn add(&mut self, method: &mut ImplItemFn, errors: &Errors) {
        let (markers, others) = std::mem::take(&mut method.attrs)
            .into_iter()
            .partition::<Vec<_>, _>(|attribute| MARKERS.iter().any(|known| attribute.path().is_ident(known)));
        method.attrs = others;
        if let Some(other) = method
            .attrs
            .iter()
            .find(|other| ["init", "route", "job"].iter().any(|name| other.path().is_ident(name)))
        {
            errors.on(other, "the worker itself calls this method, so it has no other role");
        }
        method.attrs.retain(|other| !["route", "job"].iter().any(|name| other.path().is_ident(name)));
        let [marker] = markers.as_slice() else {
            errors.on(&markers[1], "`#[exit]` and `#[health]` go on two methods, each once");
            return;
        };
        match marker.path().is_ident("exit") {
            true => self.add_exit(marker, method, errors),
            false => self.add_health(marker, method, errors),
        }
    }

    fn add_exit(&mut self, marker: &Attribute, method: &ImplItemFn, errors: &Errors) {
        if self.exit.is_some() {
            errors.on(marker, "only one `#[exit]` is allowed: there is another above");
            return;
        }
        if let Err(error) = marker.meta.require_path_only() {
            errors.push(error);
        }
        self.exit = parse_hook(method, "exit", errors);
    }

    fn add_health(&mut self, marker: &Attribute, method: &ImplItemFn, errors: &Errors) {
        if self.health.is_some() {
            errors.on(marker, "only one `#[health]` is allowed: there is another above");
            return;
        }
        let every = parse_every(marker, errors);
        let hook = parse_hook(method, "health", errors);
        if let Some(hook) = &hook
            && !hook.is_fallible
        {
            errors.on(&hook.name, "`#[health]` returns `Result<()>`: the error says what is wrong");
            return;
        }
        self.health = hook.zip(every).map(|(hook, every)| HealthHook { hook, every });
    }
}

fn parse_hook(method: &ImplItemFn, marker: &str, errors: &Errors) -> Option<Hook> {
    let known = errors.count();
    let signature = &method.sig;
    check_generics(&signature.generics, errors);
    let takes_self = signature
        .receiver()
        .is_some_and(|receiver| matches!(&receiver.kind, syn::ReceiverKind::Reference(_, None, None)));
    if !takes_self || signature.inputs.len() > 1 {
        let message = format!("`#[{marker}]` goes on a method with `&self` and no arguments");
        errors.at(signature.inputs.span().located_at(signature.ident.span()), message);
    }
    let is_fallible = match &signature.output {
        ReturnType::Default => false,
        ReturnType::Type(_, ty) if is_unit_result(ty) => true,
        ReturnType::Type(_, ty) => {
            let message = match marker {
                "exit" => "`#[exit]` returns nothing or `Result<()>`",
                _ => "`#[health]` returns `Result<()>`: the error says what is wrong",
            };
            errors.on(ty, message);
            return None;
        }
    };
    let hook = Hook { name: signature.ident.clone(), is_async: signature.asyncness.is_some(), is_fallible };
    (errors.count() == known).then_some(hook)
}

/// `Result<()>`, or what may be an alias of it.
fn is_unit_result(ty: &Type) -> bool {
    match result_argument(ty) {
        Some(Type::Tuple(unit)) => unit.elems.is_empty(),
        Some(_) => false,
        None => may_be_alias(ty),
    }
}

/// The seconds of `#[health(every = 2)]`.
fn parse_every(marker: &Attribute, errors: &Errors) -> Option<u64> {
    let tokens = match &marker.meta {
        syn::Meta::Path(_) => return Some(DEFAULT_EVERY),
        syn::Meta::List(list) => list.tokens.clone(),
        syn::Meta::NameValue(_) => {
            errors.on(marker, "write the seconds between two checks as `#[health(every = 5)]`");
            return None;
        }
    };
    let parser = |input: ParseStream<'_>| {
        let name: Ident = input.parse()?;
        if name != "every" {
            return Err(syn::Error::new(name.span(), "`#[health]` has one setting: `every = SECONDS`"));
        }
        input.parse::<Token![=]>()?;
        let seconds: LitInt = input.parse()?;
        match seconds.base10_parse::<u64>() {
            Ok(every) if EVERY.contains(&every) => Ok(every),
            _ => Err(syn::Error::new(seconds.span(), "expected 1 to 3600 seconds between two checks")),
        }
    };
    parser.parse2(tokens).map_err(|error| errors.push(error)).ok()
}

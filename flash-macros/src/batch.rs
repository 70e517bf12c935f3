//! `#[batch]` on a method: calls of one item each, which workers gather and run together.
//!
//! It reads the attribute and the two signatures that matter: that of the method, which takes all items of a batch, and
//! that of `prepare`, which makes one item from what a caller passes.
use proc_macro2::Span;
use syn::{
    Attribute, Expr, ExprLit, ExprPath, FnArg, GenericArgument, Ident, ImplItem, ItemImpl, Lit, Meta,
    PathArguments, ReturnType, Signature, Token, Type, Visibility, parse_quote, punctuated::Punctuated,
    spanned::Spanned as _,
};

use crate::{
    errors::Errors,
    function::{alias_argument, last_segment, result_argument, without_self},
};

/// A method whose calls run in batches.
pub(crate) struct Batch {
    /// What the method takes a `Vec` of.
    pub(crate) item: Type,
    /// Whether the method itself is `async`.
    pub(crate) is_async: bool,
    pub(crate) limits: Limits,
    /// Computes the cost of an item; without it, each costs 1.
    pub(crate) cost: Option<Expr>,
    pub(crate) prepare: Option<Prepare>,
}

impl Batch {
    /// With types that have the same meaning outside the `impl` of `owner`.
    pub(crate) fn named_outside(mut self, owner: &Type) -> Self {
        self.item = without_self(self.item, owner);
        self
    }
}

/// As `flash_sdk::__private::BatchLimits`.
pub(crate) struct Limits {
    pub(crate) max: u32,
    pub(crate) budget: Option<u64>,
    pub(crate) padded: bool,
    pub(crate) wait_ms: u32,
    /// Whether items have a cost of their own.
    pub(crate) weighed: bool,
}

/// The method that makes an item from a caller's arguments.
pub(crate) struct Prepare {
    pub(crate) name: Ident,
    pub(crate) is_async: bool,
    /// Returns `Result<Item>`, not the item.
    pub(crate) is_fallible: bool,
}

/// The attribute as written.
struct Written {
    max: Option<u32>,
    budget: Option<u64>,
    budget_span: Option<Span>,
    padded: Option<Span>,
    wait_ms: Option<u32>,
    cost: Option<Expr>,
    prepare: Option<ExprPath>,
}

/// `flash_sdk::ResourceConfig` allows 10,000 jobs on a worker, and a worker gathers the next batch while one runs.
const MAX: u64 = 5_000;
const MAX_WAIT_MS: u64 = 60_000;

/// Reads `#[batch(…)]`. Returns the batch, and the signature that callers see: the arguments of one call, and its
/// result.
pub(crate) fn parse(
    attribute: &Attribute,
    signature: &Signature,
    block: &ItemImpl,
    errors: &Errors,
) -> Option<(Batch, Signature)> {
    let known = errors.count();
    let written = parse_attribute(attribute, errors);
    let item = items_of(signature, errors);
    let output = results_of(signature, errors);
    let Written { max, budget, budget_span, padded, wait_ms, cost, prepare } = written?;
    if max.is_none() && errors.count() == known {
        errors.on(attribute, "a batch needs a maximum: `#[batch(max = 32)]`");
    }
    if let (Some(span), None) = (budget_span, &cost) {
        errors.at(
            span,
            "`budget` is the cost of a batch: say what an item costs beside it, as in `cost = Tokens::len`",
        );
    }
    if let (Some(span), None) = (padded, budget) {
        errors.at(span, "`padded` says how `budget` is counted: set `budget = 4096` beside it, or remove it");
    }
    let (item, output) = (item?, output?);
    let prepared = match prepare {
        Some(path) => Some(find_prepare(&path, block, errors)?),
        None => None,
    };
    let mut seen = signature.clone();
    seen.asyncness = Some(Token![async](signature.span()));
    seen.output = parse_quote!(-> #output);
    let arguments: Vec<FnArg> = match &prepared {
        Some((_, arguments)) => arguments.clone(),
        None => vec![parse_quote!(item: #item)],
    };
    seen.inputs = std::iter::once(signature.receiver().map(|own| FnArg::Receiver(own.clone()))?)
        .chain(arguments)
        .collect();
    if errors.count() > known {
        return None;
    }
    let limits = Limits {
        max: max?,
        budget,
        padded: padded.is_some(),
        wait_ms: wait_ms.unwrap_or(0),
        weighed: cost.is_some(),
    };
    let prepare = prepared.map(|(prepare, _)| prepare);
    Some((Batch { item, is_async: signature.asyncness.is_some(), limits, cost, prepare }, seen))
}

fn parse_attribute(attribute: &Attribute, errors: &Errors) -> Option<Written> {
    const KEYS: &str = "`max`, `budget`, `cost`, `padded`, `prepare` and `wait_ms`";
    let settings = match &attribute.meta {
        Meta::Path(_) => Punctuated::new(),
        _ => match attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) {
            Ok(settings) => settings,
            Err(error) => {
                errors.push(error);
                return None;
            }
        },
    };
    let mut written = Written {
        max: None,
        budget: None,
        budget_span: None,
        padded: None,
        wait_ms: None,
        cost: None,
        prepare: None,
    };
    let mut seen = Vec::new();
    for setting in settings {
        let Some(name) = setting.path().get_ident().cloned() else {
            errors.on(&setting, format!("a batch has the settings {KEYS}"));
            continue;
        };
        if seen.contains(&name) {
            errors.on(&name, format!("`{name}` is set twice"));
            continue;
        }
        match (name.to_string().as_str(), &setting) {
            ("padded", Meta::Path(_)) => written.padded = Some(name.span()),
            ("padded", _) => errors.on(&setting, "`padded` has no value: write it alone"),
            ("max", Meta::NameValue(pair)) => {
                written.max =
                    number(&name, &pair.value, 1, MAX, errors).and_then(|max| u32::try_from(max).ok());
            }
            ("budget", Meta::NameValue(pair)) => {
                written.budget_span = Some(name.span());
                written.budget = number(&name, &pair.value, 1, u64::MAX, errors);
            }
            ("wait_ms", Meta::NameValue(pair)) => {
                let wait = number(&name, &pair.value, 0, MAX_WAIT_MS, errors);
                written.wait_ms = wait.and_then(|wait| u32::try_from(wait).ok());
            }
            ("cost", Meta::NameValue(pair)) => written.cost = Some(pair.value.clone()),
            ("prepare", Meta::NameValue(pair)) => match &pair.value {
                Expr::Path(path) => written.prepare = Some(path.clone()),
                other => {
                    errors.on(other, "`prepare` names a method of this `impl`: `prepare = Self::tokenize`")
                }
            },
            ("max" | "budget" | "wait_ms" | "cost" | "prepare", _) => {
                errors.on(&setting, format!("`{name}` needs a value, as in `#[batch(max = 32)]`"));
            }
            _ => errors.on(&name, format!("unknown setting `{name}`: a batch has {KEYS}")),
        }
        seen.push(name);
    }
    Some(written)
}

fn number(name: &Ident, value: &Expr, min: u64, max: u64, errors: &Errors) -> Option<u64> {
    let number = match value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse::<u64>().ok(),
        _ => None,
    };
    let number = number.filter(|number| (min..=max).contains(number));
    if number.is_none() {
        let limits = if max == u64::MAX { format!("{min} or more") } else { format!("{min} to {max}") };
        errors.on(value, format!("`{name}` must be a literal number, {limits}"));
    }
    number
}

/// The `I` of the method's only argument, a `Vec<I>`.
fn items_of(signature: &Signature, errors: &Errors) -> Option<Type> {
    let mut typed = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    let item = match (typed.next(), typed.next()) {
        (Some(argument), None) => element(&argument.ty),
        _ => None,
    };
    if item.is_none() {
        let message = "a batch takes all of its items as one `Vec`: `fn embed(&self, items: Vec<Tokens>) -> \
                       Vec<Result<Vector>>`";
        errors.on(&signature.inputs, message);
    }
    item
}

/// The `Result<T>` of the method's result, a `Vec<Result<T>>`.
fn results_of(signature: &Signature, errors: &Errors) -> Option<Type> {
    let returned = match &signature.output {
        ReturnType::Type(_, ty) => Some(&**ty),
        ReturnType::Default => None,
    };
    let output = returned
        .and_then(element)
        .filter(|one| result_argument(one).or_else(|| alias_argument(one)).is_some());
    if output.is_none() {
        let message = "a batch returns a result for each item, in the same order: `Vec<Result<Vector>>`";
        match returned {
            Some(returned) => errors.on(returned, message),
            None => errors.on(&signature.ident, message),
        }
    }
    output
}

/// The `T` of `Vec<T>`.
fn element(ty: &Type) -> Option<Type> {
    let list = last_segment(ty).filter(|segment| segment.ident == "Vec")?;
    let PathArguments::AngleBracketed(arguments) = &list.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

/// The method that a path such as `Self::tokenize` names, and its arguments.
fn find_prepare(path: &ExprPath, block: &ItemImpl, errors: &Errors) -> Option<(Prepare, Vec<FnArg>)> {
    let name = path.path.segments.last().map(|segment| segment.ident.clone())?;
    let found = block.items.iter().find_map(|item| match item {
        ImplItem::Fn(method) if method.sig.ident == name => Some(method),
        _ => None,
    });
    let Some(method) = found else {
        errors.on(path, format!("this `impl` block has no method `{name}`: write it here, beside the batch"));
        return None;
    };
    if method.sig.receiver().is_none() {
        errors.on(&method.sig.ident, "`prepare` takes `&self` and the arguments of one call");
        return None;
    }
    if !matches!(method.vis, Visibility::Inherited) {
        errors.on(
            &method.vis,
            format!("`{name}` prepares the calls of a batch and must be private: a public method is a function of its own"),
        );
        return None;
    }
    let ReturnType::Type(_, returned) = &method.sig.output else {
        errors.on(&method.sig.ident, "`prepare` returns the item that the batch takes, or a `Result` of it");
        return None;
    };
    let is_fallible = result_argument(returned).or_else(|| alias_argument(returned)).is_some();
    let arguments =
        method.sig.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_))).cloned().collect();
    let prepare = Prepare { name, is_async: method.sig.asyncness.is_some(), is_fallible };
    Some((prepare, arguments))
}

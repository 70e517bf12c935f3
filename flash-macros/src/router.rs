//! A function that makes a router (`http`): its signature, checked. It stays as it is written; only its registration is
//! added.
use syn::{
    Attribute, Expr, FnArg, Ident, LitStr, Meta, ReceiverKind, ReturnType, Signature, Type,
    spanned::Spanned as _,
};

use crate::{
    errors::Errors,
    function::{
        Role, alias_argument, check_generics, check_qualifiers, doc_lines, last_segment, result_argument,
    },
    route::parse_prefix,
};

/// A function that makes a router.
pub(crate) struct RouterFunction {
    pub(crate) name: Ident,
    pub(crate) docs: Vec<Expr>,
    pub(crate) cfg: Vec<Attribute>,
    pub(crate) is_async: bool,
    pub(crate) returned: Returned,
    pub(crate) returned_type: Type,
}

/// What it returns, as far as the tokens say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returned {
    Router,
    /// `Result<Router, E>`.
    Result,
    /// A possible alias of `Result`.
    Alias,
}

const FORM: &str = "an `http` function returns `axum::Router`, or a `Result` of it";

impl RouterFunction {
    /// `None` if there is any error; all are reported.
    pub(crate) fn parse(
        attributes: &[Attribute],
        signature: &Signature,
        role: Role,
        errors: &Errors,
    ) -> Option<Self> {
        let known = errors.count();
        check_qualifiers(signature, errors);
        check_generics(&signature.generics, errors);
        check_receiver(signature, role, errors);
        let argument = signature.inputs.iter().find(|input| matches!(input, FnArg::Typed(_)));
        if let Some(argument) = argument {
            errors.on(
                argument,
                "an `http` function takes no arguments: it makes the router when a worker starts, and handlers \
                 get what they need from extractors",
            );
        }
        let returned = parse_returned(signature, errors);
        if errors.count() > known {
            return None;
        }
        let (returned, returned_type) = returned?;
        let is_cfg = |attribute: &&Attribute| attribute.path().is_ident("cfg");
        Some(Self {
            name: signature.ident.clone(),
            docs: doc_lines(attributes),
            cfg: attributes.iter().filter(is_cfg).cloned().collect(),
            is_async: signature.asyncness.is_some(),
            returned,
            returned_type,
        })
    }
}

fn check_receiver(signature: &Signature, role: Role, errors: &Errors) {
    match (role, signature.receiver()) {
        (Role::Free, None) => {}
        (Role::Free, Some(receiver)) => errors.on(
            receiver,
            "a function with `self` belongs in an `impl`: put `#[remote]` on the `impl` block and `#[http]` on \
             this method",
        ),
        (Role::Method, None) => errors.on(
            &signature.ident,
            "an `http` method takes `self: Arc<Self>`, the worker's value: a function without it stands outside \
             the `impl`",
        ),
        (Role::Method, Some(receiver)) => match &receiver.kind {
            ReceiverKind::Reference(_, _, None) => {}
            ReceiverKind::Typed(_, ty) if is_arc_of_self(ty) => {}
            _ => errors.on(receiver, "the worker keeps the value: take `self: Arc<Self>` or `&self`"),
        },
    }
}

fn is_arc_of_self(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|segment| segment.ident == "Arc")
}

fn parse_returned(signature: &Signature, errors: &Errors) -> Option<(Returned, Type)> {
    let ReturnType::Type(_, returned) = &signature.output else {
        errors.on(&signature.ident, format!("{FORM}: add `-> axum::Router`"));
        return None;
    };
    let Some(name) = last_segment(returned) else {
        errors.on(returned, FORM);
        return None;
    };
    let kind = match &**returned {
        _ if name.ident == "Router" => Returned::Router,
        returned if result_argument(returned).is_some() => Returned::Result,
        returned if alias_argument(returned).is_some() => Returned::Alias,
        // Only the compiler knows.
        _ => Returned::Router,
    };
    Some((kind, (**returned).clone()))
}

/// The prefix in `#[http]` or `#[http = "/chat"]` above a method. `Err` if it is malformed, which is reported.
pub(crate) fn parse_marker(attribute: &Attribute, errors: &Errors) -> Result<Option<LitStr>, ()> {
    match &attribute.meta {
        Meta::Path(_) => Ok(None),
        Meta::NameValue(pair) => parse_prefix(&pair.value, errors).map(Some).ok_or(()),
        Meta::List(list) => {
            errors.at(list.span(), "write `#[http]`, or `#[http = \"/chat\"]` for the paths below `/chat`");
            Err(())
        }
    }
}

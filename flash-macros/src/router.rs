//! A function that makes a router (`http`), or the models that have one (`openai`): its signature, checked. It stays as
//! it is written; only its registration is added.
use syn::{
    Attribute, Expr, ExprLit, FnArg, Ident, Lit, LitStr, Meta, ReceiverKind, ReturnType, Signature, Type,
    spanned::Spanned as _,
};

use crate::{
    errors::Errors,
    function::{
        Role, alias_argument, check_generics, check_qualifiers, doc_lines, last_segment, result_argument,
    },
    route::parse_prefix,
};

/// What answers a worker type's requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Makes {
    /// `http`: a router.
    Router,
    /// `openai`: models, which have the routes of OpenAI's API.
    Models,
}

impl Makes {
    /// The setting, and the marker of a method.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Router => "http",
            Self::Models => "openai",
        }
    }

    fn returned(self) -> &'static str {
        match self {
            Self::Router => "axum::Router",
            Self::Models => "flash_sdk::openai::Models",
        }
    }

    fn form(self) -> String {
        format!("an `{}` function returns `{}`, or a `Result` of it", self.name(), self.returned())
    }
}

/// The requests that it gets.
pub(crate) enum Serves {
    /// All that nothing else takes.
    Rest,
    /// This path and those below it.
    Prefix(LitStr),
    /// Those of OpenAI's API for the models with these names; if there are none, for the model of the worker type.
    Models(Vec<LitStr>),
}

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
    /// A router, or models.
    Itself,
    /// A `Result` of it.
    Result,
    /// A possible alias of `Result`.
    Alias,
}

impl RouterFunction {
    /// `None` if there is any error; all are reported.
    pub(crate) fn parse(
        attributes: &[Attribute],
        signature: &Signature,
        role: Role,
        makes: Makes,
        errors: &Errors,
    ) -> Option<Self> {
        let known = errors.count();
        check_qualifiers(signature, errors);
        check_generics(&signature.generics, errors);
        check_receiver(signature, role, makes, errors);
        let argument = signature.inputs.iter().find(|input| matches!(input, FnArg::Typed(_)));
        if let Some(argument) = argument {
            errors.on(
                argument,
                match makes {
                    Makes::Router => {
                        "an `http` function takes no arguments: it makes the router when a worker starts, and \
                         handlers get what they need from extractors"
                    }
                    Makes::Models => {
                        "an `openai` function takes no arguments: it returns the models when a worker starts"
                    }
                },
            );
        }
        let returned = parse_returned(signature, makes, errors);
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

fn check_receiver(signature: &Signature, role: Role, makes: Makes, errors: &Errors) {
    let marker = makes.name();
    match (role, signature.receiver()) {
        (Role::Free, None) => {}
        (Role::Free, Some(receiver)) => errors.on(
            receiver,
            format!(
                "a function with `self` belongs in an `impl`: put `#[remote]` on the `impl` block and `#[{marker}]` \
                 on this method"
            ),
        ),
        (Role::Method, None) => errors.on(
            &signature.ident,
            format!(
                "an `{marker}` method takes `self: Arc<Self>`, the worker's value: a function without it stands \
                 outside the `impl`"
            ),
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

fn parse_returned(signature: &Signature, makes: Makes, errors: &Errors) -> Option<(Returned, Type)> {
    let ReturnType::Type(_, returned) = &signature.output else {
        errors.on(&signature.ident, format!("{}: add `-> {}`", makes.form(), makes.returned()));
        return None;
    };
    let Some(name) = last_segment(returned) else {
        errors.on(returned, makes.form());
        return None;
    };
    let kind = match &**returned {
        _ if name.ident == "Router" || name.ident == "Models" => Returned::Itself,
        returned if result_argument(returned).is_some() => Returned::Result,
        returned if alias_argument(returned).is_some() => Returned::Alias,
        // Only the compiler knows.
        _ => Returned::Itself,
    };
    Some((kind, (**returned).clone()))
}

impl Serves {
    /// What `#[http]`, `#[http = "/chat"]`, `#[openai]` or `#[openai = "name"]` above a method says. `None` if it is malformed, which
    /// is reported.
    pub(crate) fn marked(makes: Makes, attribute: &Attribute, errors: &Errors) -> Option<Self> {
        match (&attribute.meta, makes) {
            (Meta::NameValue(pair), _) => Self::parse(makes, &pair.value, errors),
            (Meta::Path(_), Makes::Router) => Some(Self::Rest),
            (Meta::Path(_), Makes::Models) => Some(Self::Models(Vec::new())),
            (meta, Makes::Router) => {
                let message = "write `#[http]`, or `#[http = \"/chat\"]` for the paths below `/chat`";
                errors.at(meta.span(), message);
                None
            }
            (meta, Makes::Models) => {
                errors.at(meta.span(), "write the model's name, or a list: `#[openai = \"smollm2-135m\"]`");
                None
            }
        }
    }

    /// The value of `http` or `openai`.
    pub(crate) fn parse(makes: Makes, value: &Expr, errors: &Errors) -> Option<Self> {
        match (makes, value) {
            (Makes::Router, Expr::Lit(ExprLit { lit: Lit::Bool(flag), .. })) if flag.value => {
                Some(Self::Rest)
            }
            (Makes::Router, value) => parse_prefix(value, errors).map(Self::Prefix),
            (Makes::Models, Expr::Lit(ExprLit { lit: Lit::Bool(flag), .. })) if flag.value => {
                Some(Self::Models(Vec::new()))
            }
            (Makes::Models, Expr::Array(list)) if !list.elems.is_empty() => {
                let names = list.elems.iter().map(|name| parse_model(name, errors));
                // All are looked at, so that each error is reported.
                names.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Self::Models)
            }
            (Makes::Models, value) => parse_model(value, errors).map(|name| Self::Models(vec![name])),
        }
    }
}

const MAX_MODEL_NAME: usize = 200;

fn parse_model(value: &Expr, errors: &Errors) -> Option<LitStr> {
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = value else {
        errors.on(value, "the name of a model is a string, as clients send it: `openai = \"smollm2-135m\"`");
        return None;
    };
    let name = text.value();
    if name.is_empty() || name.len() > MAX_MODEL_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        errors.on(text, format!("the name of a model is 1 to {MAX_MODEL_NAME} visible ASCII characters"));
        return None;
    }
    Some(text.clone())
}

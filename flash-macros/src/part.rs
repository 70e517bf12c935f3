//! Parts of HTTP: arguments that are a part of the request and no data, and results that are an HTTP answer.
use quote::quote_spanned;
use syn::{GenericArgument, ReturnType, Type, spanned::Spanned as _};

use crate::{
    errors::Errors,
    function::{Argument, Function, Kind, alias_argument, angle_arguments, last_segment, result_argument},
};

/// A part of a request, known by the name of the argument's type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `HeaderMap`
    Headers,
    /// `TypedHeader<H>`, also as an `Option`
    Header,
    /// `Multipart`
    Form,
    /// `http::Request<Bytes>`
    Whole,
}

impl Part {
    fn of(ty: &Type) -> Option<Self> {
        let segment = last_segment(ty)?;
        match segment.ident.to_string().as_str() {
            "HeaderMap" => Some(Self::Headers),
            "TypedHeader" => Some(Self::Header),
            "Option" => Self::of(argument_of(ty)?).filter(|part| *part == Self::Header),
            "Multipart" => Some(Self::Form),
            "Request" if is_of_bytes(ty) => Some(Self::Whole),
            _ => None,
        }
    }

    fn takes_body(self) -> bool {
        matches!(self, Self::Form | Self::Whole)
    }

    /// Why a job has no such part.
    fn refusal(self) -> &'static str {
        match self {
            Self::Headers | Self::Header => {
                "a job has no headers: only a route, with `method` and `path`, can take them"
            }
            Self::Form => "a job has no form: only a route, with `method` and `path`, can take one",
            Self::Whole => "a job is no HTTP request: only a route, with `method` and `path`, can take one",
        }
    }
}

/// The first type argument of a type.
fn argument_of(ty: &Type) -> Option<&Type> {
    angle_arguments(last_segment(ty)?).find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// Whether the type argument is `Bytes`, as in `http::Request<Bytes>` and `http::Response<Bytes>`. Other types of these
/// names are data.
fn is_of_bytes(ty: &Type) -> bool {
    argument_of(ty).and_then(last_segment).is_some_and(|segment| segment.ident == "Bytes")
}

fn is_response(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|segment| segment.ident == "Response") && is_of_bytes(ty)
}

impl Argument {
    /// The part of the request that it is; `None` for data.
    pub(crate) fn part(&self) -> Option<Part> {
        Part::of(&self.ty)
    }

    /// The type that wraps it, if its own has not the traits of an argument.
    pub(crate) fn wrapper(&self) -> Option<proc_macro2::TokenStream> {
        let span = self.ty.span();
        match self.part()? {
            Part::Headers => Some(quote_spanned! {span=> ::flash_sdk::__private::Headers }),
            Part::Whole => Some(quote_spanned! {span=> ::flash_sdk::__private::WholeRequest }),
            Part::Header | Part::Form => None,
        }
    }

    /// The type of a wrapped argument in the tuple of arguments.
    pub(crate) fn wrapped(&self) -> Option<proc_macro2::TokenStream> {
        let (wrapper, body) =
            (self.wrapper()?, argument_of(&self.ty).filter(|_| self.part() == Some(Part::Whole)));
        Some(match body {
            Some(body) => quote_spanned! {self.ty.span()=> #wrapper::<#body> },
            None => wrapper,
        })
    }
}

impl Function {
    /// Whether the result is `http::Response<Bytes>`.
    pub(crate) fn returns_response(&self) -> bool {
        let ReturnType::Type(_, returned) = &self.signature.output else { return false };
        let result = result_argument(returned).or_else(|| alias_argument(returned));
        self.kind != Kind::Stream && result.as_ref().is_some_and(is_response)
    }

    /// Whether an argument or the result is wrapped, so that companions which take values as they are sent have none.
    pub(crate) fn is_wrapped(&self) -> bool {
        self.returns_response() || self.arguments.iter().any(|argument| argument.wrapper().is_some())
    }

    /// Whether it sets status and headers of an HTTP answer.
    pub(crate) fn answers_http(&self) -> bool {
        self.returns_response() || last_segment(&self.output).is_some_and(|segment| segment.ident == "Reply")
    }

    /// Reports what only the function of a route may take and return.
    pub(crate) fn check_without_route(&self, errors: &Errors) {
        for argument in &self.arguments {
            if let Some(part) = argument.part() {
                errors.on(&argument.ty, part.refusal());
            }
        }
        if self.answers_http() {
            let answer = if self.returns_response() { "an `http::Response`" } else { "a `Reply`" };
            errors.on(
                &self.output,
                format!(
                    "a job has no status and headers: only a route, with `method` and `path`, can return {answer}"
                ),
            );
        }
    }

    /// Reports arguments of a route that want the same body. `in_path` are the names of path parameters.
    pub(crate) fn check_body(&self, method: &str, in_path: &[String], errors: &Errors) {
        let has_body = !matches!(method, "GET" | "DELETE");
        let mut whole = None;
        for argument in self.arguments.iter().filter(|argument| argument.part().is_some()) {
            let name = argument.name();
            if in_path.contains(&name) {
                errors.on(
                    &argument.ty,
                    format!("a part of the request is no path parameter: give `{{{name}}}` another name"),
                );
            } else if argument.part() == Some(Part::Form) && !has_body {
                errors.on(
                    &argument.ty,
                    format!("a `{method}` request has no form: the method must be `POST`, `PUT` or `PATCH`"),
                );
            } else if argument.part().is_some_and(Part::takes_body) && whole.replace(argument).is_some() {
                errors.on(&argument.ty, "another argument takes the body already: remove one of them");
            }
        }
        let Some(part) = whole.and_then(Argument::part).filter(|_| has_body) else { return };
        for data in self.arguments.iter().filter(|argument| argument.part().is_none()) {
            let name = data.name();
            if in_path.contains(&name) {
                continue;
            }
            let message = match part {
                Part::Form => format!(
                    "the form is the whole body: make `{name}` a field of the form, or put `{{{name}}}` into the path"
                ),
                _ => format!(
                    "the request has the whole body: read `{name}` from it, or put `{{{name}}}` into the path"
                ),
            };
            errors.on(&data.ty, message);
        }
    }
}

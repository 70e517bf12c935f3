//! Routes: checks method and path, and that path parameters are arguments of the function.
use flash_text::similar_names;
use proc_macro2::Ident;
use syn::{Expr, ExprLit, Lit, LitStr, ext::IdentExt as _, parse::Parser as _};

use crate::{
    errors::Errors,
    function::{Function, Kind},
};

/// A valid method and path.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: LitStr,
    /// The key, for errors, and how many events are kept for a client that reconnects.
    pub(crate) replay: Option<(Ident, u32)>,
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Paths that workers and the platform answer.
const RESERVED: [&str; 6] = ["/ping", "/execute", "/docs", "/openapi.json", "/v2", "/_flash"];

impl Route {
    pub(crate) fn parse(method: &Expr, path: &Expr, errors: &Errors) -> Option<Self> {
        let method = parse_method(method, errors);
        let path = parse_path(path, errors);
        Some(Self { method: method?, path: path?, replay: None })
    }

    /// Names of the path's parameters.
    fn parameters(&self) -> Vec<String> {
        let path = self.path.value();
        path.split('/').filter_map(parameter).map(str::to_owned).collect()
    }

    /// Whether both would answer the same requests.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let shape = |route: &Self| {
            let path = route.path.value();
            path.split('/')
                .map(|segment| parameter(segment).map_or(segment, |_| "{}"))
                .collect::<Vec<_>>()
                .join("/")
        };
        self.method == other.method && shape(self) == shape(other)
    }

    /// Checks that each parameter is an argument that is not optional, and that only events are kept.
    pub(crate) fn check(&self, function: &Function, errors: &Errors) {
        if let Some((key, _)) = &self.replay
            && function.kind != Kind::Stream
        {
            errors.on(
                key,
                "`replay` keeps events, and this route has one answer: remove it, or return a stream",
            );
        }
        function.check_body(self.method, &self.parameters(), errors);
        let names: Vec<_> = function.arguments.iter().map(|argument| argument.name()).collect();
        for parameter in self.parameters() {
            let Some(at) = names.iter().position(|name| *name == parameter) else {
                let hint = match similar_names(&parameter, names.iter().map(String::as_str)).first() {
                    Some(near) => format!(": did you mean `{{{near}}}`?"),
                    None => format!(": add `{parameter}: …` to `{}`", function.name),
                };
                let message = format!("path parameter `{{{parameter}}}` has no argument `{parameter}`{hint}");
                errors.on(&self.path, message);
                continue;
            };
            let argument = &function.arguments[at];
            if argument.is_option() {
                errors.on(
                    &argument.ty,
                    format!("a path parameter is always present: `{parameter}` needs no `Option`"),
                );
            }
        }
    }
}

/// The name in `{name}`.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn parse_method(value: &Expr, errors: &Errors) -> Option<&'static str> {
    let written = match value {
        Expr::Path(path) => path.path.get_ident().map(Ident::to_string),
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            errors.on(text, format!("write the method as a bare name: `{}`", text.value().to_uppercase()));
            return None;
        }
        _ => None,
    };
    let written = written.unwrap_or_default();
    if let Some(method) = METHODS.into_iter().find(|method| *method == written) {
        return Some(method);
    }
    let message = match METHODS.into_iter().find(|method| method.eq_ignore_ascii_case(&written)) {
        Some(method) => format!("write the method in upper case: `{method}`"),
        None => format!("the method must be one of `{}`", METHODS.join("`, `")),
    };
    errors.on(value, message);
    None
}

fn parse_path(value: &Expr, errors: &Errors) -> Option<LitStr> {
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = value else {
        errors.on(value, "the path must be a string: `path = \"/classify\"`");
        return None;
    };
    match path_mistake(&text.value()) {
        None => Some(text.clone()),
        Some(mistake) => {
            errors.on(text, mistake);
            None
        }
    }
}

/// The prefix of a router: a path without parameters.
pub(crate) fn parse_prefix(value: &Expr, errors: &Errors) -> Option<LitStr> {
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = value else {
        errors.on(value, "the prefix must be a string: `http = \"/chat\"`, or `http` alone for all paths");
        return None;
    };
    let mistake = match text.value().as_str() {
        "/" | "" => Some("for all paths that nothing else takes, write `http` alone".to_owned()),
        path if path.contains(['{', '}']) => {
            Some("a prefix has no parameters: the router has them in its own paths".to_owned())
        }
        path => path_mistake(path),
    };
    match mistake {
        None => Some(text.clone()),
        Some(mistake) => {
            errors.on(text, mistake);
            None
        }
    }
}

fn path_mistake(path: &str) -> Option<String> {
    let Some(below_root) = path.strip_prefix('/') else {
        return Some(format!("the path must start with `/`: `\"/{path}\"`"));
    };
    if RESERVED.contains(&path) || path.starts_with("/v2/") || path.starts_with("/_flash/") {
        return Some(format!("`{path}` is reserved for workers and the platform: choose another path"));
    }
    if let Some(wrong) = path.chars().find(|char| matches!(char, '?' | '#') || char.is_whitespace()) {
        return Some(format!(
            "the path cannot contain {wrong:?}: arguments that it does not name come from the query or the body"
        ));
    }
    let mut parameters = Vec::new();
    for (index, segment) in below_root.split('/').enumerate() {
        if segment.is_empty() && !(index == 0 && below_root.is_empty()) {
            return Some("the path has an empty segment: remove the `//` or the final `/`".to_owned());
        }
        if segment.starts_with([':', '*']) {
            return Some(format!("a path parameter is written `{{{}}}`", &segment[1..]));
        }
        match parameter(segment) {
            Some(name) if Ident::parse_any.parse_str(name).is_err() => {
                return Some(format!(
                    "`{segment}` is not a path parameter: put the name of an argument between the braces"
                ));
            }
            Some(name) if parameters.contains(&name) => {
                return Some(format!("path parameter `{segment}` appears twice"));
            }
            Some(name) => parameters.push(name),
            None if segment.contains(['{', '}']) => {
                return Some(format!(
                    "`{segment}` is malformed: a path parameter is a whole segment, `/{{name}}/`"
                ));
            }
            None => {}
        }
    }
    None
}

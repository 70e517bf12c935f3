//! Checks the signature of a function or method and splits it into the parts that expansion needs.
use quote::quote_spanned;
use syn::{
    Attribute, Block, Expr, ExprLit, FnArg, GenericArgument, Generics, Ident, Lifetime, Lit, LitStr, Meta,
    Pat, PatType, PathArguments, PathSegment, ReceiverKind, ReturnType, Safety, Signature, Type,
    TypeImplTrait, TypeParamBound, TypeReference, Visibility,
    ext::IdentExt as _,
    parse_quote,
    spanned::Spanned as _,
    visit_mut::{self, VisitMut},
};

use crate::errors::Errors;

/// A function that can be called from other processes.
pub(crate) struct Function {
    pub(crate) name: Ident,
    pub(crate) visibility: Visibility,
    /// The lines of its doc comment. A line that is not a literal, such as `include_str!(…)`, counts as one line.
    pub(crate) docs: Vec<Expr>,
    pub(crate) attributes: Attributes,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) kind: Kind,
    /// The `T` of `Result<T>`, or of each chunk of a stream.
    pub(crate) output: Type,
    /// Whether it returns an alias of `Result`, which only the compiler can resolve.
    pub(crate) is_alias: bool,
    /// The user's signature and body.
    pub(crate) signature: Signature,
    pub(crate) body: Block,
}

/// A function's attributes, by where they are emitted.
#[derive(Default)]
pub(crate) struct Attributes {
    /// On everything generated for the function.
    pub(crate) cfg: Vec<Attribute>,
    /// On public items: docs, deprecation, lint levels.
    pub(crate) public: Vec<Attribute>,
    /// On the user's function: lint levels, and attributes that transform code, such as `#[instrument]`.
    pub(crate) own: Vec<Attribute>,
}

#[derive(Clone)]
pub(crate) struct Argument {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
}

/// How a function's body runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Async,
    /// On the blocking pool.
    Blocking,
    Stream,
}

/// What a function is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Free,
    Method,
}

/// `flash_sdk` implements `Args` for tuples up to this size.
const MAX_ARGUMENTS: usize = 8;

impl Function {
    /// `None` if there is any error; all are reported.
    pub(crate) fn parse(
        attributes: Vec<Attribute>,
        visibility: Visibility,
        signature: Signature,
        body: Block,
        role: Role,
        errors: &Errors,
    ) -> Option<Self> {
        let known = errors.count();
        check_qualifiers(&signature, errors);
        check_generics(&signature.generics, errors);
        check_receiver(&signature, role, errors);
        let arguments = parse_arguments(&signature, errors);
        let output = parse_output(&signature, errors);
        if errors.count() > known {
            return None;
        }
        let Output { kind, ty: output, is_alias } = output?;
        Some(Self {
            name: signature.ident.clone(),
            visibility,
            docs: doc_lines(&attributes),
            attributes: Attributes::sort(attributes),
            arguments,
            kind,
            output,
            is_alias,
            signature,
            body,
        })
    }

    /// A method whose types have the same meaning outside the `impl` of `owner`.
    pub(crate) fn named_outside(mut self, owner: &Type) -> Self {
        for argument in &mut self.arguments {
            argument.ty = without_self(argument.ty.clone(), owner);
        }
        self.output = without_self(self.output, owner);
        self
    }
}

impl Argument {
    /// Its name in JSON, in a query and in a path.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    pub(crate) fn is_option(&self) -> bool {
        last_segment(&self.ty).is_some_and(|segment| segment.ident == "Option")
    }
}

impl Attributes {
    fn sort(attributes: Vec<Attribute>) -> Self {
        let mut sorted = Self::default();
        for attribute in attributes {
            let name = attribute.path().get_ident().map(Ident::to_string);
            match name.as_deref() {
                Some("cfg") => sorted.cfg.push(attribute),
                Some("doc" | "deprecated" | "must_use") => sorted.public.push(attribute),
                Some("expect") => {
                    // The expected lint occurs once, in the body; other items must only not warn.
                    sorted.public.push(allow_of(attribute.clone()));
                    sorted.own.push(attribute);
                }
                Some("allow" | "warn" | "deny" | "forbid" | "cfg_attr") => {
                    sorted.public.push(attribute.clone());
                    sorted.own.push(attribute);
                }
                _ => sorted.own.push(attribute),
            }
        }
        sorted
    }
}

/// `#[expect(…)]` as `#[allow(…)]`.
fn allow_of(mut expect: Attribute) -> Attribute {
    if let Meta::List(list) = &mut expect.meta
        && let Some(segment) = list.path.segments.last_mut()
    {
        segment.ident = Ident::new("allow", segment.ident.span());
    }
    expect
}

pub(crate) fn doc_lines(attributes: &[Attribute]) -> Vec<Expr> {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(line) if line.path.is_ident("doc") => Some(line.value.clone()),
        _ => None,
    });
    lines.map(without_indent).collect()
}

/// `/// text` arrives as `" text"`.
fn without_indent(line: Expr) -> Expr {
    match line {
        Expr::Lit(ExprLit { attrs, lit: Lit::Str(text) }) => {
            let value = text.value();
            let value = value.strip_prefix(' ').unwrap_or(&value);
            Expr::Lit(ExprLit { attrs, lit: Lit::Str(LitStr::new(value, text.span())) })
        }
        computed => computed,
    }
}

pub(crate) fn check_qualifiers(signature: &Signature, errors: &Errors) {
    let cannot = |qualifier: &str| {
        format!("a `#[remote]` function cannot be {qualifier}: it is called across processes")
    };
    if let Some(token) = &signature.constness {
        errors.on(token, cannot("`const`"));
    }
    if let Safety::Unsafe(token) = &signature.safety {
        errors.on(token, cannot("`unsafe`"));
    }
    if let Some(abi) = &signature.abi {
        errors.on(abi, cannot("`extern`"));
    }
    if let Some(variadic) = &signature.variadic {
        errors.on(variadic, cannot("variadic"));
    }
}

/// Also for the `impl` around methods.
pub(crate) fn check_generics(generics: &Generics, errors: &Errors) {
    if !generics.params.is_empty() {
        errors.on(
            &generics.params,
            "a `#[remote]` item cannot be generic: workers are built for concrete types, so write them out",
        );
    } else if let Some(clause) = &generics.where_clause {
        errors
            .on(clause, "a `#[remote]` item cannot have a `where` clause, because it has no type parameters");
    }
}

fn check_receiver(signature: &Signature, role: Role, errors: &Errors) {
    let Some(receiver) = signature.receiver() else { return };
    if role == Role::Free {
        errors.on(
            receiver,
            "a function with `self` belongs in an `impl`: put `#[remote]` on the `impl` block instead",
        );
        return;
    }
    match &receiver.kind {
        ReceiverKind::Reference(_, None, None) => {}
        ReceiverKind::Reference(_, _, Some(_)) => errors.on(
            receiver,
            "a worker runs several calls at once on one value: take `&self`, and put mutable state behind a \
             `Mutex`, `RwLock` or atomic",
        ),
        ReceiverKind::Reference(_, Some(lifetime), None) => errors.on(lifetime, "take plain `&self`"),
        ReceiverKind::Typed(_, ty) if is_shared_self(ty) => {}
        _ => errors.on(
            receiver,
            "the worker keeps the value between calls: take `&self`, or `self: Arc<Self>` to move it into a thread",
        ),
    }
}

/// Whether a receiver is `Arc<Self>`.
fn is_shared_self(ty: &Type) -> bool {
    last_segment(ty).filter(|segment| segment.ident == "Arc").is_some_and(|arc| {
        angle_arguments(arc).any(|argument| {
            matches!(argument, GenericArgument::Type(Type::Path(path)) if path.path.is_ident("Self"))
        })
    })
}

fn parse_arguments(signature: &Signature, errors: &Errors) -> Vec<Argument> {
    let typed = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    for extra in typed.clone().skip(MAX_ARGUMENTS).take(1) {
        errors.on(
            extra,
            format!("a `#[remote]` function takes at most {MAX_ARGUMENTS} arguments: put them into a struct"),
        );
    }
    typed.filter_map(|argument| parse_argument(argument, errors)).collect()
}

fn parse_argument(argument: &PatType, errors: &Errors) -> Option<Argument> {
    check_owned(&argument.ty, errors);
    if let Some(cfg) = argument.attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
        errors.on(
            cfg,
            "an argument of a `#[remote]` function cannot have `#[cfg]`, because callers may be built with \
             another configuration: take an `Option`, or put `#[cfg]` on two functions",
        );
    }
    match &*argument.pat {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
            Some(Argument { ident: pattern.ident.clone(), ty: (*argument.ty).clone() })
        }
        pattern => {
            errors.on(
                pattern,
                "an argument of a `#[remote]` function must be a plain name: callers pass it by that name",
            );
            None
        }
    }
}

/// Reports types that a value from another process cannot have: borrowed or unnamed.
fn check_owned(ty: &Type, errors: &Errors) {
    struct Borrows<'a>(&'a Errors);
    impl VisitMut for Borrows<'_> {
        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            let owned = match peeled(&reference.elem) {
                Type::Path(path) if path.path.is_ident("str") => "`String`",
                Type::Slice(_) => "a `Vec`",
                _ => "the type without `&`",
            };
            self.0.on(
                &*reference,
                format!("values are sent between processes and cannot be borrowed: take {owned}"),
            );
        }

        fn visit_type_impl_trait_mut(&mut self, unnamed: &mut TypeImplTrait) {
            self.0.on(&*unnamed, "workers are built for concrete types: name the type instead of `impl …`");
        }

        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident != "static" {
                self.0.on(&*lifetime, "values are sent between processes and cannot be borrowed");
            }
        }
    }
    Borrows(errors).visit_type_mut(&mut ty.clone());
}

/// How a function runs and what it returns.
struct Output {
    kind: Kind,
    ty: Type,
    is_alias: bool,
}

fn parse_output(signature: &Signature, errors: &Errors) -> Option<Output> {
    let ReturnType::Type(_, returned) = &signature.output else {
        let message = format!("`{}` must return a `Result`: add `-> Result<()>`", signature.ident);
        errors.on(&signature.ident, message);
        return None;
    };
    let ran = if signature.asyncness.is_some() { Kind::Async } else { Kind::Blocking };
    let output = match peeled(returned) {
        Type::ImplTrait(unnamed) => {
            let ty = parse_stream(unnamed, signature, errors)?;
            Output { kind: Kind::Stream, ty, is_alias: false }
        }
        returned if may_be_alias(returned) => {
            check_owned(returned, errors);
            let value =
                quote_spanned!(returned.span()=> <#returned as ::flash_sdk::__private::Outcome>::Value);
            return Some(Output { kind: ran, ty: parse_quote!(#value), is_alias: true });
        }
        returned => {
            let Some(output) = result_argument(returned) else {
                errors.on(
                    returned,
                    "a `#[remote]` function returns `Result<T>`, or `impl Stream<Item = Result<T>>` to stream",
                );
                return None;
            };
            if let Type::ImplTrait(unnamed) = peeled(&output) {
                errors.on(
                    unnamed,
                    "a streaming function returns `impl Stream<Item = Result<T>>`, not a `Result` of it",
                );
                return None;
            }
            Output { kind: ran, ty: output, is_alias: false }
        }
    };
    check_owned(&output.ty, errors);
    Some(output)
}

/// Generic types that are often returned without a `Result` by mistake.
const NO_RESULTS: [&str; 12] = [
    "Option", "Vec", "VecDeque", "Box", "Arc", "Rc", "Cow", "HashMap", "BTreeMap", "HashSet", "BTreeSet",
    "Json",
];

/// Whether a type may be an alias of `Result`, such as `AppResult<T>` or `std::fmt::Result`.
pub(crate) fn may_be_alias(ty: &Type) -> bool {
    let Some(segment) = last_segment(ty) else { return false };
    let name = segment.ident.unraw().to_string();
    let is_generic = angle_arguments(segment).any(|argument| matches!(argument, GenericArgument::Type(_)));
    let is_qualified = matches!(peeled(ty), Type::Path(path) if path.path.segments.len() > 1);
    match name.as_str() {
        "Result" => !is_generic && is_qualified,
        "Res" | "Fallible" => true,
        name => name.ends_with("Result") || (is_generic && !NO_RESULTS.contains(&name)),
    }
}

/// The first type argument of a possible alias of `Result`.
pub(crate) fn alias_argument(ty: &Type) -> Option<Type> {
    let segment = last_segment(ty).filter(|_| may_be_alias(ty))?;
    angle_arguments(segment).find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

fn parse_stream(unnamed: &TypeImplTrait, signature: &Signature, errors: &Errors) -> Option<Type> {
    if let Some(token) = &signature.asyncness {
        errors.on(token, "a streaming function is a plain `fn`: await inside the stream instead");
    }
    let output = unnamed.bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let stream = bound.path.segments.last().filter(|segment| segment.ident == "Stream")?;
        let item = angle_arguments(stream).find_map(|argument| match argument {
            GenericArgument::AssocType(item) if item.ident == "Item" => Some(&item.ty),
            _ => None,
        });
        result_argument(item?)
    });
    if output.is_none() {
        errors.on(unnamed, "a streaming function returns `impl Stream<Item = Result<T>>`");
    }
    output
}

/// The `T` of a path that ends in `Result<T>` or `Result<T, E>`.
pub(crate) fn result_argument(ty: &Type) -> Option<Type> {
    let result = last_segment(ty).filter(|segment| segment.ident == "Result")?;
    angle_arguments(result).find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

pub(crate) fn angle_arguments(segment: &PathSegment) -> impl Iterator<Item = &GenericArgument> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(list) => Some(&list.args),
        _ => None,
    };
    arguments.into_iter().flatten()
}

pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match peeled(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// Without the invisible group that a `macro_rules!` metavariable adds, and without parentheses.
fn peeled(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            other => return other,
        };
    }
}

/// `Self` becomes the type itself.
pub(crate) fn without_self(mut ty: Type, owner: &Type) -> Type {
    struct Named<'a>(&'a Type);
    impl VisitMut for Named<'_> {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            match ty {
                Type::Path(path) if path.path.is_ident("Self") => *ty = self.0.clone(),
                other => visit_mut::visit_type_mut(self, other),
            }
        }
    }
    Named(owner).visit_type_mut(&mut ty);
    ty
}

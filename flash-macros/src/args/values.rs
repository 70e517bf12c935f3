//! The values of settings: names, numbers and ranges, checked one by one.
use std::{fmt, ops::RangeInclusive};

use quote::ToTokens;
use syn::{Expr, ExprLit, ExprUnary, Ident, Lit, LitInt, LitStr, RangeLimits, UnOp};

use super::written::Entry;
use crate::errors::Errors;

impl Entry {
    fn expected(&self, errors: &Errors, message: impl fmt::Display) {
        errors.on(&self.value, format!("{message}: `{}`", self.key.form()));
    }

    pub(super) fn worker_name(&self, errors: &Errors) -> Option<String> {
        let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &self.value else {
            self.expected(errors, "the name of a worker type must be a string");
            return None;
        };
        let name = text.value();
        if !is_worker_name(&name) {
            errors.on(
                text,
                "the name of a worker type must be a letter, then letters, digits, `_` and `-`, at most 63 \
                 characters",
            );
            return None;
        }
        Some(name)
    }

    /// A list of strings, or one.
    pub(super) fn texts(&self, errors: &Errors) -> Option<Vec<LitStr>> {
        let Expr::Array(list) = &self.value else { return self.text(errors).map(|text| vec![text]) };
        let text = |value: &Expr| match value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.clone()),
            _ => None,
        };
        let texts: Option<Vec<LitStr>> = list.elems.iter().map(text).collect();
        if texts.as_ref().is_none_or(Vec::is_empty) {
            self.expected(errors, format_args!("`{}` must be one or more strings", self.name));
            return None;
        }
        texts
    }

    /// A name or a list of names.
    pub(super) fn variants(&self, errors: &Errors) -> Option<Vec<Ident>> {
        let Expr::Array(list) = &self.value else {
            return Some(vec![self.variant(&self.value, errors)?]);
        };
        if list.elems.is_empty() {
            self.expected(errors, "name at least one");
            return None;
        }
        let known = errors.count();
        let names = list.elems.iter().filter_map(|name| self.variant(name, errors)).collect();
        (errors.count() == known).then_some(names)
    }

    fn variant(&self, value: &Expr, errors: &Errors) -> Option<Ident> {
        if let Expr::Path(path) = value
            && let Some(name) = path.path.get_ident()
        {
            return Some(name.clone());
        }
        let hint = match value {
            Expr::Path(path) => {
                path.path.segments.last().map(|name| format!(": write only `{}`", name.ident))
            }
            _ => None,
        };
        let hint = hint.unwrap_or_else(|| format!(", such as `{}`", self.key.form()));
        errors.on(value, format!("expected a bare name{hint}"));
        None
    }

    pub(super) fn number(&self, range: RangeInclusive<u32>, errors: &Errors) -> Option<u32> {
        let limits = match range.end() {
            &u32::MAX => format!("{} or more", range.start()),
            end => format!("{} to {end}", range.start()),
        };
        let value = match &self.value {
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => int(number),
            Expr::Unary(ExprUnary { op: UnOp::Neg(_), .. }) => None,
            _ => {
                errors.on(
                    &self.value,
                    format!(
                        "`{}` must be a literal number, {limits}: for a computed value, use a constant with \
                         `resource = CONST`",
                        self.name
                    ),
                );
                return None;
            }
        };
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            errors.on(&self.value, format!("`{}` must be {limits}", self.name));
        }
        value
    }

    /// `first..=longest`, in seconds.
    pub(super) fn seconds(&self, limits: RangeInclusive<u32>, errors: &Errors) -> Option<(u32, u32)> {
        let literal = |bound: &Option<Box<Expr>>| match bound.as_deref() {
            Some(Expr::Lit(ExprLit { lit: Lit::Int(number), .. })) => int(number),
            _ => None,
        };
        let message = match &self.value {
            Expr::Range(range) if matches!(range.limits, RangeLimits::HalfOpen(_)) => {
                format!("`..` excludes the end: write `{}`", self.key.form())
            }
            Expr::Range(range) => match (literal(&range.start), literal(&range.end)) {
                (Some(first), Some(longest)) if first > longest => {
                    format!("the first number of `{}` is above the second", self.name)
                }
                (Some(first), Some(longest)) if limits.contains(&first) && limits.contains(&longest) => {
                    return Some((first, longest));
                }
                (Some(_), Some(_)) => {
                    format!("`{}` must be within {} to {} seconds", self.name, limits.start(), limits.end())
                }
                _ => format!("`{}` needs two literal numbers: `{}`", self.name, self.key.form()),
            },
            _ => format!("`{}` needs two numbers of seconds: `{}`", self.name, self.key.form()),
        };
        errors.on(&self.value, message);
        None
    }

    /// The path of a function, or a closure with one argument.
    pub(super) fn predicate(&self, errors: &Errors) -> Option<Expr> {
        match &self.value {
            Expr::Path(_) => Some(self.value.clone()),
            Expr::Closure(closure) if closure.inputs.len() == 1 => Some(self.value.clone()),
            _ => {
                self.expected(
                    errors,
                    "expected a function from `&E` to `bool`, where `E` is the function's error",
                );
                None
            }
        }
    }

    pub(super) fn workers(&self, errors: &Errors) -> Option<(u32, u32)> {
        let refuse = |place: &dyn ToTokens, message: &str| {
            errors.on(place.to_token_stream(), message);
            None
        };
        let literal = |value: &Expr| match value {
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => int(number),
            _ => None,
        };
        let (min, max) = match &self.value {
            Expr::Range(range) => {
                if let RangeLimits::HalfOpen(dots) = &range.limits {
                    return refuse(dots, "`..` excludes the end: write `min..=max`");
                }
                let bound = |bound: &Option<Box<Expr>>| bound.as_deref().and_then(literal);
                match (&range.start, bound(&range.start), bound(&range.end)) {
                    (None, _, Some(max)) => (0, max),
                    (_, Some(min), Some(max)) => (min, max),
                    _ => return refuse(&self.value, "`workers` needs two numbers: `workers = 0..=3`"),
                }
            }
            value => match literal(value) {
                Some(max) => (0, max),
                None => {
                    return refuse(value, "`workers` must be `min..=max` or a maximum: `workers = 0..=3`");
                }
            },
        };
        if max == 0 {
            return refuse(&self.value, "at least one worker must be allowed: set a maximum from 1 to 1000");
        }
        if min > max {
            return refuse(&self.value, "the minimum number of workers is above the maximum");
        }
        if max > 1000 {
            return refuse(&self.value, "at most 1000 workers");
        }
        Some((min, max))
    }
}

fn int(number: &LitInt) -> Option<u32> {
    number.base10_parse().ok()
}

/// The same rule as `flash_sdk::ResourceConfig::new`.
pub(super) fn is_worker_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
}

//! The arguments of an attribute as written: `key = value`, separated by commas, with known keys.
use proc_macro2::{Span, TokenStream};
use syn::{
    Expr, Ident, Token,
    ext::IdentExt as _,
    parse::{ParseStream, Parser as _},
};

use super::{keys::Key, unknown};
use crate::errors::Errors;

/// One `key = value`.
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) name: Ident,
    pub(super) value: Expr,
}

/// The arguments as parsed: known keys, each at most once, with unchecked values.
pub(super) struct Written {
    pub(super) entries: Vec<Entry>,
    /// The span for errors about something missing.
    pub(super) whole: Span,
}

impl Written {
    pub(super) fn parse(tokens: TokenStream, keys: &[Key], whole: Span, errors: &Errors) -> Self {
        let parser = |input: ParseStream<'_>| {
            let mut entries: Vec<Entry> = Vec::new();
            while !input.is_empty() {
                match parse_entry(input, keys, errors) {
                    Ok(Some(entry)) if entries.iter().any(|earlier| earlier.key == entry.key) => {
                        errors.on(&entry.name, format!("`{}` is set twice", entry.name));
                    }
                    Ok(Some(entry)) => entries.push(entry),
                    Ok(None) => {}
                    Err(error) => errors.push(error),
                }
                if !input.is_empty() && !input.peek(Token![,]) {
                    errors.at(input.span(), "expected a comma between settings");
                    skip_to_comma(input)?;
                }
                input.parse::<Option<Token![,]>>()?;
            }
            Ok(entries)
        };
        let entries = parser.parse2(tokens).unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        Self { entries, whole }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// One `key = value`; `None` for an unknown key, which is reported.
fn parse_entry(input: ParseStream<'_>, keys: &[Key], errors: &Errors) -> syn::Result<Option<Entry>> {
    if !input.peek(Ident::peek_any) {
        errors.at(input.span(), "expected a setting, such as `cpu = Cpu3g_2_8`");
        skip_to_comma(input)?;
        return Ok(None);
    }
    let name = Ident::parse_any(input)?;
    let Some(key) = keys.iter().copied().find(|key| name == key.name()) else {
        errors.on(&name, unknown::message(&name, keys));
        skip_to_comma(input)?;
        return Ok(None);
    };
    if key.is_flag() {
        if input.peek(Token![=]) {
            errors.on(&name, format!("`{name}` takes no value: write only `{name}`"));
            skip_to_comma(input)?;
            return Ok(None);
        }
        return Ok(Some(Entry { key, name, value: syn::parse_quote!(true) }));
    }
    let value_follows =
        input.parse::<Option<Token![=]>>()?.is_some() && !input.is_empty() && !input.peek(Token![,]);
    if !value_follows && key.may_stand_alone() {
        let value = syn::parse_quote_spanned!(name.span()=> true);
        return Ok(Some(Entry { key, name, value }));
    }
    if !value_follows {
        errors.on(&name, format!("`{name}` needs a value: `{}`", key.form()));
        skip_to_comma(input)?;
        return Ok(None);
    }
    match input.parse() {
        Ok(value) => Ok(Some(Entry { key, name, value })),
        Err(error) => {
            skip_to_comma(input)?;
            Err(error)
        }
    }
}

fn skip_to_comma(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<proc_macro2::TokenTree>()?;
    }
    Ok(())
}

//! Collects errors, so that one build reports all of them.
//!
//! Each error has the smallest span that shows it. An error does not end the expansion: parsing continues with the
//! rest where it can.
use std::cell::RefCell;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// The errors so far. Shared by reference between the steps, hence the cell.
#[derive(Default)]
pub(crate) struct Errors {
    found: RefCell<Vec<syn::Error>>,
}

impl Errors {
    /// Reports an error at these tokens.
    pub(crate) fn on(&self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// Reports an error at this span.
    pub(crate) fn at(&self, place: Span, message: impl std::fmt::Display) {
        self.push(syn::Error::new(place, message));
    }

    pub(crate) fn push(&self, error: syn::Error) {
        self.found.borrow_mut().push(error);
    }

    /// The number of errors. A step that increased it has failed.
    pub(crate) fn count(&self) -> usize {
        self.found.borrow().len()
    }

    /// One `compile_error!` per error.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.found.into_inner().iter().map(syn::Error::to_compile_error).collect()
    }
}

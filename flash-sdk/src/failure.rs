//! How whatever a function fails with becomes an [`Error`].
//!
//! The macro's code calls `__flash_way` on what [`ways::look`] gives for an error, behind five references. The compiler takes the way whose receiver
//! has the most of them and whose bound the type fulfils, so each way here stands for one kind of error type and the
//! ones above it win. A blanket `From` for all of them cannot be written: `anyhow::Error`, `String` and `Box<dyn Error>`
//! might implement `std::error::Error` one day.
use std::{error::Error as StdError, fmt::Display};

use crate::Error;

/// A `Result` under whatever name.
#[diagnostic::on_unimplemented(
    message = "a `#[remote]` function returns `Result<T>`, or `impl Stream<Item = Result<T>>` to stream",
    label = "not a `Result`"
)]
pub trait Outcome {
    /// Of success.
    type Value;
    /// Of failure.
    type Failure;

    /// Under its own name.
    fn into_result(self) -> Result<Self::Value, Self::Failure>;
}

impl<T, E> Outcome for Result<T, E> {
    type Value = T;
    type Failure = E;

    fn into_result(self) -> Self {
        self
    }
}

/// What a function may fail with when no way was found for its type: always a compile error that says what is missing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a `#[remote]` function",
    label = "implements neither `std::error::Error` nor `Display`",
    note = "return `flash_sdk::Result<T>`, to which `?` converts any `std::error::Error`, or implement `Display` for the type"
)]
pub trait Failure: Into<Error> {}

/// Implemented by nothing: a bound on the `spawn` of what makes no jobs, so that a call of it is a compile error with
/// these words.
#[diagnostic::on_unimplemented(
    message = "a route or stream cannot be spawned, because it does not run as a job",
    label = "cannot be spawned",
    note = "await the call itself, in a separate task if it should run concurrently; `spawn` is for functions \
            without `method` and `path` that return one result"
)]
pub trait MakesJobs<'never> {}

/// A function that is a route.
pub struct ARoute;

/// A function that streams.
pub struct AStream;

/// One trait for each way, and what it leads to.
pub mod ways {
    use std::marker::PhantomData;

    use super::{Display, Error, Failure, StdError};

    /// Whose way is looked for. A type of its own, since a reference to an error may be an error as well.
    pub struct Look<E>(PhantomData<E>);

    /// Looks for the way of this error.
    pub fn look<E>(_: &E) -> Look<E> {
        Look(PhantomData)
    }

    /// Ours, and any `std::error::Error`.
    pub struct ByInto;
    /// `anyhow::Error` and `eyre::Report`, which hold an error and lend it.
    pub struct ByChain;
    /// `Box<dyn Error + Send + Sync>`, which lends it in another shape.
    pub struct ByBox;
    /// `String`, `&str`, and whatever else is only text.
    pub struct ByText;
    /// No way.
    pub struct Nowhere;

    impl ByInto {
        /// The error with its chain.
        pub fn error<E: Into<Error>>(self, error: E) -> Error {
            error.into()
        }
    }

    impl ByChain {
        /// The error with its chain.
        pub fn error<E: AsRef<dyn StdError + 'static>>(self, error: E) -> Error {
            Error::from_chain(error.as_ref())
        }
    }

    impl ByBox {
        /// The error with its chain.
        pub fn error<E: AsRef<dyn StdError + Send + Sync + 'static>>(self, error: E) -> Error {
            Error::from_chain(error.as_ref())
        }
    }

    impl ByText {
        /// The text as the message.
        pub fn error<E: Display>(self, error: E) -> Error {
            Error::handler(error.to_string())
        }
    }

    impl Nowhere {
        /// Refused by the compiler.
        pub fn error<E: Failure>(self, error: E) -> Error {
            error.into()
        }
    }

    /// First.
    pub trait IntoWay {
        /// By `Into`.
        fn __flash_way(&self) -> ByInto {
            ByInto
        }
    }
    impl<E: Into<Error>> IntoWay for &&&&Look<E> {}

    /// Second.
    pub trait ChainWay {
        /// By what it lends.
        fn __flash_way(&self) -> ByChain {
            ByChain
        }
    }
    impl<E: AsRef<dyn StdError + 'static>> ChainWay for &&&Look<E> {}

    /// Third.
    pub trait BoxWay {
        /// By what it lends.
        fn __flash_way(&self) -> ByBox {
            ByBox
        }
    }
    impl<E: AsRef<dyn StdError + Send + Sync + 'static>> BoxWay for &&Look<E> {}

    /// Fourth.
    pub trait TextWay {
        /// By its text.
        fn __flash_way(&self) -> ByText {
            ByText
        }
    }
    impl<E: Display> TextWay for &Look<E> {}

    /// Last.
    pub trait NoWay {
        /// None.
        fn __flash_way(&self) -> Nowhere {
            Nowhere
        }
    }
    impl<E> NoWay for Look<E> {}
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::ways::*;
    use crate::{Error, ErrorKind};

    macro_rules! converted {
        ($error:expr) => {{
            let error = $error;
            (&&&&&look(&error)).__flash_way().error(error)
        }};
    }

    /// As `anyhow::Error`: no `std::error::Error` itself, it lends one.
    struct Lends(Box<dyn std::error::Error + Send + Sync>);

    impl AsRef<dyn std::error::Error + 'static> for Lends {
        fn as_ref(&self) -> &(dyn std::error::Error + 'static) {
            &*self.0
        }
    }

    impl AsRef<dyn std::error::Error + Send + Sync + 'static> for Lends {
        fn as_ref(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            &*self.0
        }
    }

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no number")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    fn outer() -> Outer {
        Outer("x".parse::<u8>().unwrap_err())
    }

    #[test]
    fn every_common_error_type_becomes_ours_with_its_chain() {
        let chain = "no number: invalid digit found in string";
        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(outer());
        let local: Box<dyn std::error::Error> = Box::new(outer());
        for error in
            [converted!(outer()), converted!(Lends(Box::new(outer()))), converted!(boxed), converted!(local)]
        {
            assert_eq!((error.kind(), format!("{error:#}")), (ErrorKind::Handler, chain.to_owned()));
        }
        assert_eq!(converted!("only text".to_owned()).to_string(), "only text");
        assert_eq!(converted!("borrowed").to_string(), "borrowed");
    }

    #[test]
    fn an_error_of_ours_stays_what_it_is_also_inside_a_box() {
        let ours = || Error::invalid_input("/text", "too long");
        let boxed: Box<dyn std::error::Error + Send + Sync> = ours().into();
        for error in [converted!(ours()), converted!(Lends(ours().into())), converted!(boxed)] {
            assert_eq!((error.kind(), error.fields().len()), (ErrorKind::InvalidInput, 1), "{error:?}");
        }
    }
}

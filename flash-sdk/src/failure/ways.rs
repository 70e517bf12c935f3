//! One trait and one type for each kind of conversion to an [`Error`].
use std::{error::Error as StdError, fmt::Display, marker::PhantomData};

use flash_protocol::Error;

use super::Failure;

/// The error type to convert. It is a separate type, because a reference to an error may be an error too.
pub struct Look<E>(PhantomData<E>);

/// Starts the search for the conversion of this error.
pub fn look<E>(_: &E) -> Look<E> {
    Look(PhantomData)
}

/// [`Error`], and any `std::error::Error`.
pub struct ByInto;
/// `anyhow::Error` and `eyre::Report`, which contain an error and lend it.
pub struct ByChain;
/// `Box<dyn Error + Send + Sync>`, which lends an error of another type.
pub struct ByBox;
/// `String`, `&str` and other types with `Display`.
pub struct ByText;
/// No conversion.
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
    /// Always a compile error.
    pub fn error<E: Failure>(self, error: E) -> Error {
        error.into()
    }
}

/// First.
pub trait IntoWay {
    /// With `Into`.
    fn __flash_way(&self) -> ByInto {
        ByInto
    }
}
impl<E: Into<Error>> IntoWay for &&&&Look<E> {}

/// Second.
pub trait ChainWay {
    /// With the error that it lends.
    fn __flash_way(&self) -> ByChain {
        ByChain
    }
}
impl<E: AsRef<dyn StdError + 'static>> ChainWay for &&&Look<E> {}

/// Third.
pub trait BoxWay {
    /// With the error that it lends.
    fn __flash_way(&self) -> ByBox {
        ByBox
    }
}
impl<E: AsRef<dyn StdError + Send + Sync + 'static>> BoxWay for &&Look<E> {}

/// Fourth.
pub trait TextWay {
    /// With its text.
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

#[cfg(test)]
mod tests {
    use std::fmt;

    use flash_protocol::ErrorKind;

    use super::*;

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

    impl Display for Outer {
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

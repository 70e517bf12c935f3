//! Converts any error type of a function into an [`Error`].
//!
//! The macro's code calls `__flash_way` on the result of [`ways::look`], behind five references. The compiler picks
//! the implementation whose receiver has the most references and whose bound the type satisfies. So each trait here
//! is for one kind of error type, and those above it take precedence. A blanket `From` for all of them is not
//! possible, because `anyhow::Error`, `String` and `Box<dyn Error>` might implement `std::error::Error` one day.
pub mod ways;

use flash_protocol::Error;

/// A `Result` or an alias of it.
#[diagnostic::on_unimplemented(
    message = "a `#[remote]` function returns `Result<T>`, or `impl Stream<Item = Result<T>>` to stream",
    label = "not a `Result`"
)]
pub trait Outcome {
    /// The type of the value.
    type Value;
    /// The type of the error.
    type Failure;

    /// Converts to `Result`.
    fn into_result(self) -> Result<Self::Value, Self::Failure>;
}

impl<T, E> Outcome for Result<T, E> {
    type Value = T;
    type Failure = E;

    fn into_result(self) -> Self {
        self
    }
}

/// The bound for error types without a conversion. It always results in a compile error that says what is missing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a `#[remote]` function",
    label = "implements neither `std::error::Error` nor `Display`",
    note = "return `flash_sdk::Result<T>`, to which `?` converts any `std::error::Error`, or implement `Display` for the type"
)]
pub trait Failure: Into<Error> {}

/// What `retry_if` says of an error. As an argument of a function, a closure learns the type of its own argument.
pub fn judge<E>(error: &E, retry_if: impl FnOnce(&E) -> bool) -> bool {
    retry_if(error)
}

/// Not implemented by any type. It is a bound on `spawn` of routes and streams, so that calling it is a compile error
/// with this message.
#[diagnostic::on_unimplemented(
    message = "a route or stream cannot be spawned, because it does not run as a job",
    label = "cannot be spawned",
    note = "await the call itself, in a separate task if it should run concurrently; `spawn` is for functions \
            without `method` and `path` that return one result"
)]
pub trait MakesJobs<'never> {}

/// A function that is a route.
pub struct ARoute;

/// A streaming function.
pub struct AStream;

//! What a function with one result answers: its value, and for a route also a status and headers.
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    arguments::Wire,
    bytes::Bytes,
    descriptor::{Head, Output},
};

/// The answer of a route with a status and headers of its own. The body is JSON, with the schema of `T`.
///
/// ```
/// use flash_sdk::{Reply, Result, http::{HeaderValue, StatusCode, header}, remote};
///
/// #[remote(worker = "items", cpu = Cpu3c_1_2, method = POST, path = "/items")]
/// pub async fn create(name: String) -> Result<Reply<u64>> {
///     let at = HeaderValue::from_static("/items/7");
///     Ok(Reply::new(7).with_status(StatusCode::CREATED).with_header(header::LOCATION, at))
/// }
///
/// fn main() {}
/// ```
///
/// A caller in Rust gets the same `Reply`. Use it for answers of success: a caller in Rust takes any other status for an
/// error, and [`Error::status`](crate::Error::status) is the way to fail with one. With 204 there is no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    /// The status, 200 unless set.
    pub status: StatusCode,
    /// Headers beside those that the worker sets. A caller in Rust sees all.
    pub headers: HeaderMap,
    /// The body.
    pub body: T,
}

impl<T> Reply<T> {
    /// An answer with status 200 and no headers of its own.
    pub fn new(body: T) -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), body }
    }

    /// Sets the status.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds a header, also beside one of the same name.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}

/// What a function may return as its result: a value, or for a route a [`Reply`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument or a result of a `#[remote]` function",
    label = "must implement `Serialize`, `DeserializeOwned`, `JsonSchema`, `Send` and be `'static`",
    note = "derive the missing traits: `#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]`"
)]
pub trait Answer: Send + Sized + 'static {
    /// What is written as JSON.
    type Value: Wire;

    /// The value.
    fn value(&self) -> &Self::Value;

    /// Status and headers, if it has any.
    fn head(&self) -> Option<Head> {
        None
    }

    /// From what arrived. `head` is `None` for a job.
    fn received(head: Option<Head>, value: Self::Value) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Wire> Answer for T {
    type Value = T;

    fn value(&self) -> &T {
        self
    }

    fn received(_: Option<Head>, value: T) -> Self {
        value
    }
}

impl<T: Wire> Answer for Reply<T> {
    type Value = T;

    fn value(&self) -> &T {
        &self.body
    }

    fn head(&self) -> Option<Head> {
        Some(Head { status: self.status, headers: self.headers.clone() })
    }

    fn received(head: Option<Head>, body: T) -> Self {
        match head {
            Some(Head { status, headers }) => Self { status, headers, body },
            None => Self::new(body),
        }
    }
}

impl Output {
    /// A result, or a chunk of one, of this type.
    pub const fn of<T: Answer>() -> Self {
        Self { schema: |generator| generator.subschema_for::<T::Value>(), is_bytes: Bytes::is::<T::Value> }
    }
}

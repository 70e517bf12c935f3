//! What a function with one result answers: its value, and for a route also a status and headers.
use flash_protocol::{Error, wire::refusal};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

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
#[non_exhaustive]
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

/// What a function may return as its result: a value, or for a route a [`Reply`] or an `http::Response`.
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

    /// Whether it is a whole HTTP response.
    const IS_RESPONSE: bool = false;

    /// What a caller in this process gets in its place, as it would over HTTP.
    fn refusal(&self) -> Option<Error> {
        None
    }

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

/// A result of type `http::Response`, as the macro wraps it.
#[derive(Debug)]
pub struct WholeResponse(Response<Bytes>);

impl WholeResponse {
    /// Of bytes of either type.
    pub fn of(response: Response<impl Into<Bytes>>) -> Self {
        Self(response.map(Into::into))
    }

    /// With the body's type in the function's signature.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        self.0.map(B::from)
    }
}

impl Answer for WholeResponse {
    type Value = Bytes;

    const IS_RESPONSE: bool = true;

    fn value(&self) -> &Bytes {
        self.0.body()
    }

    fn head(&self) -> Option<Head> {
        Some(Head { status: self.0.status(), headers: self.0.headers().clone() })
    }

    fn refusal(&self) -> Option<Error> {
        let status = self.0.status().as_u16();
        (status >= 400).then(|| refusal(status, self.0.body()).into())
    }

    fn received(head: Option<Head>, body: Bytes) -> Self {
        let mut response = Response::new(body);
        if let Some(Head { status, headers }) = head {
            *response.status_mut() = status;
            *response.headers_mut() = headers;
        }
        Self(response)
    }
}

impl Output {
    /// A result, or a chunk of one, of this type.
    pub const fn of<T: Answer>() -> Self {
        Self {
            schema: |generator| generator.subschema_for::<T::Value>(),
            is_bytes: Bytes::is::<T::Value>,
            is_response: T::IS_RESPONSE,
        }
    }
}

//! The whole request, as an argument of a route.
use std::{borrow::Cow, str::FromStr as _};

use http::{HeaderValue, Method, Request, Uri, header};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Headers, part::RequestPart};
use crate::{
    bytes::Bytes,
    descriptor::{Input, Outgoing, Part},
};

/// An argument of type `http::Request`, as the macro wraps it. Its body is bytes, of this crate or of `bytes`.
#[derive(Debug, Clone)]
pub struct WholeRequest<B>(pub Request<B>);

impl<B: From<Bytes> + Into<Bytes> + Clone + Send + 'static> RequestPart for WholeRequest<B> {
    const PART: Part = Part::Whole;

    /// Its body may be empty.
    fn is_optional() -> bool {
        true
    }

    fn read(input: &Input) -> Result<Self, String> {
        let mut request = Request::new(input.raw.clone().unwrap_or_default().into());
        *request.method_mut() = input.method.clone();
        *request.uri_mut() = input.uri.clone();
        *request.headers_mut() = input.headers.clone();
        Ok(Self(request))
    }

    /// Method and path are those of the route.
    fn write(&self, outgoing: &mut Outgoing) {
        let (headers, body) = (self.0.headers(), self.0.body().clone().into());
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|kind| HeaderValue::to_str(kind).ok());
        outgoing.body = Some(match content_type {
            Some(content_type) => Bytes::with_content_type(content_type, body),
            None => body,
        });
        outgoing.headers.extend(headers.clone());
        outgoing.query = self.0.uri().query().map(str::to_owned);
    }
}

/// The same as data.
#[derive(Serialize, Deserialize)]
struct Written {
    method: String,
    uri: String,
    headers: Headers,
    body: Bytes,
}

impl<B: Into<Bytes> + Clone> Serialize for WholeRequest<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            method: self.0.method().to_string(),
            uri: self.0.uri().to_string(),
            headers: Headers(self.0.headers().clone()),
            body: self.0.body().clone().into(),
        };
        written.serialize(serializer)
    }
}

impl<'de, B: From<Bytes>> Deserialize<'de> for WholeRequest<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { method, uri, headers, body } = Written::deserialize(deserializer)?;
        let mut request = Request::new(B::from(body));
        *request.method_mut() = Method::from_str(&method).map_err(D::Error::custom)?;
        *request.uri_mut() = Uri::from_str(&uri).map_err(D::Error::custom)?;
        *request.headers_mut() = headers.0;
        Ok(Self(request))
    }
}

/// What `flash call` takes for it: the body.
impl<B> JsonSchema for WholeRequest<B> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Request".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Bytes::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_sends_what_the_route_does_not_say_and_the_route_reads_it_as_it_came() {
        let request = Request::post("/ignored?full=1")
            .header("x-tenant", "acme")
            .header("content-type", "text/csv")
            .body(bytes::Bytes::from_static(b"a,b"))
            .unwrap();
        let mut outgoing = Outgoing::default();
        WholeRequest(request).write(&mut outgoing);
        let Outgoing { headers, query, body } = outgoing;
        let body = body.unwrap();
        assert_eq!(
            (query.as_deref(), body.content_type(), &*body),
            (Some("full=1"), Some("text/csv"), &b"a,b"[..])
        );
        assert_eq!(headers["x-tenant"], "acme");

        let uri = Uri::from_static("/hooks/7?full=1");
        let input =
            Input { headers, raw: Some(body), method: Method::PUT, uri: uri.clone(), ..Input::default() };
        let WholeRequest(read) = WholeRequest::<Bytes>::read(&input).unwrap();
        assert_eq!((read.method(), read.uri(), &**read.body()), (&Method::PUT, &uri, &b"a,b"[..]));
        assert_eq!(read.headers()["content-type"], "text/csv");
    }
}

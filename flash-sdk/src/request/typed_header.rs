//! One header with a type, as an argument of a route.
use std::{any::type_name, borrow::Cow, ops::Deref};

use headers::Header;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::part::RequestPart;
use crate::descriptor::{Input, Outgoing, Part};

/// A header of the request with a type of the crate `headers`, as an argument of a route.
///
/// ```
/// use flash_sdk::{Result, TypedHeader, headers::UserAgent, remote};
///
/// #[remote(worker = "web", cpu = Cpu3c_1_2, method = GET, path = "/agent")]
/// pub async fn agent(agent: TypedHeader<UserAgent>) -> Result<String> {
///     Ok(agent.to_string())
/// }
///
/// fn main() {}
/// ```
///
/// A request whose header is missing or not valid gets status 400, and the error names the header. As an
/// `Option<TypedHeader<H>>`, a missing header is `None`.
///
/// A caller in Rust passes the header's value: `agent(TypedHeader(value))`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TypedHeader<H>(pub H);

impl<H> Deref for TypedHeader<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.0
    }
}

/// The header, or `None` if the request has none.
fn read<H: Header>(headers: &HeaderMap) -> Result<Option<TypedHeader<H>>, String> {
    let mut values = headers.get_all(H::name()).iter();
    let is_missing = values.size_hint() == (0, Some(0));
    match H::decode(&mut values) {
        Ok(header) => Ok(Some(TypedHeader(header))),
        Err(_) if is_missing => Ok(None),
        // Its value may be a secret.
        Err(_) => Err(format!("the header `{}` is not valid", H::name())),
    }
}

impl<H: Header + Send + 'static> RequestPart for TypedHeader<H> {
    const PART: Part = Part::Header;

    fn header() -> Option<&'static HeaderName> {
        Some(H::name())
    }

    fn read(input: &Input) -> Result<Self, String> {
        read(&input.headers)?.ok_or_else(|| format!("the header `{}` is missing", H::name()))
    }

    fn write(&self, outgoing: &mut Outgoing) {
        let mut values = Vec::new();
        self.0.encode(&mut values);
        outgoing.headers.extend(values.into_iter().map(|value| (H::name().clone(), value)));
    }
}

impl<H: Header + Send + 'static> RequestPart for Option<TypedHeader<H>> {
    const PART: Part = Part::Header;

    fn header() -> Option<&'static HeaderName> {
        Some(H::name())
    }

    fn is_optional() -> bool {
        true
    }

    fn read(input: &Input) -> Result<Self, String> {
        read(&input.headers)
    }

    fn write(&self, outgoing: &mut Outgoing) {
        if let Some(header) = self {
            header.write(outgoing);
        }
    }
}

impl<H: Header> Serialize for TypedHeader<H> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut values = Vec::new();
        self.0.encode(&mut values);
        serializer
            .collect_seq(values.iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()))
    }
}

impl<'de, H: Header> Deserialize<'de> for TypedHeader<H> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = Vec::<String>::deserialize(deserializer)?;
        let values: Result<Vec<HeaderValue>, _> = values.iter().map(|value| value.parse()).collect();
        H::decode(&mut values.map_err(D::Error::custom)?.iter()).map(Self).map_err(D::Error::custom)
    }
}

impl<H: 'static> JsonSchema for TypedHeader<H> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TypedHeader".into()
    }

    fn schema_id() -> Cow<'static, str> {
        type_name::<Self>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string" } })
    }
}

#[cfg(test)]
mod tests {
    use headers::{ContentLength, UserAgent};

    use super::*;

    fn input(headers: &[(&'static str, &'static str)]) -> Input {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Input { headers: pairs.collect(), ..Input::default() }
    }

    #[test]
    fn it_is_read_and_written_and_an_optional_one_may_be_missing() {
        let given = input(&[("user-agent", "test/1")]);
        let agent = TypedHeader::<UserAgent>::read(&given).unwrap();
        assert_eq!(agent.to_string(), "test/1");
        let mut outgoing = Outgoing::default();
        Some(agent).write(&mut outgoing);
        assert_eq!(outgoing.headers, given.headers);
        assert_eq!(Option::<TypedHeader<UserAgent>>::read(&input(&[])).unwrap(), None);
    }

    #[test]
    fn one_that_is_missing_or_not_valid_is_named_without_its_value() {
        let missing = TypedHeader::<UserAgent>::read(&input(&[])).unwrap_err();
        assert_eq!(missing, "the header `user-agent` is missing");
        let wrong = input(&[("content-length", "many")]);
        for error in [
            TypedHeader::<ContentLength>::read(&wrong).unwrap_err(),
            Option::<TypedHeader<ContentLength>>::read(&wrong).unwrap_err(),
        ] {
            assert_eq!(error, "the header `content-length` is not valid");
        }
    }
}

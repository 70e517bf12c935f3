//! Byte strings as arguments and results.
use std::{any::Any, borrow::Borrow, borrow::Cow, fmt, ops::Deref, sync::Arc};

use flash_protocol::wire::{base64, payload};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A byte string: an image, audio, a file. Cheap to clone, because clones share the memory.
///
/// In an argument or a result, also within other types, it is not copied more often than necessary:
///
/// - Between workers of one platform, it travels as it is.
/// - A route whose only body argument is `Bytes` reads the raw request body, whatever its content type. One that
///   returns `Bytes` answers with them: as `application/octet-stream`, or with the type from
///   [`with_content_type`](Bytes::with_content_type).
/// - In JSON it is a string with base64.
///
/// ```
/// use flash_sdk::{Bytes, Result, remote};
///
/// #[remote(cpu = Cpu3c_1_2, method = POST, path = "/reversed")]
/// pub async fn reversed(file: Bytes) -> Result<Bytes> {
///     let reversed: Vec<u8> = file.iter().rev().copied().collect();
///     Ok(Bytes::with_content_type("text/plain", reversed))
/// }
///
/// fn main() {}
/// ```
///
/// Two values are equal if their bytes are: the content type does not count.
#[derive(Clone, Default)]
pub struct Bytes {
    data: bytes::Bytes,
    content_type: Option<Arc<str>>,
}

impl Bytes {
    /// An empty byte string.
    pub const fn new() -> Self {
        Self { data: bytes::Bytes::new(), content_type: None }
    }

    /// A byte string of the program itself, which is not copied.
    pub const fn from_static(data: &'static [u8]) -> Self {
        Self { data: bytes::Bytes::from_static(data), content_type: None }
    }

    /// A byte string with the content type of a route's answer, such as `image/png`. A content type that is not a
    /// valid header value fails the request.
    ///
    /// The content type is only read by HTTP: it is lost in JSON, and on the way to another worker.
    pub fn with_content_type(content_type: impl Into<Arc<str>>, data: impl Into<Self>) -> Self {
        Self { content_type: Some(content_type.into()), ..data.into() }
    }

    /// The content type that it was made with. For the body of a route's request, the value of its `Content-Type`.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The bytes without the content type, not copied.
    pub fn into_inner(self) -> bytes::Bytes {
        self.data
    }

    /// The bytes, not copied.
    pub(crate) fn data(&self) -> &bytes::Bytes {
        &self.data
    }

    /// This value, if it is a `Bytes`.
    pub(crate) fn of<T: 'static>(value: &T) -> Option<&Self> {
        (value as &dyn Any).downcast_ref()
    }

    /// Itself as a `T`, if that is `Bytes`.
    pub(crate) fn into_value<T: 'static>(self) -> Option<T> {
        let mut slot = Some(self);
        (&mut slot as &mut dyn Any).downcast_mut::<Option<T>>()?.take()
    }

    /// Whether this type is `Bytes`.
    pub(crate) fn is<T: 'static>() -> bool {
        std::any::TypeId::of::<T>() == std::any::TypeId::of::<Self>()
    }
}

impl fmt::Debug for Bytes {
    /// The number of bytes and not the bytes, which may be many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes", self.data.len())?;
        if let Some(content_type) = &self.content_type {
            write!(f, ", {content_type}")?;
        }
        f.write_str(")")
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

impl Eq for Bytes {}

impl std::hash::Hash for Bytes {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.data.hash(state);
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        &self.data
    }
}

impl From<bytes::Bytes> for Bytes {
    fn from(data: bytes::Bytes) -> Self {
        Self { data, content_type: None }
    }
}

impl From<Bytes> for bytes::Bytes {
    fn from(bytes: Bytes) -> Self {
        bytes.data
    }
}

/// Conversions from what `bytes` converts from.
macro_rules! from {
    ($($type:ty)+) => {$(
        impl From<$type> for Bytes {
            fn from(data: $type) -> Self {
                bytes::Bytes::from(data).into()
            }
        }
    )+};
}

from! { Vec<u8> Box<[u8]> String &'static [u8] &'static str }

impl<const N: usize> From<&'static [u8; N]> for Bytes {
    fn from(data: &'static [u8; N]) -> Self {
        Self::from_static(data)
    }
}

impl FromIterator<u8> for Bytes {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        bytes::Bytes::from_iter(bytes).into()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = payload::attach(&self.data).unwrap_or_else(|| base64::encode(&self.data));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string with base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        if let Some(data) = payload::attached(text) {
            return Ok(data.into());
        }
        base64::decode(text).map(Bytes::from).ok_or_else(|| E::custom("expected base64"))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(bytes.to_vec().into())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(bytes.into())
    }
}

impl JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn schema_id() -> Cow<'static, str> {
        "flash_sdk::Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_json_it_is_base64_and_the_schema_says_so() {
        let bytes = Bytes::from_static(b"\x00\xff picture");
        let json = serde_json::to_string(&bytes).unwrap();
        assert_eq!(json, "\"AP8gcGljdHVyZQ==\"");
        assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap(), bytes);
        assert_eq!(serde_json::from_str::<Bytes>("\"AP8gcGljdHVyZQ\"").unwrap(), bytes, "without padding");
        let schema = SchemaGenerator::default().subschema_for::<Bytes>().to_value();
        assert_eq!(schema, serde_json::json!({ "type": "string", "contentEncoding": "base64" }));
        for (wrong, message) in [("\"not base64\"", "expected base64"), ("[1, 2]", "a string with base64")] {
            let error = serde_json::from_str::<Bytes>(wrong).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn clones_share_the_memory_and_debug_does_not_print_it() {
        let bytes = Bytes::with_content_type("image/png", vec![7; 9000]);
        assert_eq!(bytes.clone().as_ptr(), bytes.as_ptr());
        assert_eq!(format!("{bytes:?}"), "Bytes(9000 bytes, image/png)");
        assert_eq!(bytes, Bytes::from(vec![7; 9000]), "the content type does not count");
    }
}

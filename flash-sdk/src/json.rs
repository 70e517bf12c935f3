//! Writes values of user code as JSON text, and reads them. All JSON that other processes read is written here.
//!
//! `serde_json` writes NaN and infinity as `null`, and writes deeper nesting than it reads. The reader would get a
//! wrong value, or none. Here both are errors that name the location.
use std::{fmt, io};

use serde::{Serialize, Serializer, de::DeserializeOwned, ser};
use serde_json::{ser::Formatter, value::to_raw_value};

use flash_protocol::{
    Error, ErrorKind, Result,
    wire::{Payload, RawJson, fault, payload},
};

/// The deepest nesting that `serde_json` reads.
pub(crate) const MAX_DEPTH: u8 = 127;
/// Maximum length of a path in messages.
const MAX_PATH_CHARS: usize = 100;
/// How `serde_json` marks JSON text within a value. It does not add a level.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// The JSON text of a value that will be below `depth` levels of lists and objects. `what` names it in errors.
///
/// # Errors
/// [`ErrorKind::Encode`] with the location, for a value that JSON cannot express or that is nested too deeply.
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    what: impl fmt::Display,
    depth: u8,
) -> Result<RawJson> {
    to_raw_value(&Inside { value, depth }).map_err(|error| refused(value, what, depth, &error))
}

/// Like [`encode`]. Long [`Bytes`](crate::Bytes) within the value become attachments.
///
/// # Errors
/// See [`encode`].
pub(crate) fn encode_payload<T: Serialize + ?Sized>(
    value: &T,
    what: impl fmt::Display,
    depth: u8,
) -> Result<Payload> {
    Payload::collect(|| encode(value, what, depth))
}

/// Decodes a value that another process wrote. `problem` says whose value has another type.
///
/// # Errors
/// [`ErrorKind::Decode`] with what is wrong, without the value.
pub(crate) fn decode_payload<T: DeserializeOwned>(
    payload: &Payload,
    problem: impl FnOnce() -> String,
) -> Result<T> {
    let decoded = payload.read(|text| serde_json::from_str(text.get()));
    decoded.map_err(|error| Error::new(ErrorKind::Decode, format!("{}: {}", problem(), fault(&error))))
}

/// Decodes JSON text that another process wrote. `problem` says whose value has another type.
///
/// # Errors
/// [`ErrorKind::Decode`] with what is wrong, without the value.
pub(crate) fn decode<T: DeserializeOwned>(text: &RawJson, problem: impl FnOnce() -> String) -> Result<T> {
    serde_json::from_str(text.get())
        .map_err(|error| Error::new(ErrorKind::Decode, format!("{}: {}", problem(), fault(&error))))
}

/// Like [`encode`], for a value that stays in this process.
///
/// # Errors
/// See [`encode`].
pub(crate) fn check<T: Serialize + ?Sized>(value: &T, what: impl fmt::Display, depth: u8) -> Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(io::sink(), Silent);
    // Attached, so that nothing is encoded only to be checked.
    let (checked, _) = payload::attaching(|| Inside { value, depth }.serialize(&mut serializer));
    checked.map_err(|error| refused(value, what, depth, &error))
}

/// Walks the value again to find the path of the problem.
#[cold]
fn refused<T: Serialize + ?Sized>(
    value: &T,
    what: impl fmt::Display,
    depth: u8,
    error: &serde_json::Error,
) -> Error {
    let mut serializer = serde_json::Serializer::with_formatter(io::sink(), Silent);
    let again = serde_path_to_error::serialize(value, Checked { inner: &mut serializer, depth });
    let place = again.err().map(|again| again.path().to_string()).filter(|path| path != ".");
    let place = place.map_or_else(String::new, |path| match path.char_indices().nth(MAX_PATH_CHARS) {
        Some((end, _)) => format!("`{}…`: ", &path[..end]),
        None => format!("`{path}`: "),
    });
    Error::new(ErrorKind::Encode, format!("{what} cannot be written as JSON: {place}{error}"))
}

/// Writes nothing.
struct Silent;

type Written = io::Result<()>;

impl Formatter for Silent {
    fn write_i64<W: ?Sized + io::Write>(&mut self, _: &mut W, _: i64) -> Written {
        Ok(())
    }

    fn write_u64<W: ?Sized + io::Write>(&mut self, _: &mut W, _: u64) -> Written {
        Ok(())
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, _: &mut W, _: f32) -> Written {
        Ok(())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, _: &mut W, _: f64) -> Written {
        Ok(())
    }
}

/// A serializer that refuses what JSON cannot express.
struct Checked<S> {
    inner: S,
    /// Number of lists and objects around the value.
    depth: u8,
}

/// A value within another.
struct Inside<'a, T: ?Sized> {
    value: &'a T,
    depth: u8,
}

impl<T: Serialize + ?Sized> Serialize for Inside<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Checked { inner: serializer, depth: self.depth })
    }
}

/// A list or an object that is being written.
struct Compound<C> {
    inner: C,
    depth: u8,
}

impl<S: Serializer> Checked<S> {
    /// The depth below `levels` more.
    fn below<E: ser::Error>(&self, levels: u8) -> Result<u8, E> {
        let depth = self.depth.saturating_add(levels);
        match depth > MAX_DEPTH {
            true => Err(E::custom(format_args!("it nests deeper than {MAX_DEPTH} levels"))),
            false => Ok(depth),
        }
    }
}

fn finite<E: ser::Error>(value: f64) -> Result<(), E> {
    if value.is_finite() {
        return Ok(());
    }
    let name = match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "infinity",
        _ => "-infinity",
    };
    Err(E::custom(format_args!("{name} is not a JSON number")))
}

/// Passes values without parts on unchanged.
macro_rules! pass_on {
    ($($name:ident($($argument:ident: $type:ty),*);)+) => {$(
        #[inline]
        fn $name(self $(, $argument: $type)*) -> Result<S::Ok, S::Error> {
            self.inner.$name($($argument),*)
        }
    )+};
}

impl<S: Serializer> Serializer for Checked<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Compound<S::SerializeSeq>;
    type SerializeTuple = Compound<S::SerializeTuple>;
    type SerializeTupleStruct = Compound<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Compound<S::SerializeTupleVariant>;
    type SerializeMap = Compound<S::SerializeMap>;
    type SerializeStruct = Compound<S::SerializeStruct>;
    type SerializeStructVariant = Compound<S::SerializeStructVariant>;

    pass_on! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        finite(f64::from(value))?;
        self.inner.serialize_f32(value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        finite(value)?;
        self.inner.serialize_f64(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<S::Ok, S::Error> {
        // A list of numbers.
        self.below::<S::Error>(1)?;
        self.inner.serialize_bytes(value)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&Inside { value, depth: self.depth })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, &Inside { value, depth: self.depth })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let depth = self.below(1)?;
        self.inner.serialize_newtype_variant(name, index, variant, &Inside { value, depth })
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let depth = self.below(1)?;
        Ok(Compound { inner: self.inner.serialize_seq(length)?, depth })
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        let depth = self.below(1)?;
        Ok(Compound { inner: self.inner.serialize_tuple(length)?, depth })
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let depth = self.below(1)?;
        Ok(Compound { inner: self.inner.serialize_tuple_struct(name, length)?, depth })
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let depth = self.below(2)?;
        Ok(Compound { inner: self.inner.serialize_tuple_variant(name, index, variant, length)?, depth })
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let depth = self.below(1)?;
        Ok(Compound { inner: self.inner.serialize_map(length)?, depth })
    }

    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Self::SerializeStruct, S::Error> {
        let depth = self.below(u8::from(name != RAW_VALUE))?;
        Ok(Compound { inner: self.inner.serialize_struct(name, length)?, depth })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let depth = self.below(2)?;
        Ok(Compound { inner: self.inner.serialize_struct_variant(name, index, variant, length)?, depth })
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Compounds with unnamed parts.
macro_rules! unnamed_parts {
    ($($contract:ident: $part:ident;)+) => {$(
        impl<C: ser::$contract> ser::$contract for Compound<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                self.inner.$part(&Inside { value, depth: self.depth })
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )+};
}

unnamed_parts! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

macro_rules! named_parts {
    ($($contract:ident)+) => {$(
        impl<C: ser::$contract> ser::$contract for Compound<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                self.inner.serialize_field(name, &Inside { value, depth: self.depth })
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )+};
}

named_parts! { SerializeStruct SerializeStructVariant }

impl<C: ser::SerializeMap> ser::SerializeMap for Compound<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.inner.serialize_key(&Inside { value: key, depth: self.depth })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.inner.serialize_value(&Inside { value, depth: self.depth })
    }

    fn serialize_entry<K, V>(&mut self, key: &K, value: &V) -> Result<(), C::Error>
    where
        K: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        let depth = self.depth;
        self.inner.serialize_entry(&Inside { value: key, depth }, &Inside { value, depth })
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde_json::value::RawValue;

    use super::*;

    #[derive(Serialize)]
    struct Scored {
        name: &'static str,
        score: f32,
    }

    #[derive(Serialize)]
    struct Batch {
        items: Vec<Scored>,
        best: Option<f64>,
        by_name: BTreeMap<&'static str, f64>,
    }

    #[derive(Serialize)]
    enum Shape {
        Empty,
        Circle(f64),
        Line(f64, f64),
        Rectangle { width: f64, height: f64 },
    }

    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Reading { celsius: f64 },
    }

    fn batch(score: f32, best: f64, mean: f64) -> Batch {
        let items = vec![Scored { name: "a", score: 0.5 }, Scored { name: "b", score }];
        Batch { items, best: Some(best), by_name: BTreeMap::from([("mean", mean)]) }
    }

    /// Both ways refuse alike; what they say.
    fn refusal<T: Serialize>(value: &T) -> String {
        let [encoded, checked] =
            [encode(value, "the result", 0).map(drop), check(value, "the result", 0)].map(Result::unwrap_err);
        assert_eq!((encoded.kind(), encoded.message()), (ErrorKind::Encode, checked.message()));
        encoded.message().to_owned()
    }

    #[test]
    fn numbers_that_json_has_not_are_refused_with_their_place() {
        let (nan, infinity) = (f64::NAN, f64::INFINITY);
        let cases = [
            (refusal(&nan), "the result cannot be written as JSON: NaN is not a JSON number"),
            (
                refusal(&f32::NEG_INFINITY),
                "the result cannot be written as JSON: -infinity is not a JSON number",
            ),
            (
                refusal(&batch(f32::NAN, 0.0, 0.0)),
                "the result cannot be written as JSON: `items[1].score`: NaN is not a JSON number",
            ),
            (
                refusal(&batch(0.0, infinity, 0.0)),
                "the result cannot be written as JSON: `best`: infinity is not a JSON number",
            ),
            (
                refusal(&batch(0.0, 0.0, nan)),
                "the result cannot be written as JSON: `by_name.mean`: NaN is not a JSON number",
            ),
            (refusal(&(1, nan)), "the result cannot be written as JSON: `[1]`: NaN is not a JSON number"),
            (
                refusal(&Tagged::Reading { celsius: nan }),
                "the result cannot be written as JSON: `celsius`: NaN is not a JSON number",
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(message, expected);
        }
        for shape in [Shape::Circle(nan), Shape::Line(0.0, nan), Shape::Rectangle { width: 1.0, height: nan }]
        {
            assert!(refusal(&shape).contains("NaN"));
        }
    }

    #[test]
    fn a_key_that_is_no_text_is_refused() {
        let message = refusal(&HashMap::from([(vec![1], 2)]));
        assert!(message.contains("key must be a string"), "{message}");
    }

    #[test]
    fn what_has_a_form_is_written_as_serde_json_writes_it() {
        fn same<T: Serialize>(value: &T) {
            assert_eq!(encode(value, "the result", 0).unwrap().get(), serde_json::to_string(value).unwrap());
            check(value, "the result", 0).unwrap();
        }
        same(&batch(0.25, 1e300, -0.0));
        same(&[
            Shape::Empty,
            Shape::Circle(1.0),
            Shape::Line(0.0, 1.0),
            Shape::Rectangle { width: 1.0, height: 2.0 },
        ]);
        same(&serde_json::json!({ "a": [null, true, "ü\n", { "b": 1 }], "c": 1.5 }));
        same(&(u128::MAX, i128::MIN, 'x', (), Some(Some(1)), None::<u8>));
        same(&HashMap::from([(7_u32, "seven")]));
        let raw = RawValue::from_string("{\"kept\": [ 1 ]}".to_owned()).unwrap();
        same(&(raw, "beside"));
    }

    #[test]
    fn what_is_written_can_be_read_again_and_what_is_deeper_is_refused() {
        #[derive(Serialize)]
        struct Node {
            below: Option<Box<Node>>,
        }
        let lists = |depth| (0..depth).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
        let structs =
            |depth| (1..depth).fold(Node { below: None }, |inner, _| Node { below: Some(Box::new(inner)) });
        for most in
            [encode(&lists(127), "it", 0), encode(&structs(127), "it", 0), encode(&lists(126), "it", 1)]
        {
            let text = most.unwrap();
            serde_json::from_str::<serde_json::Value>(text.get()).unwrap();
        }
        assert!(encode(&lists(127), "it", 1).is_err(), "it would stand within a list");
        for message in [refusal(&lists(128)), refusal(&structs(128)), refusal(&structs(5000))] {
            assert!(message.contains("it nests deeper than 127 levels"), "{message}");
            assert!(message.len() < 300, "{message}");
        }
    }
}

//! Decodes arguments from the text of a path or a query.
//!
//! A type that accepts text gets the text; for any other type, the text is JSON. A list is a repeated key, or one
//! value that is a JSON list.
use std::fmt;

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, Error as _, IntoDeserializer, Unexpected, Visitor,
        value::{SeqDeserializer, StrDeserializer},
    },
};
use serde_json::{Error, Number};

use flash_protocol::wire::fault_of_field;

use crate::descriptor::Takes;

/// Decodes the values of one key, in order.
///
/// # Errors
/// Why the values are not valid.
pub(super) fn decode<T: DeserializeOwned>(texts: &[&str], takes: Takes) -> Result<T, String> {
    let list = || T::deserialize(List(texts)).map_err(|error| fault_of_field(&error));
    match (texts, takes) {
        ([text], takes) => {
            let alone = T::deserialize(Text(text)).or_else(|refusal| {
                // For example `null` for an option, and objects.
                serde_json::from_str(text).map_err(|_| fault_of_field(&refusal))
            });
            match takes {
                Takes::One => alone,
                Takes::List => alone.or_else(|_| list()),
            }
        }
        (_, Takes::List) => list(),
        (texts, Takes::One) => Err(format!("given {} times, expected one value", texts.len())),
    }
}

/// The values of a key that is a list.
struct List<'a>(&'a [&'a str]);

impl<'de> Deserializer<'de> for List<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        SeqDeserializer::new(self.0.iter().map(|text| Text(text))).deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// One value.
#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

impl<'de> IntoDeserializer<'de, Error> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Text<'de> {
    fn json(self) -> serde_json::Deserializer<serde_json::de::StrRead<'de>> {
        serde_json::Deserializer::from_str(self.0)
    }

    /// The error for a text that is not of the expected type.
    fn refuse<V: Visitor<'de>>(self, visitor: &V) -> Error {
        struct Wanted<'a, V>(&'a V);
        impl<'de, V: Visitor<'de>> serde::de::Expected for Wanted<'_, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.expecting(f)
            }
        }
        Error::invalid_type(Unexpected::Str(self.0), &Wanted(visitor))
    }
}

/// Numbers are JSON numbers.
macro_rules! numbers {
    ($($name:ident)+) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match serde_json::from_str::<Number>(self.0) {
                Ok(_) => self.json().$name(visitor),
                Err(_) => Err(self.refuse(&visitor)),
            }
        }
    )+};
}

/// Lists and objects are JSON.
macro_rules! compounds {
    ($($name:ident($($argument:ident: $type:ty),*);)+) => {$(
        fn $name<V: Visitor<'de>>(self $(, $argument: $type)*, visitor: V) -> Result<V::Value, Error> {
            match self.0.trim_start().starts_with(['{', '[']) {
                true => {
                    let mut json = self.json();
                    let value = json.$name($($argument,)* visitor)?;
                    json.end()?;
                    Ok(value)
                }
                false => Err(self.refuse(&visitor)),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(self.refuse(&visitor)),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    compounds! {
        deserialize_seq();
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            "null" => visitor.visit_unit(),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.0.trim_start().starts_with('{') {
            return self.json().deserialize_enum(name, variants, visitor);
        }
        let variant: StrDeserializer<'de, Error> = self.0.into_deserializer();
        variant.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! { char str string bytes byte_buf unit_struct identifier ignored_any }
}

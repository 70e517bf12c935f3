//! A form, as an argument of a route.
use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::part::RequestPart;
use crate::{
    descriptor::{Input, Outgoing, Part},
    multipart::Multipart,
};

impl RequestPart for Multipart {
    const PART: Part = Part::Form;

    fn read(input: &Input) -> Result<Self, String> {
        // The worker has read it, unless this is no request.
        input.form.clone().ok_or_else(|| "the body is not a form".to_owned())
    }

    fn write(&self, outgoing: &mut Outgoing) {
        outgoing.body = Some(self.to_body());
    }
}

impl JsonSchema for Multipart {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Multipart".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

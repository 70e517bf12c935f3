use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::*;
use crate::{
    CpuInstance, ResourceConfig,
    registry::{Handler, Resource, Route},
};

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Text {
    text: String,
    #[serde(default)]
    times: u32,
}

fn function(arguments: &'static [Argument], route: Option<Route>) -> &'static Function {
    Box::leak(Box::new(Function {
        name: "f",
        owner: None,
        module_path: "app",
        file: "src/main.rs",
        line: 1,
        docs: "",
        resource: Resource::Declared(ResourceConfig::new("w").cpu(CpuInstance::Cpu3c_1_2)),
        route,
        arguments,
        output: |generator| generator.subschema_for::<()>(),
        handler: Handler::Once(|_| unreachable!("never run here")),
        init: None,
        binding: OnceLock::new(),
    }))
}

const STRUCT: &[Argument] = &[Argument::of::<Text>("input")];
const SCALAR: &[Argument] = &[Argument::of::<String>("name")];
const TWO: &[Argument] = &[Argument::of::<String>("text"), Argument::of::<Option<u32>>("times")];

fn body(text: &str) -> Input {
    Input::job(Some(RawValue::from_string(text.to_owned()).unwrap()))
}

fn paths(error: &Error) -> Vec<&str> {
    error.fields().iter().map(|field| field.path.as_str()).collect()
}

#[test]
fn a_lone_struct_is_the_body_and_a_lone_scalar_a_field() {
    let whole = function(STRUCT, None);
    let text = Text { text: "a".into(), times: 2 };
    assert_eq!((text,).encode(whole).unwrap().get(), r#"{"text":"a","times":2}"#);
    let (back,) = <(Text,)>::decode(body(r#"{"text":"a"}"#), whole).unwrap();
    assert_eq!(back, Text { text: "a".into(), times: 0 });

    let field = function(SCALAR, None);
    assert_eq!(("a".to_owned(),).encode(field).unwrap().get(), r#"{"name":"a"}"#);
    assert_eq!(<(String,)>::decode(body(r#"{"name":"a"}"#), field).unwrap().0, "a");
}

#[test]
fn any_json_is_the_body_and_a_list_is_a_field() {
    assert!(function(const { &[Argument::of::<Value>("x")] }, None).binding().whole_body);
    assert!(!function(const { &[Argument::of::<Vec<Text>>("x")] }, None).binding().whole_body);
    assert!(!function(const { &[Argument::of::<Option<Text>>("x")] }, None).binding().whole_body);
}

#[test]
fn several_arguments_are_one_object_and_an_option_may_be_left_out() {
    let two = function(TWO, None);
    assert_eq!(("a".to_owned(), Some(3)).encode(two).unwrap().get(), r#"{"text":"a","times":3}"#);
    let decoded = <(String, Option<u32>)>::decode(body(r#"{"text":"a","other":[]}"#), two).unwrap();
    assert_eq!(decoded, ("a".to_owned(), None));
}

#[test]
fn an_empty_input_is_an_ordinary_input() {
    let none = function(&[], None);
    for input in [Input::default(), body("{}"), body("null")] {
        <()>::decode(input, none).unwrap();
    }
    let optional = function(const { &[Argument::of::<Option<u32>>("n")] }, None);
    assert_eq!(<(Option<u32>,)>::decode(body("{}"), optional).unwrap(), (None,));
}

#[test]
fn every_wrong_field_is_named_with_what_was_expected() {
    let error =
        <(String, Option<u32>)>::decode(body(r#"{"times":"many"}"#), function(TWO, None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(paths(&error), ["/text", "/times"], "{error}");
    assert!(error.message().contains("missing") && error.message().contains("integer"), "{error}");

    let whole = <(Text,)>::decode(body(r#"{"text":7,"times":-1}"#), function(STRUCT, None)).unwrap_err();
    assert!(paths(&whole).contains(&"/text") && paths(&whole).contains(&"/times"), "{whole}");
    // Too large for the type, which the schema does not say: serde names the field.
    let large =
        <(Text,)>::decode(body(r#"{"text":"a","times":99999999999}"#), function(STRUCT, None)).unwrap_err();
    assert_eq!(paths(&large), ["/times"], "{large}");
    let scalar = <(Text,)>::decode(body("7"), function(STRUCT, None)).unwrap_err();
    assert!(scalar.message().contains("object"), "{scalar}");
}

#[test]
fn a_refused_input_is_not_repeated_and_one_that_cannot_be_read_is_told_by_its_place() {
    let secret = "hunter2".repeat(30_000);
    let wrong = [
        <(Text,)>::decode(body(&format!(r#"{{"text":"a","times":"{secret}"}}"#)), function(STRUCT, None))
            .err(),
        <(Text,)>::decode(body(&format!("\"{secret}\"")), function(STRUCT, None)).err(),
        <(String, Option<u32>)>::decode(body(&format!(r#"{{"text":["{secret}"]}}"#)), function(TWO, None))
            .err(),
        <(String, Option<u32>)>::decode(body(&format!("[\"{secret}\"]")), function(TWO, None)).err(),
    ];
    for error in wrong {
        let text = serde_json::to_string(error.unwrap().to_wire()).unwrap();
        assert!(text.len() < 1000 && !text.contains("hunter2"), "{text}");
    }
    let half = <(Text,)>::decode(body(r#"{"text":"\ud800"}"#), function(STRUCT, None)).unwrap_err();
    assert!(half.message().contains("hex escape at line 1 column"), "{half}");
}

#[test]
fn a_route_binds_path_query_and_body_by_name() {
    const ROUTE: &[Argument] = &[Argument::of::<u32>("id"), Argument::of::<String>("text")];
    let put = function(ROUTE, Some(Route { method: "PUT", path: "/items/{id}" }));
    assert_eq!(put.binding().sources, [ArgumentSource::Path, ArgumentSource::Body]);
    let mut input = body(r#"{"text":"a"}"#);
    input.text = vec![("id".into(), "7".into())];
    assert_eq!(<(u32, String)>::decode(input, put).unwrap(), (7, "a".to_owned()));

    let get = function(ROUTE, Some(Route { method: "GET", path: "/items/{id}" }));
    assert_eq!(get.binding().sources, [ArgumentSource::Path, ArgumentSource::Query]);
    let input = Input { body: None, text: vec![("id".into(), "x".into()), ("text".into(), "7".into())] };
    let error = <(u32, String)>::decode(input, get).unwrap_err();
    assert_eq!(paths(&error), ["/id"], "{error}");
    let encoded = (7_u32, "8".to_owned()).encode_text(get).unwrap();
    assert_eq!(encoded, [("id", "7".to_owned()), ("text", "8".to_owned())]);
}

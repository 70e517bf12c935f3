use std::sync::OnceLock;

use flash_protocol::{CpuInstance, ResourceConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::*;
use crate::descriptor::{Handler, Output, Resource, Route};

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
        settings: crate::descriptor::FunctionSettings::new(),
        arguments,
        output: Output::of::<()>(),
        handler: Handler::Once(|_| unreachable!("never run here")),
        lifecycle: None,
        binding: OnceLock::new(),
    }))
}

const STRUCT: &[Argument] = &[Argument::of::<Text>("input")];
const SCALAR: &[Argument] = &[Argument::of::<String>("name")];
const TWO: &[Argument] = &[Argument::of::<String>("text"), Argument::of::<Option<u32>>("times")];

fn body(text: &str) -> Input {
    Input::job(Some(RawValue::from_string(text.to_owned()).unwrap().into()))
}

/// The arguments as JSON.
fn encoded<A: Args>(args: A, function: &Function) -> String {
    args.encode_json(function).unwrap().get().to_owned()
}

fn paths(error: &Error) -> Vec<&str> {
    error.fields().iter().map(|field| field.path.as_str()).collect()
}

#[test]
fn a_lone_struct_is_the_body_and_a_lone_scalar_a_field() {
    let whole = function(STRUCT, None);
    let text = Text { text: "a".into(), times: 2 };
    assert_eq!(encoded((text,), whole), r#"{"text":"a","times":2}"#);
    let (back,) = <(Text,)>::decode(body(r#"{"text":"a"}"#), whole).unwrap();
    assert_eq!(back, Text { text: "a".into(), times: 0 });

    let field = function(SCALAR, None);
    assert_eq!(encoded(("a".to_owned(),), field), r#"{"name":"a"}"#);
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
    assert_eq!(encoded(("a".to_owned(), Some(3)), two), r#"{"text":"a","times":3}"#);
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
    let input =
        Input { text: vec![("id".into(), "x".into()), ("text".into(), "7".into())], ..Input::default() };
    let error = <(u32, String)>::decode(input, get).unwrap_err();
    assert_eq!(paths(&error), ["/id"], "{error}");
    let encoded = (7_u32, "8".to_owned()).encode_text(get).unwrap();
    assert_eq!(encoded, [("id", "7".to_owned()), ("text", "8".to_owned())]);
}

/// Arguments of a query, by the text of it.
fn query<A: Args>(arguments: &'static [Argument], query: &[(&str, &str)]) -> Result<A> {
    let get = function(arguments, Some(Route { method: "GET", path: "/items" }));
    let text = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    A::decode(Input { text, ..Input::default() }, get)
}

#[test]
fn a_repeated_key_is_a_list() {
    const TAGS: &[Argument] = &[Argument::of::<Vec<String>>("tag")];
    let tags = |text: &[(&str, &str)]| query::<(Vec<String>,)>(TAGS, text).unwrap().0;
    assert_eq!(tags(&[("tag", "a"), ("other", "x"), ("tag", "b")]), ["a", "b"]);
    assert_eq!(tags(&[("tag", "a")]), ["a"]);
    assert_eq!(tags(&[("tag", "7"), ("tag", "true")]), ["7", "true"]);
    // As a caller in Rust writes it.
    assert_eq!(tags(&[("tag", r#"["a","b"]"#)]), ["a", "b"]);
    assert_eq!(tags(&[("tag", "[]")]), [""; 0]);

    const NUMBERS: &[Argument] = &[Argument::of::<Option<Vec<u128>>>("n")];
    let numbers = |text: &[(&str, &str)]| query::<(Option<Vec<u128>>,)>(NUMBERS, text).map(|(n,)| n);
    let most = u128::MAX.to_string();
    assert_eq!(numbers(&[("n", "1"), ("n", &most)]).unwrap(), Some(vec![1, u128::MAX]));
    assert_eq!(numbers(&[]).unwrap(), None);
    let error = numbers(&[("n", "1"), ("n", "x")]).unwrap_err();
    assert!(error.message().contains("`n`: invalid type: string, expected u128"), "{error}");

    const PAIR: &[Argument] = &[Argument::of::<(u8, bool)>("pair")];
    assert_eq!(query::<((u8, bool),)>(PAIR, &[("pair", "1"), ("pair", "true")]).unwrap().0, (1, true));
}

#[test]
fn a_value_that_is_given_twice_is_refused_by_name() {
    const ONE: &[Argument] = &[Argument::of::<u32>("n")];
    let error = query::<(u32,)>(ONE, &[("n", "1"), ("n", "2")]).unwrap_err();
    assert_eq!(error.message(), "`n`: given 2 times, expected one value");
    const OPTION: &[Argument] = &[Argument::of::<Option<String>>("n")];
    let error = query::<(Option<String>,)>(OPTION, &[("n", "1"), ("n", "1")]).unwrap_err();
    assert_eq!(paths(&error), ["/n"]);
}

#[test]
fn every_wrong_parameter_is_named() {
    const THREE: &[Argument] =
        &[Argument::of::<u32>("a"), Argument::of::<bool>("b"), Argument::of::<String>("c")];
    let error = query::<(u32, bool, String)>(THREE, &[("a", "x"), ("b", "y")]).unwrap_err();
    assert_eq!(paths(&error), ["/a", "/b", "/c"], "{error}");
    let error = query::<(u32, bool, String)>(THREE, &[("a", "-1"), ("b", "true"), ("c", "")]).unwrap_err();
    assert_eq!(paths(&error), ["/a"], "{error}");

    // Those of the path beside those of the body.
    const MIXED: &[Argument] =
        &[Argument::of::<u8>("id"), Argument::of::<String>("text"), Argument::of::<bool>("loud")];
    let put = function(MIXED, Some(Route { method: "PUT", path: "/items/{id}" }));
    let mut input = body(r#"{"text":1}"#);
    input.text = vec![("id".into(), "300".into())];
    let error = <(u8, String, bool)>::decode(input, put).unwrap_err();
    let mut named = paths(&error);
    named.sort_unstable();
    assert_eq!(named, ["/id", "/loud", "/text"], "{error}");
}

#[test]
fn text_is_what_its_type_makes_of_it() {
    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Order {
        Newest,
        Oldest,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(untagged)]
    enum Id {
        Number(u32),
        Name(String),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct Wrapped(u8);

    fn one<T: Wire + PartialEq + std::fmt::Debug>(text: &str) -> Result<T, String> {
        let argument: &'static [Argument] = Box::leak(Box::new([Argument::of::<T>("x")]));
        query::<(T,)>(argument, &[("x", text)])
            .map(|(value,)| value)
            .map_err(|error| error.message().to_owned())
    }
    assert_eq!(one("newest"), Ok(Order::Newest));
    assert_eq!(one("7"), Ok(Id::Name("7".into())));
    assert_eq!(one("7"), Ok(Wrapped(7)));
    assert_eq!(one("null"), Ok(None::<u32>));
    assert_eq!(one("null"), Ok(Some("null".to_owned())));
    assert_eq!(one("1.5"), Ok(Some(1.5_f32)));
    assert_eq!(one("x"), Ok('x'));
    assert_eq!(one(r#"{"text":"a"}"#), Ok(Text { text: "a".into(), times: 0 }));
    assert_eq!(one("true"), Ok(true));
    for wrong in [one::<u8>("300"), one::<u8>("5.0"), one::<u8>(""), one::<u8>("1 2"), one::<u8>("[1]")] {
        assert!(wrong.is_err(), "{wrong:?}");
    }
    assert!(one::<Order>("other").unwrap_err().contains("newest"));
    assert!(one::<bool>("1").unwrap_err().contains("expected a boolean"));
}

#[test]
fn what_a_caller_writes_into_a_query_is_read_back() {
    fn there_and_back<T: Wire + Clone + PartialEq + std::fmt::Debug>(value: &T) {
        let argument: &'static [Argument] = Box::leak(Box::new([Argument::of::<T>("x")]));
        let get = function(argument, Some(Route { method: "GET", path: "/items" }));
        let text = (value.clone(),).encode_text(get).unwrap();
        let text = text.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        assert_eq!(<(T,)>::decode(Input { text, ..Input::default() }, get).unwrap().0, *value);
    }
    there_and_back(&"[\"quoted\"]\n".to_owned());
    there_and_back(&vec!["a,b".to_owned(), "[1]".to_owned()]);
    there_and_back(&Vec::<u8>::new());
    there_and_back(&(u128::MAX, i128::MIN));
    there_and_back(&Some(vec![Some(true), None]));
    there_and_back(&None::<String>);
    there_and_back(&-0.5_f64);
}

#[test]
fn an_argument_without_a_json_form_is_named() {
    const TWO: &[Argument] = &[Argument::of::<String>("text"), Argument::of::<Vec<f64>>("scores")];
    let expected = "argument `scores` cannot be written as JSON: `[1]`: NaN is not a JSON number";
    let scores = vec![0.0, f64::NAN];
    let job = function(TWO, None);
    let call = ("a".to_owned(), scores);
    assert_eq!(call.encode(job).unwrap_err().message(), expected);
    assert_eq!(call.check(job).unwrap_err().message(), expected);
    let get = function(TWO, Some(Route { method: "GET", path: "/items" }));
    let error = call.encode_text(get).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Encode, expected));
}

const FILES: &[Argument] = &[Argument::of::<Bytes>("file"), Argument::of::<Vec<Bytes>>("more")];

#[test]
fn long_bytes_travel_beside_the_json_and_arrive_as_they_were() {
    let jobs = function(FILES, None);
    let (long, short) = (Bytes::from(vec![7; 100_000]), Bytes::from_static(b"abc"));
    let sent = (long.clone(), vec![short.clone(), long.clone()]);
    let Ok(Encoded::Json(payload)) = sent.encode(jobs) else { panic!("it is JSON") };
    assert!(payload.has_attachments() && payload.text().get().len() < 300, "{}", payload.text());
    let json = payload.to_json().into_owned();
    for input in [payload, json.into()] {
        let (file, more) = <(Bytes, Vec<Bytes>)>::decode(Input::job(Some(input)), jobs).unwrap();
        assert_eq!((file, more.as_slice()), (long.clone(), &[short.clone(), long.clone()][..]));
    }
}

#[test]
fn what_is_not_base64_is_refused_by_name() {
    let jobs = function(FILES, None);
    let input = body(r#"{"file":"not base64","more":["YWJj","?"]}"#);
    let error = <(Bytes, Vec<Bytes>)>::decode(input, jobs).unwrap_err();
    assert_eq!(
        (error.kind(), &paths(&error)[..2]),
        (ErrorKind::InvalidInput, &["/file", "/more/1"][..]),
        "{error}"
    );
    assert!(error.fields().iter().all(|field| field.message == "expected base64"), "{error}");
}

#[test]
fn the_only_body_argument_of_a_route_is_the_raw_body_if_it_is_bytes() {
    const ARGUMENTS: &[Argument] = &[Argument::of::<String>("id"), Argument::of::<Bytes>("file")];
    let put = function(ARGUMENTS, Some(Route { method: "PUT", path: "/files/{id}" }));
    assert!(put.binding().raw_body);
    let Ok(Encoded::Raw(sent)) = ("x".to_owned(), Bytes::from_static(b"\xff")).encode(put) else {
        panic!("it is raw")
    };
    let text = vec![("id".to_owned(), "x".to_owned())];
    let input = Input { raw: Some(sent), text, ..Input::default() };
    let (id, file) = <(String, Bytes)>::decode(input, put).unwrap();
    assert_eq!((id.as_str(), &*file), ("x", &b"\xff"[..]));
    let schema = put.binding().input_schema(ARGUMENTS, &mut SchemaGenerator::default()).unwrap();
    assert_eq!(schema, serde_json::json!({ "type": "string", "format": "binary" }));
    for jobs_or_two in [
        function(const { &[Argument::of::<Bytes>("file")] }, None),
        function(FILES, Some(Route { method: "POST", path: "/files" })),
        function(
            const { &[Argument::of::<Option<Bytes>>("file")] },
            Some(Route { method: "POST", path: "/f" }),
        ),
    ] {
        assert!(!jobs_or_two.binding().raw_body);
    }
}

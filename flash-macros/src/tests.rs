//! Tests the expansion of the attributes and their error messages. The spans of errors are tested with the compiler,
//! in `flash-sdk/tests/compile_fail`.
mod routers;

use std::{fs, path::Path};

use proc_macro2::TokenStream;
use quote::quote;
use syn::visit_mut::{self, VisitMut};

use crate::{main_attribute::expand_main, remote::expand_remote, test_attribute::expand_test};

/// Compares with the file of this name; `UPDATE_SNAPSHOTS=1` writes it.
fn assert_snapshot(name: &str, expanded: TokenStream) {
    let text = prettyplease::unparse(&syn::parse2(expanded).expect("the expansion is Rust"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    assert_eq!(text, expected, "{name} differs; UPDATE_SNAPSHOTS=1 accepts the new text");
}

/// The messages of all `compile_error!`s.
fn messages(expanded: TokenStream) -> Vec<String> {
    struct Found(Vec<String>);
    impl VisitMut for Found {
        fn visit_macro_mut(&mut self, called: &mut syn::Macro) {
            if called.path.segments.last().is_some_and(|name| name.ident == "compile_error") {
                self.0.push(called.parse_body::<syn::LitStr>().unwrap().value());
            }
            visit_mut::visit_macro_mut(self, called);
        }
    }
    let mut found = Found(Vec::new());
    found.visit_file_mut(&mut syn::parse2(expanded).expect("the expansion is Rust"));
    found.0
}

fn settings(args: TokenStream) -> Vec<String> {
    messages(expand_remote(args, quote! { async fn work(id: u32) -> Result<u32> { Ok(id) } }))
}

fn function(item: TokenStream) -> Vec<String> {
    messages(expand_remote(quote!(cpu = Cpu3c_1_2), item))
}

fn path(path: &str) -> Vec<String> {
    settings(quote!(cpu = Cpu3c_1_2, method = GET, path = #path))
}

#[track_caller]
fn one(messages: Vec<String>, fragment: &str) {
    assert!(
        messages.len() == 1 && messages[0].contains(fragment),
        "{fragment:?} alone expected in {messages:#?}"
    );
}

#[test]
fn a_free_function_expands_to_marker_companions_and_own_code() {
    let expanded = expand_remote(
        quote!(
            cpu = [Cpu3g_2_8, Cpu3c_2_4],
            workers = 0..=10,
            idle_timeout = 3,
            start_timeout = 1200,
            execution_timeout = 30,
            max_concurrency = 8,
            queue_delay = 2,
            data_centers = [EuRo1],
            disk_gib = 64,
            shm_mib = 512,
            model = "org/name@v1",
            files = ["*.safetensors", "tokenizer.json"],
            retries = 3,
            backoff = 2..=30
        ),
        quote! {
            /// Says hello.
            ///
            /// Twice.
            #[expect(unused_mut)]
            #[instrument]
            #[cfg(unix)]
            pub async fn hello(mut name: String, at: self::Place) -> Result<super::Greeting> {
                Ok(super::Greeting { name })
            }
        },
    );
    assert_snapshot("function.rs", expanded);
}

#[test]
fn a_route_has_no_spawn_that_can_be_called_and_a_synchronous_function_runs_on_the_blocking_pool() {
    let expanded = expand_remote(
        quote!(resource = crate::PIPELINE, method = DELETE, path = "/items/{id}"),
        quote! { fn remove(id: u64) -> std::io::Result<()> { Ok(()) } },
    );
    assert_snapshot("route.rs", expanded);
}

#[test]
fn a_stream_is_boxed_and_has_options_and_local_only() {
    let expanded = expand_remote(
        quote!(gpu = Ada24, gpu_types = [Rtx4090], gpu_count = 2, workers = 3, request_count = 4),
        quote! { pub(super) fn words(text: String) -> impl Stream<Item = Result<String>> + Send { todo!() } },
    );
    assert_snapshot("stream.rs", expanded);
}

#[test]
fn an_impl_keeps_what_is_not_remote() {
    let expanded = expand_remote(
        quote!(worker = "models"),
        quote! {
            impl Sentiment {
                const LABELS: usize = 3;
                #[init]
                fn load() -> Result<Self> { Ok(Self) }
                /// Classifies.
                #[job(retries = 1)]
                pub async fn classify(&self, text: String) -> Result<Label> { Ok(self.label(text)) }
                pub fn again(&self, one: Label, two: Self) -> Result<Self> { Ok(two) }
                pub fn words(&self, text: String) -> impl Stream<Item = Result<Label>> + Send { todo!() }
                fn label(&self, text: String) -> Label { todo!() }
                pub fn helper(text: String) -> Label { todo!() }
            }
        },
    );
    assert_snapshot("impl.rs", expanded);
}

#[test]
fn main_runs_within_its_role() {
    let expanded = expand_main(
        TokenStream::new(),
        quote! {
            /// Starts.
            #[allow(unused)]
            async fn main() -> Result<(), Oops> { run().await }
        },
    );
    assert_snapshot("main.rs", expanded);
}

#[test]
fn the_worker_is_named_after_its_type() {
    let named = |name: &str| {
        let name: TokenStream = name.parse().unwrap();
        let expanded = expand_remote(
            quote!(cpu = Cpu3c_1_2),
            quote! { impl #name { #[init] fn load() -> Self { Self } pub fn work(&self) -> Result<()> { Ok(()) } } },
        );
        let text = expanded.to_string();
        let after = text.split_once("ResourceConfig :: new (\"").unwrap().1;
        after.split_once('"').unwrap().0.to_owned()
    };
    assert_eq!(named("Sentiment"), "sentiment");
    assert_eq!(named("crate::model::TextModel2"), "text_model2");
    assert_eq!(named("HTTPServer"), "http_server");
}

#[test]
fn several_mistakes_are_reported_at_once() {
    let found = messages(expand_remote(
        quote!(cpus = Cpu3c_1_2, idle_timeout = 0, workers = 5..=2),
        quote! { unsafe fn work<T>((a, b): (u32, u32), text: &str) -> u32 { 1 } },
    ));
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn a_wrong_attribute_leaves_the_functions_public_face() {
    let expanded =
        expand_remote(quote!(cpu = Cpu3c_1_2, idle = 3), quote! { fn work(a: u32) -> Result<u32> { Ok(a) } });
    let text = expanded.to_string();
    assert!(text.contains("async fn work") && text.contains("mod work"), "{text}");
}

#[test]
fn settings_are_known_once_and_have_values() {
    one(settings(quote!(cpu = A, idel_timeout = 3)), "did you mean `idle_timeout`?");
    one(settings(quote!(cpu = A, concurrency = 3)), "write `max_concurrency = 8`");
    one(settings(quote!(cpu = A, timeout = 3)), "write `execution_timeout = 600`");
    one(settings(quote!(cpu = A, idle_timeot = 3)), "did you mean `idle_timeout`?");
    one(settings(quote!(cpu = A, min_workers = 1)), "write `workers = 0..=3` (minimum to maximum)");
    one(settings(quote!(cpu = A, max_workers = 1)), "write `workers = 0..=3`");
    one(settings(quote!(cpu = A, worker_count = 1)), "write `workers = 0..=3`");
    one(settings(quote!(cpu = A, gpus = 1)), "write `gpu = Ada24`");
    one(settings(quote!(cpu = A, memory = 16)), "memory comes with the instance type: `Cpu3g_2_8` has");
    one(settings(quote!(cpu = A, region = "eu")), "write `data_centers = [EuRo1]`");
    one(settings(quote!(cpu = A, zzz = 3)), "expected one of `worker`, `cpu`");
    one(settings(quote!(cpu = A, cpu = B)), "`cpu` is set twice");
    one(settings(quote!(cpu = A, workers)), "`workers` needs a value: `workers = 0..=3`");
    one(settings(quote!(cpu = A, workers =)), "`workers` needs a value");
    one(settings(quote!(cpu(A))), "`cpu` needs a value");
    one(settings(quote!(cpu = A workers = 3)), "expected a comma");
    one(settings(quote!("cpu")), "expected a setting");
}

#[test]
fn the_worker_type_is_said_once_and_in_full() {
    let missing = "add `cpu = …`, `gpu = …` or `resource = CONST`";
    one(settings(quote!()), missing);
    one(settings(quote!(workers = 3)), missing);
    one(settings(quote!(worker = "a", workers = 3)), missing);
    one(settings(quote!(method = GET, path = "/{id}")), missing);
    assert_eq!(settings(quote!(worker = "a")), [""; 0]);
    assert_eq!(settings(quote!(worker = "a", method = GET, path = "/{id}")), [""; 0]);
    one(settings(quote!(cpu = A, gpu = B)), "CPU or GPU, not both: `cpu` is already set");
    one(settings(quote!(gpu_types = B, cpu = A)), "CPU or GPU, not both: `gpu_types` is already set");
    one(settings(quote!(cpu = A, gpu_count = 1)), "this is a CPU worker type");
    one(settings(quote!(gpu_count = 1)), "needs `gpu = …`");
    one(settings(quote!(resource = R, workers = 1)), "set `workers` in the constant");
    one(settings(quote!(resource = R, worker = "a")), "set `worker` in the constant");
    one(settings(quote!(cpu = A, queue_delay = 1, request_count = 1)), "one scaler");
}

#[test]
fn names_of_workers_and_hardware_have_their_form() {
    for wrong in ["", "1a", "a/b", "ä", &"a".repeat(64)] {
        one(settings(quote!(worker = #wrong, cpu = A)), "must be a letter, then letters");
    }
    one(settings(quote!(worker = hello, cpu = A)), "must be a string");
    one(function(quote! { fn _f() -> Result<()> { Ok(()) } }), "set another with `worker = \"…\"`");
    one(settings(quote!(cpu = [])), "name at least one");
    one(settings(quote!(cpu = CpuInstance::A)), "write only `A`");
    one(settings(quote!(gpu = "ADA_24")), "expected a bare name");
}

#[test]
fn numbers_keep_within_their_limits() {
    one(settings(quote!(cpu = A, idle_timeout = 0)), "`idle_timeout` must be 1 to 3600");
    one(settings(quote!(cpu = A, idle_timeout = 3601)), "`idle_timeout` must be 1 to 3600");
    one(settings(quote!(cpu = A, execution_timeout = -1)), "`execution_timeout` must be 1 to 604800");
    one(settings(quote!(cpu = A, execution_timeout = 99999999999)), "1 to 604800");
    one(settings(quote!(cpu = A, max_concurrency = 10001)), "1 to 10000");
    one(settings(quote!(cpu = A, queue_delay = 0)), "`queue_delay` must be 1 or more");
    one(settings(quote!(cpu = A, request_count = 0)), "`request_count` must be 1 or more");
    one(settings(quote!(gpu = A, gpu_count = 9)), "`gpu_count` must be 1 to 8");
    one(settings(quote!(cpu = A, disk_gib = 10001)), "`disk_gib` must be 1 to 10000");
    one(settings(quote!(cpu = A, shm_mib = 0)), "`shm_mib` must be 1 to 1048576");
    one(settings(quote!(cpu = A, idle_timeout = SECONDS)), "use a constant");
    one(settings(quote!(cpu = A, files = ["*.bin"])), "add `model = \"org/name@revision\"`");
    one(settings(quote!(cpu = A, model = "a/b", files = [])), "`files` must be one or more strings");
    one(settings(quote!(cpu = A, model_id = "a/b")), "write `model = ");
    one(settings(quote!(cpu = A, workers = 3..=1)), "the minimum number of workers is above the maximum");
    one(settings(quote!(cpu = A, workers = 0)), "at least one worker");
    one(settings(quote!(cpu = A, workers = 0..=0)), "at least one worker");
    one(settings(quote!(cpu = A, workers = 0..3)), "write `min..=max`");
    one(settings(quote!(cpu = A, workers = 1001)), "at most 1000");
    one(settings(quote!(cpu = A, workers = A..=B)), "two numbers");
    one(settings(quote!(cpu = A, workers = -1)), "a maximum");
    assert_eq!(settings(quote!(cpu = A, workers = ..=3)), [""; 0]);
}

#[test]
fn a_task_and_a_buffer_are_settings_of_the_worker_type() {
    assert_eq!(settings(quote!(cpu = A, task, workers = 5, execution_timeout = 604800)), [""; 0]);
    assert_eq!(settings(quote!(cpu = A, buffer = 2)), [""; 0]);
    let expanded = expand_remote(quote!(cpu = A, buffer = 2), quote! { fn f() -> Result<()> { Ok(()) } });
    assert!(expanded.to_string().contains(". buffer (2u32)"), "{expanded}");
    let expanded = expand_remote(quote!(cpu = A, task), quote! { fn f() -> Result<()> { Ok(()) } });
    assert!(expanded.to_string().contains(". task ()"), "{expanded}");
    one(settings(quote!(cpu = A, task = true)), "`task` takes no value: write only `task`");
    one(settings(quote!(cpu = A, task, task)), "`task` is set twice");
    one(settings(quote!(task)), "no hardware is set");
    one(settings(quote!(resource = R, task)), "set `task` in the constant");
    one(settings(quote!(cpu = A, buffer = 0)), "`buffer` must be 1 to 1000");
    one(settings(quote!(cpu = A, buffer_containers = 1)), "write `buffer = 1`");
    for meaningless in
        ["idle_timeout = 3", "max_concurrency = 2", "queue_delay = 1", "request_count = 1", "buffer = 1"]
    {
        let meaningless: TokenStream = meaningless.parse().unwrap();
        one(settings(quote!(cpu = A, task, #meaningless)), "a task has a fresh worker for each job: remove");
    }
    one(settings(quote!(cpu = A, task, workers = 1..=2)), "the minimum is 0 and not 1: `workers = 0..=2`");
    let requests = settings(quote!(cpu = A, task, method = GET, path = "/{id}"));
    assert!(requests.len() == 2 && requests[0].contains("takes jobs, and no requests"), "{requests:?}");
    let block = |members: TokenStream| {
        messages(expand_remote(
            quote!(cpu = A, task),
            quote! { impl Model { #[init] fn load() -> Self { Self } #members } },
        ))
    };
    assert_eq!(block(quote! { pub fn work(&self) -> Result<()> { Ok(()) } }), [""; 0]);
    one(
        block(quote! { #[route(method = GET, path = "/")] pub fn work(&self) -> Result<()> { Ok(()) } }),
        "takes jobs, and no requests",
    );
}

#[test]
fn retries_are_a_setting_of_one_function() {
    assert_eq!(settings(quote!(cpu = A, retries = 3, backoff = 1..=60)), [""; 0]);
    assert_eq!(settings(quote!(worker = "a", retries = 3)), [""; 0]);
    assert_eq!(settings(quote!(resource = R, retries = 3)), [""; 0]);
    one(settings(quote!(cpu = A, retries = 0)), "`retries` must be 1 to 100");
    one(settings(quote!(cpu = A, max_retries = 3)), "write `retries = 3`");
    one(settings(quote!(cpu = A, backoff = 1..=2)), "set `retries = 3` beside it");
    one(settings(quote!(cpu = A, retries = 3, backoff = 1..60)), "write `backoff = 1..=60`");
    one(settings(quote!(cpu = A, retries = 3, backoff = 2..=1)), "the first number of `backoff` is above");
    one(settings(quote!(cpu = A, retries = 3, backoff = 0..=1)), "within 1 to 86400 seconds");
    one(settings(quote!(cpu = A, retries = 3, backoff = 5)), "two numbers of seconds");
    one(settings(quote!(cpu = A, retries = 3, backoff = A..=5)), "two literal numbers");
    one(
        settings(quote!(cpu = A, method = GET, path = "/{id}", retries = 3)),
        "the caller decides about retries",
    );
    one(
        messages(expand_remote(
            quote!(cpu = A, retries = 3),
            quote! { fn f() -> impl Stream<Item = Result<u8>> + Send { s() } },
        )),
        "a stream is not run again",
    );
    let on_impl = |args: TokenStream, members: TokenStream| {
        messages(expand_remote(args, quote! { impl Model { #[init] fn load() -> Self { Self } #members } }))
    };
    let work = quote! { pub fn work(&self) -> Result<()> { Ok(()) } };
    assert_eq!(on_impl(quote!(cpu = A), quote! { #[job(retries = 3)] #work }), [""; 0]);
    one(on_impl(quote!(cpu = A, retries = 3), work.clone()), "write `#[job(retries = 3)]` above it");
    one(on_impl(quote!(cpu = A), quote! { #[job] #work }), "needs no attribute");
    one(on_impl(quote!(cpu = A), quote! { #[job(cpu = A)] #work }), "expected one of `retries`, `backoff`");
    one(on_impl(quote!(cpu = A), quote! { #work #[job(retries = 3)] fn own(&self) {} }), "takes jobs");
}

#[test]
fn a_schedule_is_a_setting_of_a_function_that_needs_no_input() {
    let full =
        quote!(cpu = A, schedule = "0 3 * * *", timezone = "Europe/Berlin", missed = all, overlap = allow);
    let on = |args: TokenStream, arguments: TokenStream| {
        messages(expand_remote(args, quote! { fn f(#arguments) -> Result<u8> { Ok(1) } }))
    };
    let on_none = |args: TokenStream| on(args, quote!());
    assert_eq!(on_none(full.clone()), [""; 0]);
    assert_eq!(on(full.clone(), quote!(day: Option<String>, last: std::option::Option<u8>)), [""; 0]);
    one(on(full.clone(), quote!(day: Option<String>, last: u8)), "make `last` an `Option`");
    one(on_none(quote!(cpu = A, schedule = "61 * * * *")), "`61` is not a minute");
    one(on_none(quote!(cpu = A, schedule = 5)), "must be a literal string");
    one(on_none(quote!(cpu = A, cron = "0 3 * * *")), "write `schedule = \"0 3 * * *\"`");
    one(
        on_none(quote!(cpu = A, schedule = "@daily", timezone = "Europe/Berln")),
        "did you mean `Europe/Berlin`",
    );
    one(on_none(quote!(cpu = A, schedule = "@daily", missed = never)), "one of `skip`, `once`, `all`");
    one(on_none(quote!(cpu = A, schedule = "@daily", overlap = true)), "one of `skip`, `allow`");
    one(on_none(quote!(cpu = A, timezone = "UTC")), "belongs to a schedule");
    one(
        on_none(quote!(cpu = A, method = GET, path = "/now", schedule = "@daily")),
        "a scheduled run is a job",
    );
    let expanded =
        expand_remote(full, quote! { fn f() -> Result<u8> { Ok(1) } }).to_string().replace(' ', "");
    let expected =
        r#"Schedule::new("03***").timezone("Europe/Berlin").missed(::flash_sdk::__private::Missed::All)"#;
    assert!(expanded.contains(expected), "{expanded}");
}

#[test]
fn routes_are_well_formed_and_free() {
    for free in ["/{id}", "/v2x/{id}", "/a/{id}/b"] {
        assert_eq!(path(free), [""; 0], "{free}");
    }
    for reserved in
        ["/ping", "/execute", "/docs", "/openapi.json", "/v2", "/v2/{id}", "/_flash", "/_flash/{id}"]
    {
        one(path(reserved), "is reserved");
    }
    one(path("a/{id}"), "the path must start with `/`");
    one(path("/{id}/"), "an empty segment");
    one(path("//{id}"), "an empty segment");
    one(path("/{id}/{id}"), "appears twice");
    one(path("/{}"), "put the name of an argument between the braces");
    one(path("/{*id}"), "put the name of an argument between the braces");
    one(path("/x{id}"), "is malformed");
    one(path("/:id"), "is written `{id}`");
    one(path("/{id}?x"), "cannot contain '?'");
    one(settings(quote!(cpu = A, method = GET)), "also needs a path");
    one(settings(quote!(cpu = A, path = "/")), "also needs a method");
    one(settings(quote!(cpu = A, method = post, path = "/")), "upper case: `POST`");
    one(settings(quote!(cpu = A, method = "post", path = "/")), "a bare name: `POST`");
    one(settings(quote!(cpu = A, method = FETCH, path = "/")), "one of `GET`");
    one(settings(quote!(cpu = A, method = GET, path = x)), "the path must be a string");
}

#[test]
fn path_parameters_are_arguments() {
    let route = |item| messages(expand_remote(quote!(cpu = A, method = GET, path = "/items/{id}"), item));
    one(
        route(quote! { fn f(item_id: u32) -> Result<u32> { Ok(1) } }),
        "path parameter `{id}` has no argument `id`: add `id: …` to `f`",
    );
    one(route(quote! { fn f(idd: u32) -> Result<u32> { Ok(1) } }), "did you mean `{idd}`?");
    one(route(quote! { fn f(id: Option<u32>) -> Result<u32> { Ok(1) } }), "`id` needs no `Option`");
}

#[test]
fn a_function_can_be_called_across_processes() {
    one(function(quote! { const fn f() -> Result<()> { Ok(()) } }), "cannot be `const`");
    one(function(quote! { unsafe fn f() -> Result<()> { Ok(()) } }), "cannot be `unsafe`");
    one(function(quote! { extern "C" fn f() -> Result<()> { Ok(()) } }), "cannot be `extern`");
    one(function(quote! { fn f<T>(a: T) -> Result<()> { Ok(()) } }), "cannot be generic");
    one(function(quote! { fn f<'a>() -> Result<()> { Ok(()) } }), "cannot be generic");
    one(function(quote! { fn f(a: impl Display) -> Result<()> { Ok(()) } }), "name the type");
    one(function(quote! { fn f(a: &str) -> Result<()> { Ok(()) } }), "take `String`");
    one(function(quote! { fn f(a: Option<&[u8]>) -> Result<()> { Ok(()) } }), "take a `Vec`");
    one(function(quote! { fn f(a: Cow<'_, str>) -> Result<()> { Ok(()) } }), "cannot be borrowed");
    one(function(quote! { fn f() -> Result<&'static str> { Ok("") } }), "take `String`");
    one(function(quote! { fn f(_: u32) -> Result<()> { Ok(()) } }), "must be a plain name");
    one(
        function(quote! { fn f(#[cfg(unix)] a: u32) -> Result<()> { Ok(()) } }),
        "put `#[cfg]` on two functions",
    );
    one(function(quote! { fn f(ref a: u32) -> Result<()> { Ok(()) } }), "must be a plain name");
    one(function(quote! { fn f(&self) -> Result<()> { Ok(()) } }), "put `#[remote]` on the `impl`");
    one(
        function(
            quote! { fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8) -> Result<()> { Ok(()) } },
        ),
        "at most 8 arguments",
    );
}

#[test]
fn a_function_returns_a_result_or_a_stream_of_them() {
    one(function(quote! { fn f() {} }), "add `-> Result<()>`");
    one(function(quote! { fn f() -> u32 { 1 } }), "returns `Result<T>`");
    one(function(quote! { fn f() -> Verdict { v() } }), "returns `Result<T>`");
    one(function(quote! { fn f() -> Vec<u8> { v() } }), "returns `Result<T>`");
    for alias in ["Res<u32>", "AppResult<u32>", "fmt::Result", "TextResult", "error::Maybe<u32>"] {
        let alias: TokenStream = alias.parse().unwrap();
        assert_eq!(function(quote! { fn f() -> #alias { v() } }), [""; 0], "{alias}");
    }
    one(function(quote! { fn f() -> Result { Ok(1) } }), "returns `Result<T>`");
    one(function(quote! { fn f() -> impl Stream<Item = u32> { s() } }), "impl Stream<Item = Result<T>>");
    one(function(quote! { fn f() -> Result<impl Stream<Item = u32>> { s() } }), "not a `Result` of it");
    one(function(quote! { async fn f() -> impl Stream<Item = Result<u32>> { s() } }), "is a plain `fn`");
}

#[test]
fn an_impl_has_one_init_and_methods_with_a_shared_self() {
    let block = |members: TokenStream| function(quote! { impl Model { #members } });
    let work = quote! { pub fn work(&self) -> Result<()> { Ok(()) } };
    let init = quote! { #[init] fn load() -> Self { Self } };
    assert_eq!(block(quote! { #init #work }), [""; 0]);
    one(block(quote! { #work }), "mark the constructor");
    one(block(quote! { #init #init #work }), "only one `#[init]` is allowed");
    one(block(quote! { #[init] fn load(a: u32) -> Self { Self } #work }), "takes no arguments");
    one(block(quote! { #[init] fn load(&self) -> Self { Self } #work }), "takes no arguments");
    one(block(quote! { #[init] fn load() -> u32 { 1 } #work }), "returns `Self` or `Result<Self>`");
    one(block(quote! { #[init] fn load() {} #work }), "returns `Self` or `Result<Self>`");
    assert_eq!(block(quote! { #[init] async fn load() -> io::Result<Model> { Self } #work }), [""; 0]);
    assert_eq!(block(quote! { #[init] fn load() -> AppResult<Self> { Self } #work }), [""; 0]);
    one(block(quote! { #init fn work(&self) {} }), "nothing to call");
    one(block(quote! { #init pub fn work(self) -> Result<()> { Ok(()) } }), "take `&self`");
    one(block(quote! { #init pub fn work(self: Rc<Self>) -> Result<()> { Ok(()) } }), "take `&self`");
    assert_eq!(block(quote! { #init pub fn work(self: Arc<Self>) -> Result<()> { Ok(()) } }), [""; 0]);
    assert_eq!(block(quote! { #init pub fn work(&self) -> impl Stream<Item = Result<()>> { s() } }), [""; 0]);
    one(
        block(quote! { #init pub fn work(&mut self) -> Result<()> { Ok(()) } }),
        "`Mutex`, `RwLock` or atomic",
    );
    one(function(quote! { impl Work for Model { } }), "not on a trait `impl`");
    one(function(quote! { impl<T> Model<T> { } }), "cannot be generic");
    one(function(quote! { impl [u8] { } }), "a named type");
    one(function(quote! { struct Model; }), "goes on a function or on the `impl` block");
}

#[test]
fn methods_of_an_impl_are_all_routes_or_none() {
    let block = |members: TokenStream| {
        function(quote! { impl Model { #[init] fn load() -> Self { Self } #members } })
    };
    let index = quote! { #[route(method = GET, path = "/{id}")] pub fn index(&self, id: u32) -> Result<()> { Ok(()) } };
    assert_eq!(block(index.clone()), [""; 0]);
    one(
        block(quote! { #index pub fn work(&self) -> Result<()> { Ok(()) } }),
        "`index` is a route and `work` is not",
    );
    one(
        block(quote! {
            #index
            #[route(method = GET, path = "/{name}")]
            pub fn other(&self, name: String) -> Result<()> { Ok(()) }
        }),
        "`index` already answers this method and path",
    );
    one(
        block(quote! { #index #[route(method = GET, path = "/a")] fn hidden(&self) {} }),
        "only a public method",
    );
    one(block(quote! { #[route] pub fn work(&self) -> Result<()> { Ok(()) } }), "a route needs both");
    one(
        block(quote! { #[route(cpu = A)] pub fn work(&self) -> Result<()> { Ok(()) } }),
        "unknown setting `cpu`: expected one of `method`, `path`",
    );
    one(
        messages(expand_remote(
            quote!(cpu = A, method = GET),
            quote! { impl Model { #[init] fn load() -> Self { Self } pub fn work(&self) -> Result<()> { Ok(()) } } },
        )),
        "each method sets its own route",
    );
}

#[test]
fn main_is_main_and_takes_nothing() {
    let main = |item| messages(expand_main(TokenStream::new(), item));
    one(main(quote! { async fn start() {} }), "goes on the function `main`");
    one(main(quote! { async fn main(a: u32) {} }), "`main` takes no arguments");
    one(main(quote! { async fn main<T>() {} }), "cannot be generic");
    one(main(quote! { #[tokio::main] async fn main() {} }), "brings its own runtime");
    one(main(quote! { struct Main; }), "goes on `async fn main()`");
    one(messages(expand_main(quote!(workers = 1), quote! { fn main() {} })), "takes no arguments");
}

#[test]
fn a_test_runs_on_a_runtime_of_its_own() {
    let expanded = expand_test(
        TokenStream::new(),
        quote! {
            /// Tests.
            #[ignore = "slow"]
            async fn it_works() -> Result<(), Oops> { run().await }
        },
    );
    assert_snapshot("test.rs", expanded);
}

#[test]
fn a_test_is_asynchronous_and_takes_nothing() {
    let test = |item| messages(expand_test(TokenStream::new(), item));
    one(test(quote! { fn works() {} }), "a plain function needs only `#[test]`");
    one(test(quote! { async fn works(number: u32) {} }), "takes no arguments");
    one(test(quote! { async fn works<T>() {} }), "cannot be generic");
    one(test(quote! { #[tokio::test] async fn works() {} }), "remove this attribute");
    one(test(quote! { struct Works; }), "goes on an `async fn`");
    one(messages(expand_test(quote!(5), quote! { async fn works() {} })), "takes no arguments");
}

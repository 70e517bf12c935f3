use flash_protocol::{
    Lifetime, Program, Retries,
    manifest::{EndpointKind, FORM, HeaderEntry, HttpEntry, RouteEntry, ScalerEntry},
};
use flash_target::ArtifactSpec;

use super::*;
use crate::fixtures::{function, route, spec, worker};

/// The mark of a change, as users see it.
fn mark(action: Action) -> &'static str {
    match action {
        Action::Create => "+",
        Action::Change => "~",
        Action::Destroy => "-",
    }
}

/// The changes as lines, as users see them.
fn lines(live: Option<&ReleaseSpec>, next: &ReleaseSpec) -> Vec<String> {
    let plan = Plan::between(live, next);
    let again: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(again, plan);
    let mut lines = Vec::new();
    for change in plan.changes {
        let breaking = change.breaking.map_or(String::new(), |why| format!(" BREAKING {why}"));
        lines.push(format!("{} {} {}{breaking}", mark(change.action), change.subject.label(), change.name));
        for field in change.fields {
            let side = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
            let breaking = field.breaking.map_or(String::new(), |why| format!(" BREAKING {why}"));
            lines.push(format!(
                "  {}: {} -> {}{breaking}",
                field.field,
                side(field.before),
                side(field.after)
            ));
        }
    }
    lines
}

/// The lines for a change of the usual release.
fn changed(change: impl FnOnce(&mut ReleaseSpec)) -> Vec<String> {
    let mut next = spec();
    change(&mut next);
    lines(Some(&spec()), &next)
}

#[test]
fn nothing_changes_between_equal_releases() {
    let plan = Plan::between(Some(&spec()), &spec());
    assert!(plan.is_empty() && plan.breaking().is_empty());
    assert_eq!(plan.cost_before.as_ref(), Some(&plan.cost_after));
}

#[test]
fn between_two_versions_of_an_app_only_its_functions_and_worker_types_are_named() {
    let (before, mut after) = (spec().manifest, spec().manifest);
    assert_eq!(Plan::of_app(&before, &after), []);
    after.functions.retain(|function| function.name != "clean");
    after.workers[0].workers_max += 1;
    let names: Vec<String> = Plan::of_app(&before, &after)
        .into_iter()
        .map(|change| format!("{} {} {}", mark(change.action), change.subject.label(), change.name))
        .collect();
    let worker = format!("~ worker type {}", after.workers[0].name);
    assert_eq!(names, [worker.as_str(), "- function clean"]);
}

#[test]
fn a_first_release_creates_everything() {
    let lines = lines(None, &spec());
    for expected in [
        "+ worker type batch",
        "  compute: - -> CPU cpu3g-2-8",
        "  workers: - -> 0..=3",
        "+ worker type web",
        "+ function clean",
        "  worker: - -> batch",
        "+ route POST /ask",
        "+ code code",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} in {lines:#?}");
    }
    assert!(lines.iter().all(|line| !line.contains("BREAKING")));
    assert_eq!(Plan::between(None, &spec()).cost_before, None);
}

#[test]
fn a_worker_type_changes_field_by_field() {
    let lines = changed(|next| {
        let worker = &mut next.manifest.workers[0];
        (worker.workers_min, worker.workers_max, worker.idle_timeout_seconds) = (1, 2, 9);
        worker.scaler = ScalerEntry::RequestCount { requests: 2 };
        (worker.disk_gib, worker.vram_gib) = (Some(64), Some(8));
    });
    assert_eq!(
        lines,
        [
            "~ worker type batch",
            "  workers: 0..=3 -> 1..=2",
            "  idle_timeout: 5 s -> 9 s",
            "  scaler: queue delay 4 s -> 2 requests per worker",
            "  disk: - -> 64 GB",
            "  gpu_memory: - -> 8 GB",
        ]
    );
}

#[test]
fn a_buffer_a_task_retries_and_kept_events_are_shown_and_break_nobody() {
    let lines = changed(|next| {
        let worker = &mut next.manifest.workers[0];
        (worker.buffer, worker.lifetime) = (2, Lifetime::OneJob);
        next.manifest.functions[0].settings.retries = Some(Retries::new(3).backoff(2, 30));
        next.manifest.functions[1].settings.replay = Some(16);
    });
    assert_eq!(
        lines,
        [
            "~ worker type batch",
            "  buffer: - -> 2",
            "  task: - -> yes",
            "~ function clean",
            "  retries: none -> 3, after 2 to 30 s",
            "~ route POST /ask",
            "  replay: none -> 16 events",
        ]
    );
}

#[test]
fn what_is_gone_is_destroyed_and_breaks_its_callers() {
    let lines = changed(|next| {
        next.manifest.workers.remove(0);
        next.manifest.functions.remove(0);
    });
    assert_eq!(lines, ["- worker type batch", "- function clean BREAKING callers get an error"]);
}

#[test]
fn schemas_are_compared_with_their_references() {
    let refer = |spec: &mut ReleaseSpec, definition: Value| {
        spec.manifest.functions[0].input = Some(json!({ "$ref": "#/$defs/Text" }));
        spec.manifest.definitions.insert("Text".to_owned(), definition);
    };
    let (mut live, mut next) = (spec(), spec());
    refer(&mut live, json!({ "type": "object", "properties": { "text": { "type": "string" } } }));
    refer(
        &mut next,
        json!({ "type": "object", "required": ["lang"], "properties": {
            "text": { "type": "string" }, "lang": { "type": "string" }, "note": { "type": "string" } } }),
    );
    assert_eq!(
        lines(Some(&live), &next),
        [
            "~ function clean",
            "  input.lang: - -> string, required BREAKING the field is required",
            "  input.note: - -> string",
        ]
    );
    assert_eq!(
        Plan::between(Some(&live), &next).breaking(),
        ["function clean: input.lang: the field is required"]
    );
}

#[test]
fn a_removed_field_of_the_answer_is_breaking() {
    let lines = changed(|next| next.manifest.functions[0].output = json!({ "type": "object" }));
    assert_eq!(lines, ["~ function clean", "  output.label: string -> - BREAKING the field is removed"]);
}

#[test]
fn a_route_is_the_same_by_its_path_and_another_by_another() {
    assert!(changed(|next| next.manifest.functions[1].name = "asked".to_owned()).is_empty());
    let moved = changed(|next| next.manifest.functions[1].route = route("PUT", "/ask").route);
    assert_eq!(
        moved,
        ["~ route PUT /ask", "  route: POST /ask -> PUT /ask BREAKING it is served at another address"]
    );
    let gone = changed(|next| drop(next.manifest.functions.remove(1)));
    assert_eq!(gone, ["- route POST /ask BREAKING callers get an error"]);
    let query = changed(|next| {
        let mut argument = next.manifest.functions[1].arguments[0].clone();
        (argument.source, argument.name) = (ArgumentSource::Query, "q".to_owned());
        next.manifest.functions[1].arguments.push(argument);
    });
    assert_eq!(
        query,
        ["~ route POST /ask", "  query.q: - -> string, required BREAKING the field is required"]
    );
}

#[test]
fn a_form_instead_of_json_and_a_required_header_are_breaking() {
    let lines = changed(|next| {
        let ask = &mut next.manifest.functions[1];
        (ask.raw_body, ask.body_type) = (true, Some(FORM.to_owned()));
        ask.headers.push(HeaderEntry { name: "x-tenant".to_owned(), required: true });
    });
    assert_eq!(
        lines,
        [
            "~ route POST /ask",
            "  body: JSON -> multipart/form-data BREAKING it takes another kind of body",
            "  header.x-tenant: - -> string, required BREAKING the field is required",
        ]
    );
}

#[test]
fn two_routes_that_trade_places_are_matched_by_path() {
    let mut live = spec();
    let other = FunctionEntry {
        name: "tell".to_owned(),
        route: Some(RouteEntry { method: "POST".to_owned(), path: "/tell".to_owned() }),
        ..route("POST", "/ask")
    };
    live.manifest.functions.push(other);
    let mut next = live.clone();
    let first = next.manifest.functions[1].route.clone();
    next.manifest.functions[1].route = next.manifest.functions[2].route.clone();
    next.manifest.functions[2].route = first;
    assert_eq!(lines(Some(&live), &next), Vec::<String>::new());
}

#[test]
fn a_function_that_moves_or_streams_is_breaking() {
    let lines = changed(|next| {
        next.manifest.functions[0].worker = "web".to_owned();
        next.manifest.functions[0].streams = true;
    });
    assert_eq!(
        lines,
        [
            "~ function clean",
            "  worker: batch -> web BREAKING its jobs go to another endpoint",
            "  answers: one result -> a stream BREAKING it answers differently",
        ]
    );
}

#[test]
fn code_variables_secrets_prices_and_settings_are_told_apart() {
    let lines = changed(|next| {
        next.artifact = ArtifactSpec::Images { digest: "2".to_owned(), images: BTreeMap::new() };
        next.variables.insert("MODE".to_owned(), "fast".to_owned());
        next.secrets.insert("TOKEN".to_owned(), 4);
        next.prices.insert("ADA_24".to_owned(), 0.5);
        next.runtime.drain_seconds = 20;
    });
    assert_eq!(
        lines,
        [
            "~ code code",
            "  : sha256:1 -> sha256:2",
            "+ variable MODE",
            "  : - -> fast",
            "+ secret TOKEN",
            "+ price ADA_24",
            "  : - -> $0.5 per second",
            "~ setting drain_seconds",
            "  : 10 -> 20",
        ]
    );
}

#[test]
fn a_commit_alone_is_no_change() {
    assert!(changed(|next| next.origin.commit = Some("abc".to_owned())).is_empty());
}

#[test]
fn commands_change_without_telling_what_is_in_their_variables() {
    let command = |program: &str, token: &str| CommandSpec {
        worker_type: worker("script", EndpointKind::Queue),
        program: Program::command(program, ["-u"]),
        environment: BTreeMap::from([("TOKEN".to_owned(), token.to_owned())]),
        health_path: "/ping".to_owned(),
    };
    let (mut live, mut next) = (spec(), spec());
    live.commands.push(command("python3", "first"));
    next.commands.push(command("python4", "second"));
    assert_eq!(
        lines(Some(&live), &next),
        ["~ command script", "  command: python3 -u -> python4 -u", "  env.TOKEN: set -> new value"]
    );
    assert_eq!(lines(Some(&live), &spec()), ["- command script BREAKING callers get an error"]);
}

#[test]
fn a_new_function_beside_the_others_breaks_nobody() {
    let lines =
        changed(|next| next.manifest.functions.push(function("more", "batch", json!({ "type": "string" }))));
    assert_eq!(lines, ["+ function more", "  worker: - -> batch"]);
}

#[test]
fn paths_and_limits_of_a_router_are_shown_and_moving_it_is_breaking() {
    let router = |prefix: Option<&str>| HttpEntry {
        prefix: prefix.map(str::to_owned),
        models: Vec::new(),
        function: "web".to_owned(),
        file: "src/web.rs".to_owned(),
        line: 3,
        docs: String::new(),
    };
    let mut live = spec();
    let mut next = live.clone();
    let web = next.manifest.workers.iter().position(|worker| worker.name == "web").unwrap();
    next.manifest.workers[web].http = Some(router(Some("/chat")));
    next.manifest.workers[web].max_body_mib = Some(100);
    assert_eq!(
        lines(Some(&live), &next),
        ["~ worker type web", "  http: - -> /chat", "  max_body_mib: - -> 100 MiB"]
    );
    live = next.clone();
    next.manifest.workers[web].http = Some(HttpEntry { line: 9, ..router(None) });
    assert_eq!(
        lines(Some(&live), &next),
        ["~ worker type web", "  http: /chat -> / BREAKING its paths are others"]
    );
}

#[test]
fn names_of_models_are_shown_and_a_name_that_goes_is_breaking() {
    let models = |names: &[&str]| HttpEntry {
        prefix: Some("/v1".to_owned()),
        models: names.iter().map(|&name| name.to_owned()).collect(),
        function: "chat".to_owned(),
        file: "src/chat.rs".to_owned(),
        line: 3,
        docs: String::new(),
    };
    let mut live = spec();
    let web = live.manifest.workers.iter().position(|worker| worker.name == "web").unwrap();
    live.manifest.workers[web].http = Some(models(&["smol", "org/mini"]));
    let mut next = live.clone();
    next.manifest.workers[web].http = Some(models(&["smol", "org/mini", "more"]));
    assert_eq!(
        lines(Some(&live), &next),
        ["~ worker type web", "  openai: smol org/mini -> smol org/mini more"]
    );
    next.manifest.workers[web].http = Some(models(&["smol"]));
    assert_eq!(
        lines(Some(&live), &next),
        ["~ worker type web", "  openai: smol org/mini -> smol BREAKING clients of org/mini get 404"]
    );
}

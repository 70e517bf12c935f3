//! What changes between the live release and the next one. A pure function from two specs to a list.
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use flash_protocol::manifest::{ArgumentSource, FunctionEntry, Manifest, WorkerType};
use flash_target::{CloudSettings, CommandSpec, ModelSpec, ReleaseSpec, RuntimeSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    cost::{HourlyCost, hourly},
    field_change::FieldChange,
    schema::{Direction, Schema, differences},
};
use settings::{
    changed, command_fields, command_variables, field, function_fields, size_fields, worker_fields,
};

/// All changes, and the cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What changes, by kind of item.
    pub changes: Vec<Change>,
    /// An hour of the live release; `None` if nothing is live.
    pub cost_before: Option<HourlyCost>,
    /// An hour of the next one.
    pub cost_after: HourlyCost,
}

/// One item that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happens to it.
    pub action: Action,
    /// Its kind.
    pub subject: Subject,
    /// Its name; of a route, method and path.
    pub name: String,
    /// The changed parts, if they can be told apart.
    pub fields: Vec<FieldChange>,
    /// Why the change as a whole breaks callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaking: Option<String>,
}

/// The kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is new.
    Create,
    /// It stays, with other parts.
    Change,
    /// It is gone afterwards.
    Destroy,
}

/// The kind of item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A worker type of the app.
    WorkerType,
    /// A function that takes jobs.
    Function,
    /// A function that answers HTTP requests.
    Route,
    /// A worker type that is a program.
    Command,
    /// What the workers run, by its digest.
    Code,
    /// A variable of workers.
    Variable,
    /// A secret; its value is never shown.
    Secret,
    /// A price that overrides the catalog's.
    Price,
    /// The model of a worker type.
    Model,
    /// How workers are run and stopped, and where.
    Setting,
}

impl Plan {
    /// What sending `next` changes when `live` is live.
    pub fn between(live: Option<&ReleaseSpec>, next: &ReleaseSpec) -> Self {
        let mut list = List::default();
        list.worker_types(live.map_or(&[][..], |live| &live.manifest.workers), &next.manifest.workers);
        list.functions(live.map(|live| &live.manifest), &next.manifest);
        list.commands(live.map_or(&[][..], |live| &live.commands), &next.commands);
        let digest = |spec: &ReleaseSpec| format!("sha256:{}", spec.artifact.digest());
        list.value(Subject::Code, "code", live.map(digest), Some(digest(next)));
        let empty = BTreeMap::new();
        let (variables, none) = (live.map_or(&empty, |live| &live.variables), BTreeMap::new());
        list.values(Subject::Variable, variables, &next.variables, String::clone);
        list.secrets(live.map_or(&none, |live| &live.secrets), &next.secrets);
        let unpriced = BTreeMap::new();
        let prices = live.map_or(&unpriced, |live| &live.prices);
        list.values(Subject::Price, prices, &next.prices, |price| format!("${price} per second"));
        let without = BTreeMap::new();
        let models = live.map_or(&without, |live| &live.models);
        list.values(Subject::Model, models, &next.models, ModelSpec::text);
        // The settings of a first release are not listed.
        if let Some(live) = live {
            list.settings(&live.runtime, &next.runtime);
            list.cloud(&live.cloud, &next.cloud);
        }
        Self { changes: list.0, cost_before: live.map(hourly), cost_after: hourly(next) }
    }

    /// The differences between two versions of an app: its worker types and functions.
    pub fn of_app(before: &Manifest, after: &Manifest) -> Vec<Change> {
        let mut list = List::default();
        list.worker_types(&before.workers, &after.workers);
        list.functions(Some(before), after);
        list.0
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Why callers break, one reason each: `function clean: input.text: the field is removed`.
    pub fn breaking(&self) -> Vec<String> {
        let reasons = |change: &Change| {
            let head = format!("{} {}", change.subject.label(), change.name);
            let whole = change.breaking.iter().map(|why| format!("{head}: {why}"));
            let parts = change.fields.iter().filter_map(|field| {
                field.breaking.as_ref().map(|why| format!("{head}: {}: {why}", field.field))
            });
            whole.chain(parts).collect::<Vec<_>>()
        };
        self.changes.iter().flat_map(reasons).collect()
    }
}

impl Subject {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::WorkerType => "worker type",
            Self::Function => "function",
            Self::Route => "route",
            Self::Command => "command",
            Self::Code => "code",
            Self::Variable => "variable",
            Self::Secret => "secret",
            Self::Price => "price",
            Self::Model => "model",
            Self::Setting => "setting",
        }
    }
}

/// The changes so far.
#[derive(Default)]
struct List(Vec<Change>);

impl List {
    fn push(
        &mut self,
        action: Action,
        subject: Subject,
        name: &str,
        fields: Vec<FieldChange>,
    ) -> &mut Change {
        self.0.push(Change { action, subject, name: name.to_owned(), fields, breaking: None });
        self.0.last_mut().expect("one was pushed")
    }

    /// An item with a single value.
    fn value(&mut self, subject: Subject, name: &str, before: Option<String>, after: Option<String>) {
        let action = match (&before, &after) {
            (before, after) if before == after => return,
            (None, _) => Action::Create,
            (_, None) => Action::Destroy,
            _ => Action::Change,
        };
        self.push(action, subject, name, vec![field("", before, after)]);
    }

    fn values<T>(
        &mut self,
        subject: Subject,
        before: &BTreeMap<String, T>,
        after: &BTreeMap<String, T>,
        text: impl Fn(&T) -> String,
    ) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            self.value(subject, name, before.get(name).map(&text), after.get(name).map(&text));
        }
    }

    /// By name alone: not even a hash of a value is reported.
    fn secrets(&mut self, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let action = match (before.get(name), after.get(name)) {
                (None, _) => Action::Create,
                (_, None) => Action::Destroy,
                (was, is) if was == is => continue,
                _ => Action::Change,
            };
            self.push(action, Subject::Secret, name, Vec::new());
        }
    }

    fn settings(&mut self, before: &RuntimeSettings, after: &RuntimeSettings) {
        let settings = |of: &RuntimeSettings| {
            let RuntimeSettings {
                drain_seconds,
                ping_timeout_seconds,
                stop_grace_ms,
                limits,
                keep_releases,
                webhook_networks,
                hides_values,
            } = of;
            let networks: Vec<_> = webhook_networks.iter().map(ToString::to_string).collect();
            let networks = if networks.is_empty() { "none".to_owned() } else { networks.join(", ") };
            [
                ("drain_seconds", drain_seconds.to_string()),
                ("ping_timeout", ping_timeout_seconds.to_string()),
                ("stop_grace_ms", stop_grace_ms.to_string()),
                ("limits", limits.to_string()),
                ("keep_releases", keep_releases.to_string()),
                ("webhook_networks", networks),
                ("dashboard.values", if *hides_values { "hidden" } else { "shown" }.to_owned()),
            ]
        };
        for ((name, before), (_, after)) in settings(before).into_iter().zip(settings(after)) {
            self.value(Subject::Setting, name, Some(before), Some(after));
        }
    }

    fn cloud(&mut self, before: &CloudSettings, after: &CloudSettings) {
        let settings = |of: &CloudSettings| {
            let CloudSettings { data_centers, network_volumes, registry_credential } = of;
            let list = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
            [
                ("data_centers", list(data_centers)),
                ("network_volumes", list(network_volumes)),
                ("registry_credential", registry_credential.clone()),
            ]
        };
        for ((name, before), (_, after)) in settings(before).into_iter().zip(settings(after)) {
            self.value(Subject::Setting, name, before, after);
        }
    }

    fn worker_types(&mut self, before: &[WorkerType], after: &[WorkerType]) {
        for new in after {
            match before.iter().find(|old| old.name == new.name) {
                None => {
                    let fields = worker_fields(new).into_iter();
                    let mut fields: Vec<FieldChange> =
                        fields.map(|(name, value)| field(name, None, Some(value))).collect();
                    let sizes = size_fields(new).into_iter().filter(|(_, size)| size.is_some());
                    fields.extend(sizes.map(|(name, size)| field(name, None, size)));
                    self.push(Action::Create, Subject::WorkerType, &new.name, fields);
                }
                Some(old) => {
                    let mut fields = changed(worker_fields(old), worker_fields(new));
                    let sizes = size_fields(old).into_iter().zip(size_fields(new));
                    let sizes = sizes.filter(|((_, was), (_, is))| was != is);
                    fields.extend(sizes.map(|((name, was), (_, is))| field(name, was, is)));
                    let kind_changes = old.kind != new.kind;
                    if !fields.is_empty() {
                        let change = self.push(Action::Change, Subject::WorkerType, &new.name, fields);
                        if kind_changes {
                            change.breaking = Some("it is called differently".to_owned());
                        }
                    }
                }
            }
        }
        for old in before.iter().filter(|old| after.iter().all(|new| new.name != old.name)) {
            self.push(Action::Destroy, Subject::WorkerType, &old.name, Vec::new());
        }
    }

    fn commands(&mut self, before: &[CommandSpec], after: &[CommandSpec]) {
        let name = |command: &CommandSpec| command.worker_type.name.clone();
        for new in after {
            match before.iter().find(|old| name(old) == name(new)) {
                None => {
                    let fields = command_fields(new).into_iter();
                    let fields = fields.map(|(name, value)| field(name, None, Some(value))).collect();
                    self.push(Action::Create, Subject::Command, &name(new), fields);
                }
                Some(old) => {
                    let mut fields = changed(command_fields(old), command_fields(new));
                    fields.extend(command_variables(old, new));
                    if !fields.is_empty() {
                        self.push(Action::Change, Subject::Command, &name(new), fields);
                    }
                }
            }
        }
        for old in before.iter().filter(|old| after.iter().all(|new| name(new) != name(old))) {
            self.push(Action::Destroy, Subject::Command, &name(old), Vec::new()).breaking =
                Some("callers get an error".to_owned());
        }
    }

    /// A route is matched by method and path, whatever its function is called now. Otherwise, and for a queue
    /// function always, the name is matched.
    fn functions(&mut self, live: Option<&Manifest>, next: &Manifest) {
        let before = live.map_or(&[][..], |live| &live.functions);
        let mut left: Vec<&FunctionEntry> = before.iter().collect();
        let mut take = |is: &dyn Fn(&FunctionEntry) -> bool| {
            left.iter().position(|old| is(old)).map(|index| left.remove(index))
        };
        let same_route = |new: &FunctionEntry| {
            let is_same = |old: &FunctionEntry| old.route == new.route;
            new.route.as_ref().and_then(|_| take(&is_same))
        };
        let by_route: Vec<Option<&FunctionEntry>> = next.functions.iter().map(same_route).collect();
        let pairs: Vec<(Option<&FunctionEntry>, &FunctionEntry)> = by_route
            .into_iter()
            .zip(&next.functions)
            .map(|(found, new)| {
                let same_name = |old: &FunctionEntry| {
                    old.module == new.module
                        && old.call_name() == new.call_name()
                        && old.route.is_some() == new.route.is_some()
                };
                (found.or_else(|| take(&same_name)), new)
            })
            .collect();
        for (old, new) in pairs {
            match (old, live) {
                (Some(old), Some(live)) => self.function((live, old), (next, new)),
                _ => {
                    let worker = field("worker", None, Some(new.worker.clone()));
                    self.push(Action::Create, subject_of(new), &name_of(new), vec![worker]);
                }
            }
        }
        for old in left {
            self.push(Action::Destroy, subject_of(old), &name_of(old), Vec::new()).breaking =
                Some("callers get an error".to_owned());
        }
    }

    fn function(
        &mut self,
        (live, old): (&Manifest, &FunctionEntry),
        (next, new): (&Manifest, &FunctionEntry),
    ) {
        let breaking =
            |why: &str, change: FieldChange| FieldChange { breaking: Some(why.to_owned()), ..change };
        let mut fields = Vec::new();
        if old.route != new.route {
            let change = field("route", Some(name_of(old)), Some(name_of(new)));
            fields.push(breaking("it is served at another address", change));
        }
        if old.worker != new.worker {
            let change = field("worker", Some(old.worker.clone()), Some(new.worker.clone()));
            // A route is found by its path; a job goes to the endpoint of its worker type.
            fields.push(match new.route {
                Some(_) => change,
                None => breaking("its jobs go to another endpoint", change),
            });
        }
        if old.streams != new.streams {
            let text = |streams: bool| Some(if streams { "a stream" } else { "one result" }.to_owned());
            fields.push(breaking(
                "it answers differently",
                field("answers", text(old.streams), text(new.streams)),
            ));
        }
        if old.body_type != new.body_type {
            let change = field("body", Some(body_type(old)), Some(body_type(new)));
            fields.push(breaking("it takes another kind of body", change));
        }
        fields.extend(changed(function_fields(&old.settings), function_fields(&new.settings)));
        let nothing = json!({ "type": "object" });
        let mut compare = |name: &str, was: &Value, is: &Value, direction| {
            let before = Schema { schema: was, definitions: &live.definitions };
            let after = Schema { schema: is, definitions: &next.definitions };
            fields.extend(differences(name, before, after, direction));
        };
        for source in [ArgumentSource::Path, ArgumentSource::Query] {
            let (was, is) = (arguments(old, source), arguments(new, source));
            let name = if source == ArgumentSource::Path { "path" } else { "query" };
            compare(name, &was, &is, Direction::Input);
        }
        compare("header", &headers(old), &headers(new), Direction::Input);
        let input = |function: &FunctionEntry| function.input.clone().unwrap_or_else(|| nothing.clone());
        compare("input", &input(old), &input(new), Direction::Input);
        compare("output", &old.output, &new.output, Direction::Output);
        if !fields.is_empty() {
            self.push(Action::Change, subject_of(new), &name_of(new), fields);
        }
    }
}

/// The route's arguments from this source, as one schema.
fn arguments(function: &FunctionEntry, source: ArgumentSource) -> Value {
    let own = || {
        let is_own = move |argument: &&flash_protocol::manifest::ArgumentEntry| argument.source == source;
        function.arguments.iter().filter(is_own)
    };
    let properties: Map<String, Value> =
        own().map(|argument| (argument.name.clone(), argument.schema.clone())).collect();
    let required: Vec<&str> =
        own().filter(|argument| argument.required).map(|argument| argument.name.as_str()).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// The headers that are arguments of a route, as one schema.
fn headers(function: &FunctionEntry) -> Value {
    let properties: Map<String, Value> =
        function.headers.iter().map(|header| (header.name.clone(), json!({ "type": "string" }))).collect();
    let required: Vec<&str> =
        function.headers.iter().filter(|header| header.required).map(|header| header.name.as_str()).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// What a route's body is, for people.
fn body_type(function: &FunctionEntry) -> String {
    match (&function.body_type, function.raw_body) {
        (Some(body_type), _) => body_type.clone(),
        (None, true) => "bytes".to_owned(),
        (None, false) => "JSON".to_owned(),
    }
}

fn subject_of(function: &FunctionEntry) -> Subject {
    if function.route.is_some() { Subject::Route } else { Subject::Function }
}

fn name_of(function: &FunctionEntry) -> String {
    match &function.route {
        Some(route) => format!("{} {}", route.method, route.path),
        None => function.call_name(),
    }
}

#[cfg(test)]
mod tests;

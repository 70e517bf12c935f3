//! What the process around the models is told.
use std::{sync::Mutex, time::Duration};

use serde_json::json;

use super::{model::Scripted, post};
use crate::{Ended, Host, ModelError, Models, Usage, Watch, set_host};

/// What was told, by model: other tests of this process have other models.
static TOLD: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

struct Process;

impl Host for Process {
    fn begins(&self, model: &str) -> Box<dyn Watch> {
        Box::new(Answer(model.to_owned()))
    }

    fn broken(&self, _: &str) {}

    fn loading(&self, _: &str) {}
}

struct Answer(String);

impl Answer {
    fn tell(&self, what: impl Into<String>) {
        TOLD.lock().unwrap().push((self.0.clone(), what.into()));
    }
}

impl Watch for Answer {
    fn begun(&mut self, _: Duration) {
        self.tell("begun");
    }

    fn first_token(&mut self, _: Duration) {
        self.tell("first");
    }

    fn next_token(&mut self, _: Duration) {
        self.tell("next");
    }

    fn ended(self: Box<Self>, how: Ended, usage: Usage, _: Duration) {
        let Usage { prompt_tokens, cached_tokens, completion_tokens } = usage;
        self.tell(format!("{how:?} {prompt_tokens} {cached_tokens} {completion_tokens}"));
    }
}

fn told(model: &str) -> Vec<String> {
    let told = TOLD.lock().unwrap();
    told.iter().filter(|(of, _)| of == model).map(|(_, what)| what.clone()).collect()
}

// The clock moves when nothing else does.
#[tokio::test(start_paused = true)]
async fn the_host_is_told_how_each_answer_goes_and_how_it_ends() {
    // Another test of this file may have set it.
    let _ = set_host(Process);
    let ask = async |name: &str, model, stream: bool| {
        let router = Models::new().text(name, model).router().unwrap();
        let body = json!({ "model": name, "prompt": "abcd", "stream": stream });
        post(router, "/v1/completions", body).await
    };
    ask("told-whole", Scripted::says(&["Hel", "lo"]), false).await;
    assert_eq!(told("told-whole"), ["begun", "first", "next", "Stop 4 2 3"]);
    ask("told-stream", Scripted::says(&["Hel", "lo"]), true).await;
    assert_eq!(told("told-stream"), ["begun", "first", "next", "Stop 4 2 3"]);
    let fails = Scripted::fails_after(&["Hel"], || ModelError::internal("no more"));
    ask("told-failure", fails, true).await;
    assert_eq!(told("told-failure"), ["begun", "first", "Error 4 0 1"]);
    // Its client leaves while the model hangs.
    let hangs = ask("told-abort", Scripted::hangs_after(&["Hel"]), true);
    assert!(tokio::time::timeout(Duration::from_secs(1), hangs).await.is_err());
    assert_eq!(told("told-abort"), ["begun", "first", "Abort 4 0 1"]);
}

use serde_json::{Value, json};

use super::{Answer, both, model::Scripted, post};
use crate::{ModelError, Models};

const PATH: &str = "/v1/chat/completions";

/// A request to `talk` with one message and these fields.
fn request(fields: Value) -> Value {
    let mut request = json!({ "model": "talk", "messages": [{ "role": "user", "content": "hi" }] });
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

async fn ask(fields: Value) -> Answer {
    post(both(), PATH, request(fields)).await
}

#[tokio::test]
async fn an_answer_has_the_text_its_end_and_its_tokens() {
    let answer = ask(json!({})).await.json();
    assert_eq!(answer["id"], "chatcmpl-req-7");
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "talk");
    let choice = json!({
        "index": 0,
        "message": { "role": "assistant", "content": "Hello", "refusal": null },
        "logprobs": null,
        "finish_reason": "stop"
    });
    assert_eq!(answer["choices"], json!([choice]));
    let usage = json!({
        "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
        "prompt_tokens_details": { "cached_tokens": 2 }
    });
    assert_eq!(answer["usage"], usage);
}

#[tokio::test]
async fn the_model_gets_messages_and_sampling_as_the_client_set_them() {
    let model = Scripted::says(&["x"]);
    let router = || Models::new().text("talk", model.clone()).router().unwrap();
    let mut fields = request(json!({
        "max_completion_tokens": 5, "temperature": 0.5, "top_p": 0.0, "seed": -1, "n": 2, "stop": ["a", "b"],
        "ignore_eos": true, "logprobs": true, "top_logprobs": 2, "unknown": { "field": [1] }, "tools": [],
        "response_format": { "type": "text" }, "frequency_penalty": 0.5, "top_k": 40, "repetition_penalty": 1.5
    }));
    fields["messages"] = json!([
        { "role": "developer", "content": [{ "type": "text", "text": "be " }, { "type": "text", "text": "kind" }] },
        { "role": "assistant", "content": null },
        { "role": "user", "content": "é", "name": "Ann" }
    ]);
    assert_eq!(post(router(), PATH, fields).await.status, 200);
    let asked = model.asked();
    let prompt: Vec<u8> = asked[0].prompt.iter().map(|&token| token as u8).collect();
    assert_eq!(String::from_utf8(prompt).unwrap(), "system: be kind\nassistant: \nuser: é\n");
    let sampling = &asked[0].sampling;
    assert_eq!((sampling.temperature, sampling.max_tokens, sampling.seed), (0.5, 5, Some(u64::MAX)));
    assert!(sampling.top_p > 0.0 && sampling.ignore_eos);
    let penalties = (sampling.frequency_penalty, sampling.presence_penalty, sampling.repetition_penalty);
    assert_eq!((sampling.top_k, penalties), (Some(40), (0.5, 0.0, 1.5)));
    assert_eq!((&sampling.stop[..], sampling.logprobs), (&["a".to_owned(), "b".to_owned()][..], Some(2)));
    assert_eq!(asked[1].sampling.seed, Some(0), "choices differ, and come again");

    let null =
        json!({ "stop": null, "max_tokens": null, "seed": null, "stream_options": null, "top_logprobs": 0 });
    assert_eq!(post(router(), PATH, request(null)).await.status, 200);
    let sampling = &model.asked()[2].sampling;
    assert_eq!(
        (sampling.max_tokens, sampling.seed, sampling.stop.len()),
        (91, None, 0),
        "the rest of the context"
    );
    assert_eq!(post(router(), PATH, request(json!({ "stop": "one", "max_tokens": 9999 }))).await.status, 200);
    assert_eq!(
        (model.asked()[3].sampling.stop.clone(), model.asked()[3].sampling.max_tokens),
        (vec!["one".into()], 91)
    );
}

#[tokio::test]
async fn each_choice_is_in_its_place_and_the_prompt_counts_once() {
    let answer = ask(json!({ "n": 3 })).await.json();
    let indexes: Vec<_> =
        answer["choices"].as_array().unwrap().iter().map(|choice| choice["index"].clone()).collect();
    assert_eq!(indexes, [0, 1, 2]);
    assert_eq!(
        (&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]),
        (&json!(9), &json!(9))
    );
}

#[tokio::test]
async fn log_probabilities_have_alternatives_and_no_infinity() {
    let answer = ask(json!({ "logprobs": true, "top_logprobs": 2 })).await.json();
    let tokens = &answer["choices"][0]["logprobs"]["content"];
    assert_eq!(tokens[0]["token"], "Hel");
    assert_eq!((&tokens[0]["logprob"], &tokens[0]["bytes"]), (&json!(-0.5), &json!([72, 101, 108])));
    assert_eq!(tokens[1]["top_logprobs"][1], json!({ "token": "?", "logprob": -9999.0, "bytes": [63] }));
    let alone = ask(json!({ "top_logprobs": 2 })).await;
    assert_eq!(alone.message(400, Some("top_logprobs")), "`top_logprobs` needs `logprobs` set to true");
}

#[tokio::test]
async fn a_prompt_over_the_context_is_refused_with_both_numbers() {
    let mut long = request(json!({}));
    long["messages"][0]["content"] = "x".repeat(150).into();
    let answer = post(both(), PATH, long).await;
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    let message = answer.message(400, None);
    assert!(message.contains("157 tokens") && message.contains("100 tokens"), "{message}");
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    for (fields, param, words) in [
        (json!({ "tools": [{}] }), "tools", "not supported"),
        (json!({ "functions": [{}] }), "functions", "not supported"),
        (json!({ "response_format": { "type": "json_object" } }), "response_format", "`type` to `text`"),
        (json!({ "logit_bias": { "5": 1 } }), "logit_bias", "not supported"),
        (json!({ "presence_penalty": 2.5 }), "presence_penalty", "2.5"),
        (json!({ "top_k": -2 }), "top_k", "-2"),
        (json!({ "temperature": 2.5 }), "temperature", "is 2.5, but must be from 0 to 2"),
        (json!({ "top_p": -1 }), "top_p", "must be from 0 to 1"),
        (json!({ "n": 0 }), "n", "must be from 1 to 128"),
        (json!({ "n": -1 }), "n", "not valid"),
        (json!({ "max_tokens": 0 }), "max_tokens", "at least 1"),
        (json!({ "stop": [""] }), "stop", "empty"),
        (json!({ "stop": ["a", "b", "c", "d", "e"] }), "stop", "at most 4"),
        (json!({ "messages": [] }), "messages", "empty"),
        (
            json!({ "messages": [{ "role": "robot", "content": "x" }] }),
            "messages[0].role",
            "`robot` is no role",
        ),
        (json!({ "messages": [{ "role": "user" }] }), "messages[0].content", "no `content`"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }] }),
            "messages[0].content[0]",
            "reads text only",
        ),
        (json!({ "messages": [{ "role": "user", "content": 5 }] }), "messages[0].content", "not valid"),
        (json!({ "model": "vec" }), "model", "answers at /v1/embeddings"),
    ] {
        let message = ask(fields.clone()).await.message(400, Some(param));
        assert!(message.contains(words), "{fields}: {message}");
    }
}

#[tokio::test]
async fn clients_retry_when_there_was_no_room_and_not_when_the_model_failed() {
    for (error, status, should_retry) in [
        ((|| ModelError::overloaded("the line is full")) as fn() -> ModelError, 503, None),
        (|| ModelError::internal("out of memory"), 500, Some("false")),
        (|| ModelError::invalid_request("no"), 400, None),
    ] {
        for fields in [json!({}), json!({ "stream": true })] {
            let router = Models::new().text("talk", Scripted::fails_after(&[], error)).router().unwrap();
            let answer = post(router, PATH, request(fields)).await;
            assert_eq!(answer.should_retry.as_deref(), should_retry, "{}", answer.body);
            assert_eq!(answer.retry_after.as_deref(), (status == 503).then_some("1"), "{}", answer.body);
            assert_eq!(answer.message(status, None), error().message());
        }
    }
}

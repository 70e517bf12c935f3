use serde_json::json;

use super::{both, model::Scripted, post};
use crate::Models;

const PATH: &str = "/v1/completions";

#[tokio::test]
async fn every_prompt_has_its_choices_in_order() {
    let model = Scripted::says(&["x"]);
    let router = Models::new().text("talk", model.clone()).router().unwrap();
    let answer = post(router, PATH, json!({ "model": "talk", "prompt": ["a", "bc"], "n": 2 })).await.json();
    assert_eq!(answer["id"], "cmpl-req-7");
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"].as_array().unwrap().len(), 4);
    assert_eq!(
        answer["choices"][3],
        json!({ "index": 3, "text": "x", "logprobs": null, "finish_reason": "stop" })
    );
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
    let asked = model.asked();
    assert_eq!(asked.iter().map(|asked| asked.prompt.len()).collect::<Vec<_>>(), [1, 1, 2, 2]);
    assert_eq!(asked[0].sampling.max_tokens, 16, "the default of this route");
}

#[tokio::test]
async fn log_probabilities_are_lists_side_by_side() {
    let router = || Models::new().text("talk", Scripted::says(&["Hé", "l"])).router().unwrap();
    let request = json!({ "model": "talk", "prompt": "a", "logprobs": 1 });
    let answer = post(router(), PATH, request).await.json();
    let expected = json!({
        "tokens": ["Hé", "l"], "token_logprobs": [-0.5, -0.5], "top_logprobs": [{ "Hé": -0.5 }, { "l": -0.5 }],
        "text_offset": [0, 2]
    });
    assert_eq!(answer["choices"][0]["logprobs"], expected);
    let request = json!({ "model": "talk", "prompt": "a", "logprobs": 0, "stream": true });
    let chunks = post(router(), PATH, request).await.chunks();
    assert_eq!(
        chunks[1]["choices"][0]["logprobs"]["text_offset"],
        json!([2]),
        "offsets go on from chunk to chunk"
    );
    assert_eq!(chunks[0]["choices"][0]["text"], "Hé");
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    for (fields, param, words) in [
        (json!({ "prompt": [1, 2] }), "prompt", "tokenized_requests=False"),
        (json!({ "prompt": [[1, 2], [3]] }), "prompt", "tokenized_requests=False"),
        (json!({ "prompt": "" }), "prompt", "empty"),
        (json!({ "prompt": 7 }), "prompt", "not valid"),
        (json!({ "prompt": "a", "echo": true }), "echo", "not supported"),
        (json!({ "prompt": "a", "suffix": "b" }), "suffix", "not supported"),
        (json!({ "prompt": "a", "best_of": 3 }), "best_of", "ask for `n` answers"),
        (json!({ "prompt": vec!["a"; 64], "n": 3 }), "n", "from 1 to 2"),
    ] {
        let mut request = fields.clone();
        request["model"] = "talk".into();
        let message = post(both(), PATH, request).await.message(400, Some(param));
        assert!(message.contains(words), "{fields}: {message}");
    }
}

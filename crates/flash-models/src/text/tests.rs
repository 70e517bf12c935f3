use std::sync::Arc;

use flash_openai::{Message, ModelErrorKind, Role};
use serde_json::json;
use tokenizers::Tokenizer;

use super::{
    AnswerText, ChatTemplate, Vocabulary,
    answer::Added,
    stops::{Shown, Stops},
};
use crate::sampling::{Candidate, Chosen};

/// The token that ends a text of [`bytes`].
pub(crate) const END: u32 = 256;

/// A vocabulary whose tokens are the bytes, and one that ends a text.
pub(crate) fn bytes() -> Vocabulary {
    let printable = |byte: &u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = 0x100..;
    let vocabulary: serde_json::Map<_, _> = (0..256_u32)
        .map(|byte| if printable(&byte) { byte } else { others.next().unwrap() })
        .map(|code| char::from_u32(code).unwrap().to_string())
        .zip((0..256).map(serde_json::Value::from))
        .collect();
    let end = json!({"id": END, "content": "<end>", "special": true, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false});
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [end], "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "vocab": vocabulary, "merges": []},
    });
    let tokenizer = Tokenizer::from_bytes(serde_json::to_vec(&tokenizer).unwrap()).unwrap();
    Vocabulary::new(tokenizer).with_ends([END])
}

fn answer(stop: &[&str]) -> AnswerText {
    AnswerText::new(Arc::new(bytes()), stop.iter().map(|&stop| stop.to_owned()).collect())
}

fn token(byte: u8) -> Chosen {
    let candidate = Candidate { token: byte.into(), logprob: -1.0 };
    Chosen { token: byte.into(), logprobs: Some((candidate, vec![candidate])) }
}

fn texts(added: &[Added]) -> Vec<&str> {
    added.iter().map(|added| &*added.text).collect()
}

#[test]
fn characters_are_shown_whole_with_the_log_probabilities_of_all_their_tokens() {
    let mut answer = answer(&[]);
    let added: Vec<Added> = "aé😀".bytes().map(|byte| answer.push(&token(byte))).collect();
    assert_eq!(texts(&added), ["a", "", "é", "", "", "", "😀"]);
    assert_eq!(added.iter().map(|added| added.logprobs.len()).collect::<Vec<_>>(), [1, 0, 2, 0, 0, 0, 4]);
    assert_eq!(added[2].logprobs[0].chosen.bytes, [0xC3]);
    assert_eq!(answer.end(), Added::default());
}

#[test]
fn an_unfinished_character_is_flushed_at_the_end() {
    let mut answer = answer(&[]);
    assert_eq!(answer.push(&token(b'a')).text, "a");
    assert_eq!(answer.push(&token(0xF0)).text, "");
    let end = answer.end();
    assert_eq!((&*end.text, end.logprobs.len()), ("\u{FFFD}", 1));
}

#[test]
fn bytes_that_never_become_a_character_are_not_held_for_ever() {
    let mut answer = answer(&[]);
    let shown: String = (0..40).map(|_| answer.push(&token(0x80)).text).collect();
    assert!(shown.chars().count() >= 24, "{shown:?}");
    let after: String = b"fine".iter().map(|byte| answer.push(&token(*byte)).text).collect();
    assert!(after.ends_with("fine"), "{after:?}");
}

#[test]
fn a_stop_string_in_pieces_is_never_shown() {
    let mut answer = answer(&["END", "\n\n"]);
    let added: Vec<Added> = b"oneENtwoEND".iter().map(|byte| answer.push(&token(*byte))).collect();
    assert_eq!(texts(&added), ["o", "n", "e", "", "", "ENt", "w", "o", "", "", ""]);
    assert_eq!(added.iter().filter(|added| added.stopped).count(), 1);
    assert!(added[10].stopped);
    let logprobs: usize = added.iter().map(|added| added.logprobs.len()).sum();
    assert_eq!(logprobs, "oneENtwo".len(), "tokens of the stop string are not shown");
}

#[test]
fn what_only_began_like_a_stop_string_is_shown_at_the_end() {
    let mut answer = answer(&["END"]);
    let added: Vec<Added> = b"xEN".iter().map(|byte| answer.push(&token(*byte))).collect();
    assert_eq!(texts(&added), ["x", "", ""]);
    let end = answer.end();
    assert_eq!((&*end.text, end.logprobs.len(), end.stopped), ("EN", 2, false));
}

#[test]
fn the_first_of_several_stop_strings_ends_the_text() {
    let mut stops = Stops::new(vec!["bc".into(), "ab".into(), String::new()]);
    assert_eq!(stops.push("xabc"), Shown::Last("x".into()));
    let mut stops = Stops::new(vec!["éa".into()]);
    assert_eq!(stops.push("yé"), Shown::Text("y".into()));
    assert_eq!(stops.push("é"), Shown::Text("é".into()));
    assert_eq!(stops.push("a"), Shown::Last(String::new()));
}

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.to_owned(), name: None }
}

fn render(source: &str, messages: &[Message]) -> String {
    ChatTemplate::new(source, "<s>", "</s>").unwrap().render(messages).unwrap()
}

#[test]
fn a_template_gets_messages_tokens_and_python_methods() {
    let source = "{{ bos_token }}{% for message in messages %}\n    {% if message['role'] == 'user' %}\n\
                  [{{ message.content.strip().upper() }}]{% endif %}\n{% endfor %}\n\
                  {% if add_generation_prompt %}>{% endif %}{% if tools is none %}-{% endif %}";
    let messages = [message(Role::System, "x"), message(Role::User, " hi <b> ")];
    assert_eq!(render(source, &messages), "<s>[HI <B>]>-");
}

#[test]
fn json_in_a_template_is_not_escaped_for_html() {
    let source = "{{ messages[0] | tojson }} {{ {'a': [1, 2]} | tojson(indent=2) }}";
    assert_eq!(
        render(source, &[message(Role::User, "<a href='x'> & \"ü\"")]),
        "{\"role\": \"user\", \"content\": \"<a href='x'> & \\\"ü\\\"\"} {\n  \"a\": [\n    1,\n    2\n  ]\n}"
    );
}

#[test]
fn blocks_for_training_only_are_taken_out() {
    let source =
        "{% for m in messages %}{%- generation %} {{ m.content }} {%- endgeneration -%} {% endfor %}.";
    assert_eq!(render(source, &[message(Role::User, "a")]), " a.");
}

#[test]
fn a_template_can_refuse_messages_and_tell_the_date() {
    let source = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}\
                  {{ strftime_now('%Y') | length }}";
    assert_eq!(render(source, &[message(Role::User, "a")]), "4");
    let template = ChatTemplate::new(source, "", "").unwrap();
    let error = template.render(&[message(Role::Assistant, "a")]).unwrap_err();
    assert_eq!((error.kind(), error.param()), (ModelErrorKind::InvalidRequest, Some("messages")));
    assert!(error.message().ends_with("user first"), "{error}");
}

#[test]
fn a_model_without_template_or_text_says_so() {
    let vocabulary = bytes();
    let error = vocabulary.chat_prompt(&[message(Role::User, "a")]).unwrap_err();
    assert!(error.message().contains("/v1/completions"), "{error}");
    assert_eq!(vocabulary.text_prompt("").unwrap_err().kind(), ModelErrorKind::InvalidRequest);
    assert_eq!(vocabulary.text_prompt("é<end>").unwrap(), [0xC3, 0xA9, END]);
}

#[test]
fn the_files_of_a_directory_give_template_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let missing = Vocabulary::load(directory.path()).unwrap_err().to_string();
    assert!(missing.contains("tokenizer.json"), "{missing}");
    write("tokenizer.json", &bytes().tokenizer().to_string(false).unwrap());
    let templates =
        json!([{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ eos_token }}!"}]);
    let config = json!({"eos_token": {"content": "<end>"}, "bos_token": null, "chat_template": templates});
    write("tokenizer_config.json", &config.to_string());
    write("generation_config.json", r#"{"eos_token_id": [7, 99999]}"#);
    let vocabulary = Vocabulary::load(directory.path()).unwrap();
    assert_eq!([7, END, 99999].map(|token| vocabulary.ends_with(token)), [true, true, false]);
    assert_eq!(vocabulary.chat_prompt(&[message(Role::User, "a")]).unwrap(), [END, b'!'.into()]);
    write("chat_template.jinja", "{% broken");
    let damaged = Vocabulary::load(directory.path()).unwrap_err().to_string();
    assert!(damaged.contains("chat_template.jinja"), "{damaged}");
}

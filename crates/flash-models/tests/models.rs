//! Real models keep the promises that no stand-in can: SmolLM2-135M-Instruct and all-MiniLM-L6-v2.
//!
//! `SMOLLM2_DIR` and `MINILM_DIR` name their files. `FLASH_REQUIRE_MODELS=1` turns a silent gap into a failure.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it skips"
)]
use std::{env, fs::File, path::PathBuf, time::Duration};

use candle_core::{Device, Tensor, quantized::gguf_file::Content};
use candle_transformers::models::quantized_llama::ModelWeights;
use flash_models::{
    EncoderOptions, Engine, GgufEngine, LanguageModel, Options, Part, Precision, Quantization, bert,
    bert_with, gguf_with,
};
use flash_openai::{
    EmbeddingModel, End, FinishReason, Generated, Generating, Generation, Message, ModelErrorKind, Role,
    Sampling, TextModel, TokenLogProb,
};
use futures_util::{StreamExt, future::join_all};

const BOUND: Duration = Duration::from_secs(120);

fn directory(variable: &str) -> Option<PathBuf> {
    let directory = env::var_os(variable).map(PathBuf::from);
    assert!(
        directory.is_some() || env::var("FLASH_REQUIRE_MODELS").as_deref() != Ok("1"),
        "FLASH_REQUIRE_MODELS=1, but {variable} does not name a directory with the model",
    );
    if directory.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    directory
}

fn smollm2() -> Option<LanguageModel> {
    let options = Options { running: 4, prompt_chunk: 16, ..Options::default() };
    Some(gguf_with(directory("SMOLLM2_DIR")?, options).unwrap())
}

/// The one GGUF file.
fn file() -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory("SMOLLM2_DIR")?).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "gguf"))
}

fn chat(model: &LanguageModel, content: &str, sampling: Sampling) -> Generating {
    let message = Message { role: Role::User, content: content.to_owned(), name: None };
    let prompt = model.chat_prompt(&[message]).unwrap().into();
    model.generate(Generation { prompt, sampling })
}

async fn whole(mut stream: Generating) -> (String, Vec<TokenLogProb>, End) {
    let (mut text, mut logprobs) = (String::new(), Vec::new());
    loop {
        let item = tokio::time::timeout(BOUND, stream.next()).await.expect("an item comes");
        match item.unwrap().unwrap() {
            Generated::Begun(_) => {}
            Generated::Piece(piece) => {
                text.push_str(&piece.text);
                logprobs.extend(piece.logprobs);
            }
            Generated::End(end) => return (text, logprobs, end),
        }
    }
}

fn text(model: &LanguageModel, text: &str, sampling: Sampling) -> Generating {
    let prompt = model.text_prompt(text).unwrap().into();
    model.generate(Generation { prompt, sampling })
}

#[tokio::test]
async fn answers_at_once_are_those_of_single_runs() {
    let Some(model) = smollm2() else { return };
    let texts = ["The capital of France is", "One, two, three,", "The colours are red"];
    let together = join_all(texts.map(|begin| whole(text(&model, begin, Sampling::greedy(6))))).await;
    assert!(together[0].0.contains("Paris"), "{:?}", together[0]);
    for (begin, (answer, _, end)) in texts.iter().zip(together) {
        let alone = whole(text(&model, begin, Sampling::greedy(6))).await;
        assert_eq!((alone.0, alone.2), (answer, end), "{begin}");
    }
}

#[tokio::test]
async fn a_seed_gives_the_same_answer_and_log_probabilities_belong_to_it() {
    let Some(model) = smollm2() else { return };
    let sampling = |seed| Sampling { seed: Some(seed), top_p: 0.9, logprobs: Some(2), ..Sampling::new(8) };
    let answer = |seed| whole(text(&model, "Once upon a time", sampling(seed)));
    let (first, again, other) = (answer(1).await, answer(1).await, answer(2).await);
    assert_eq!((&first.0, &first.1), (&again.0, &again.1));
    assert_ne!(first.0, other.0);
    let spelled: Vec<u8> = first.1.iter().flat_map(|token| token.chosen.bytes.clone()).collect();
    assert_eq!(String::from_utf8_lossy(&spelled), first.0);
    for token in &first.1 {
        assert!(token.top.len() == 2 && token.top[0].logprob >= token.top[1].logprob, "{token:?}");
        assert!(token.chosen.logprob <= token.top[0].logprob && token.top[0].logprob <= 0.0);
    }
}

#[tokio::test]
async fn a_chat_follows_the_template_and_ends_at_a_stop_string() {
    let Some(model) = smollm2() else { return };
    assert_eq!(model.text_prompt("<|im_end|>").unwrap(), [2], "a special token is one token");
    let (answer, _, end) = whole(chat(&model, "Hello!", Sampling::greedy(8))).await;
    assert!(answer.starts_with("Hello!"), "{answer}");
    let word = answer.split_whitespace().nth(1).expect("a sentence");
    let stop = Sampling { stop: vec![word.to_owned()], ..Sampling::greedy(8) };
    let (stopped, _, again) = whole(chat(&model, "Hello!", stop)).await;
    assert_eq!((again.finish_reason, answer.split(word).next()), (FinishReason::Stop, Some(&*stopped)));
    assert_eq!((end.usage.cached_tokens, again.usage.cached_tokens), (0, 16), "the first chunk is known");
}

/// candle's own model reads the same file: a prompt at once, then an answer token by token.
#[test]
fn logits_are_those_of_candles_model_also_after_chunks_and_from_a_prefix() {
    let (Some(path), Some(model)) = (file(), smollm2()) else { return };
    let prompt = model.text_prompt("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n").unwrap();
    let answer = model.text_prompt("<|im_start|>assistant\nThe capital").unwrap();
    let mut file = File::open(&path).unwrap();
    let content = Content::read(&mut file).unwrap();
    let mut candle = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
    let mut feed_candle = |tokens: &[u32], past: usize| {
        let input = Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        candle.forward(&input, past).unwrap().squeeze(0).unwrap().to_vec1::<f32>().unwrap()
    };
    let mut engine = GgufEngine::load(&path, Quantization::AsStored).unwrap();
    let (mut chunks, mut other) = (engine.sequence(), engine.sequence());
    let feed = |engine: &mut GgufEngine, sequence: &mut _, tokens: &[u32]| {
        engine.forward(&mut [Part { sequence, tokens, wants_logits: true }]).unwrap().remove(0)
    };
    // Inputs of matrices are rounded to eight bits, and one that is rounded the other way moves all that follows: with
    // all weights at 32 bits (`CANDLE_DEQUANTIZE_ALL=1`) logits differ by at most 0.2.
    let assert_equal = |logits: &[f32], expected: &[f32]| {
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let same = product(logits, expected) / (product(logits, logits) * product(expected, expected)).sqrt();
        assert!(same > 0.998, "the cosine of the logits is {same}");
        let likeliest =
            |logits: &[f32]| (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        let (seen, candles) = (likeliest(logits), likeliest(expected));
        assert!(expected[candles] - expected[seen] < 1.0, "{seen} is likeliest, and not {candles}");
    };
    let expected = feed_candle(&prompt, 0);
    feed(&mut engine, &mut chunks, &prompt[..7]);
    let mut prefix = engine.prefix(&chunks, 5).unwrap().unwrap();
    // Two sequences of unequal lengths in one call.
    let mut parts = [
        Part { sequence: &mut other, tokens: &prompt[..3], wants_logits: false },
        Part { sequence: &mut chunks, tokens: &prompt[7..], wants_logits: true },
    ];
    let rows = engine.forward(&mut parts).unwrap();
    assert!(rows[0].is_empty());
    assert_equal(&rows[1], &expected);
    assert_equal(&feed(&mut engine, &mut prefix, &prompt[5..]), &expected);
    for (at, token) in answer.iter().enumerate() {
        assert_equal(&feed(&mut engine, &mut prefix, &[*token]), &feed_candle(&[*token], prompt.len() + at));
    }
}

#[tokio::test]
async fn embeddings_do_not_depend_on_what_else_is_in_the_batch() {
    let Some(directory) = directory("MINILM_DIR") else { return };
    let encoder = bert(&directory).unwrap();
    let texts =
        ["A cat sleeps.", "The kitten is taking a nap on the old sofa by the window.", "Stocks fell."];
    let alone = join_all(texts.map(|text| encoder.embed(vec![text.to_owned()]))).await;
    let alone: Vec<_> = alone.into_iter().map(|one| one.unwrap().remove(0)).collect();
    let together = encoder.embed(texts.map(str::to_owned).to_vec()).await.unwrap();
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!((alone.vector.len(), alone.tokens), (encoder.dimensions(), together.tokens));
        let same = cosine(&alone.vector, &together.vector);
        assert!((0.999..=1.001).contains(&same), "{same}");
    }
    // Short texts are the hardest: nothing evens out.
    let texts = ["Yes", "OK, thanks!", "Hi.", "Good night.", "A cat sleeps.", "How do I reset my password?"];
    let options = EncoderOptions { precision: Precision::F32, ..EncoderOptions::default() };
    let exact =
        bert_with(&directory, options).unwrap().embed(texts.map(str::to_owned).to_vec()).await.unwrap();
    let quick = encoder.embed(texts.map(str::to_owned).to_vec()).await.unwrap();
    for ((text, exact), quick) in texts.iter().zip(&exact).zip(&quick) {
        let same = cosine(&exact.vector, &quick.vector);
        assert!(same >= 0.999, "{text}: {same}");
    }
    assert!(cosine(&alone[0].vector, &alone[1].vector) > cosine(&alone[0].vector, &alone[2].vector) + 0.2);
    let error = encoder.embed(vec!["word ".repeat(1000)]).await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::ContextLength);
    assert!(error.message().contains(&encoder.longest_text().to_string()), "{error}");
}

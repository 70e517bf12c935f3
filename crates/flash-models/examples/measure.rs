//! Measures the models of the tests on this machine: one line per figure, `name<TAB>value<TAB>unit`.
//!
//! `SMOLLM2_DIR` and `MINILM_DIR` name their files (`cargo xtask models` downloads them), and `RAYON_NUM_THREADS` with
//! `CANDLE_NUM_THREADS` sets the threads. Arguments choose what is measured: `minilm`, `smollm2`, or one of the latter's
//! types such as `Q8_0`; all without any. Build it with `--release`, and compare only figures of one run.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers, whose output is its purpose"
)]
use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use flash_models::{
    Encoder, EncoderOptions, Engine, GgufEngine, GgufSequence, Part, Precision, Quantization, bert_with,
};
use flash_openai::EmbeddingModel;

/// One is the sentence of single requests; all are a batch. `peer_onnx.py` takes the same.
const SENTENCES: &str = include_str!("sentences.txt");
const FIRST_TOKEN: usize = 43;
const PROMPT: usize = 96;
/// As `Options::prompt_chunk` has it by default.
const CHUNK: usize = 32;
const TOKENS: usize = 32;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let chosen: Vec<String> = env::args().skip(1).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    if wanted("minilm") {
        minilm().await;
    }
    let kinds =
        [("Q4_1", Quantization::AsStored), ("Q4_0", Quantization::Q4_0), ("Q8_0", Quantization::Q8_0)];
    for (name, quantization) in kinds {
        if wanted("smollm2") || wanted(name) {
            let directory = PathBuf::from(env::var_os("SMOLLM2_DIR").unwrap());
            let mut files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            let gguf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gguf");
            let mut engine = GgufEngine::load(&files.find(gguf).unwrap(), quantization).unwrap();
            language(&mut engine, name);
        }
    }
}

async fn minilm() {
    let directory = PathBuf::from(env::var_os("MINILM_DIR").unwrap());
    let sentences: Vec<String> = SENTENCES.lines().map(str::to_owned).collect();
    let mut vectors = Vec::new();
    for (name, precision) in [("32 bits", Precision::F32), ("8 bits", Precision::EightBits)] {
        let encoder =
            bert_with(&directory, EncoderOptions { precision, ..EncoderOptions::default() }).unwrap();
        let one = time(&encoder, &sentences[..1], 60).await;
        print(&format!("minilm {name}, 1 sentence"), one.as_secs_f64() * 1e3, "ms");
        let all = time(&encoder, &sentences, 12).await;
        let rate = sentences.len() as f64 / all.as_secs_f64();
        print(&format!("minilm {name}, {} sentences", sentences.len()), rate, "sentences/s");
        vectors.push(encoder.embed(sentences.clone()).await.unwrap());
    }
    let cosines = vectors[0].iter().zip(&vectors[1]).map(|(one, other)| {
        one.vector.iter().zip(&other.vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    });
    println!("minilm, least cosine of 8 to 32 bits\t{:.5}\t", cosines.fold(1.0, f64::min));
}

/// The median.
async fn time(encoder: &Encoder, texts: &[String], times: usize) -> Duration {
    encoder.embed(texts.to_vec()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        encoder.embed(texts.to_vec()).await.unwrap();
        seen.push(start.elapsed());
    }
    median(seen)
}

fn language(engine: &mut GgufEngine, name: &str) {
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|at| 1000 + at * 37 % 20_000).collect();
    let first = read(engine, &prompt[..FIRST_TOKEN]);
    print(&format!("smollm2 {name}, first token after {FIRST_TOKEN}"), first.as_secs_f64() * 1e3, "ms");
    let rate = PROMPT as f64 / read(engine, &prompt).as_secs_f64();
    print(&format!("smollm2 {name}, prompt"), rate, "tokens/s");
    for streams in [1, 8] {
        let mut sequences: Vec<GgufSequence> = (0..streams).map(|_| engine.sequence()).collect();
        sequences.iter_mut().for_each(|sequence| feed(engine, sequence, &prompt[..16]));
        let mut steps = Vec::new();
        for step in 0..TOKENS {
            let tokens = [2000 + step as u32];
            let start = Instant::now();
            let parts = sequences.iter_mut();
            let mut parts: Vec<_> =
                parts.map(|sequence| Part { sequence, tokens: &tokens, wants_logits: true }).collect();
            engine.forward(&mut parts).unwrap();
            steps.push(start.elapsed());
        }
        let rate = f64::from(streams) / median(steps).as_secs_f64();
        print(&format!("smollm2 {name}, {streams} streams"), rate, "tokens/s");
    }
}

/// The median of several prompts.
fn read(engine: &mut GgufEngine, prompt: &[u32]) -> Duration {
    let once = |_| {
        let (mut sequence, start) = (engine.sequence(), Instant::now());
        feed(engine, &mut sequence, prompt);
        start.elapsed()
    };
    median((0..3).map(once).collect())
}

/// As a model that serves does it: only the end of a prompt has logits.
fn feed(engine: &mut GgufEngine, sequence: &mut GgufSequence, tokens: &[u32]) {
    let chunks = tokens.len().div_ceil(CHUNK);
    for (at, tokens) in tokens.chunks(CHUNK).enumerate() {
        engine.forward(&mut [Part { sequence, tokens, wants_logits: at + 1 == chunks }]).unwrap();
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn print(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value:.1}\t{unit}");
}

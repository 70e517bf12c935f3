//! Measures the models of the tests on this machine: one line per figure, `name<TAB>value<TAB>unit`.
//!
//! `SMOLLM2_DIR` and `MINILM_DIR` name their files (`cargo xtask models` downloads them), and `RAYON_NUM_THREADS` with
//! `CANDLE_NUM_THREADS` sets the threads. Build it with `--release`, and compare only figures of one run.
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

use flash_models::{Engine, GgufEngine, GgufSequence, Part, Quantization, bert};
use flash_openai::EmbeddingModel;

const SENTENCE: &str = "The quick brown fox jumps over the lazy dog, and the dog does not mind it at all.";
const PROMPT: usize = 96;
const CHUNK: usize = 32;
const TOKENS: usize = 24;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let minilm = PathBuf::from(env::var_os("MINILM_DIR").unwrap());
    let encoder = bert(minilm).unwrap();
    for (name, count, times) in [("minilm, 1 sentence", 1, 30), ("minilm, 32 sentences", 32, 5)] {
        let texts = vec![SENTENCE.to_owned(); count];
        encoder.embed(texts.clone()).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..times {
            let start = Instant::now();
            encoder.embed(texts.clone()).await.unwrap();
            seen.push(start.elapsed());
        }
        print(name, median(seen).as_secs_f64() * 1e3, "ms");
    }
    drop(encoder);
    let directory = PathBuf::from(env::var_os("SMOLLM2_DIR").unwrap());
    let mut files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.extension().is_some_and(|extension| extension == "gguf")).unwrap();
    let kinds =
        [("Q4_1", Quantization::AsStored), ("Q4_0", Quantization::Q4_0), ("Q8_0", Quantization::Q8_0)];
    for (name, quantization) in kinds {
        let mut engine = GgufEngine::load(&file, quantization).unwrap();
        language(&mut engine, name);
    }
}

fn language(engine: &mut GgufEngine, name: &str) {
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|at| 1000 + at * 37 % 20_000).collect();
    let mut read = Vec::new();
    for _ in 0..3 {
        let (mut sequence, start) = (engine.sequence(), Instant::now());
        feed(engine, &mut sequence, &prompt);
        read.push(start.elapsed());
    }
    print(&format!("smollm2 {name}, prompt"), PROMPT as f64 / median(read).as_secs_f64(), "tokens/s");
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

fn feed(engine: &mut GgufEngine, sequence: &mut GgufSequence, tokens: &[u32]) {
    for tokens in tokens.chunks(CHUNK) {
        engine.forward(&mut [Part { sequence, tokens, wants_logits: true }]).unwrap();
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn print(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value:.1}\t{unit}");
}

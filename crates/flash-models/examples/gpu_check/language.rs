//! The decoder: its speed, no memory, a stream, a cancelled answer.
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use candle_core::Device;
use flash_models::{
    Dimensions, Engine, EngineError, GgufEngine, GgufSequence, LanguageModel, Options, Part, Quantization,
    Vocabulary, gguf_with,
};
use flash_openai::{
    Generated, Generating, Generation, ModelErrorKind, Models as Served, Sampling, TextModel,
};
use futures_util::{StreamExt as _, future::join_all};
use serde_json::{Value, json};

use crate::{
    Outcome, Place, machine, median,
    weights::{DECODER, Models, SMALL, WORDS},
};

type Failure = Box<dyn Error + Send + Sync>;

fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(name).join("model.gguf")
}

fn prompt(of: usize, tokens: usize) -> Vec<u32> {
    (0..tokens).map(|at| ((of * 31 + at * 7919) % WORDS) as u32).collect()
}

/// Those after a prompt, by the small model.
pub(crate) fn logits(directory: &Path) -> Result<Vec<f32>, Failure> {
    let mut engine = GgufEngine::load(&file(directory, SMALL), Quantization::AsStored)?;
    let (mut sequence, tokens) = (engine.sequence(), prompt(1, 40));
    let rows =
        engine.forward(&mut [Part { sequence: &mut sequence, tokens: &tokens, wants_logits: true }])?;
    rows.into_iter().next().ok_or_else(|| "no logits".into())
}

/// Tokens per second of 1, 8 and 32 streams. Each step reads all weights once, so their bytes per second are compared with
/// those of a copy.
pub(crate) fn decode(models: &Models, directory: &Path, bandwidth: f64) -> Outcome {
    let path = file(directory, DECODER);
    let weights = fs::metadata(&path)?.len() as f64;
    let mut engine = GgufEngine::load(&path, Quantization::AsStored)?;
    let mut found = Vec::new();
    for streams in [1, 8, 32] {
        let mut sequences: Vec<GgufSequence> = (0..streams).map(|_| engine.sequence()).collect();
        for (of, sequence) in sequences.iter_mut().enumerate() {
            engine.forward(&mut [Part {
                sequence,
                tokens: &prompt(of, models.text),
                wants_logits: false,
            }])?;
        }
        let mut times = Vec::new();
        for step in 0..40 {
            let tokens = [step];
            let parts = sequences.iter_mut();
            let mut parts: Vec<_> =
                parts.map(|sequence| Part { sequence, tokens: &tokens, wants_logits: true }).collect();
            let start = Instant::now();
            engine.forward(&mut parts)?;
            times.push(start.elapsed());
        }
        let time = median(times).as_secs_f64();
        found.push(format!(
            "{streams}: {:.0} tokens/s, {:.1} % of the copy",
            f64::from(streams) / time,
            100.0 * weights / time / bandwidth
        ));
    }
    Ok(found.join("; "))
}

/// The small or the large decoder, in front of which memory is made short on a CPU.
struct Tight {
    engine: GgufEngine,
    /// Sequences of a call.
    most: usize,
    refused: Arc<AtomicUsize>,
}

impl Engine for Tight {
    type Sequence = GgufSequence;

    fn dimensions(&self) -> Dimensions {
        self.engine.dimensions()
    }

    fn sequence(&mut self) -> GgufSequence {
        self.engine.sequence()
    }

    fn forward(&mut self, parts: &mut [Part<'_, GgufSequence>]) -> Result<Vec<Vec<f32>>, EngineError> {
        let outcome = match parts.len() > self.most {
            true => Err(EngineError::out_of_memory("made up: CUDA_ERROR_OUT_OF_MEMORY")),
            false => self.engine.forward(parts),
        };
        if outcome.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

/// 32 answers for which there is no memory: all end, and the model goes on.
pub(crate) async fn shortage(models: &Models, directory: &Path, device: &Device) -> Outcome {
    let most = match models.place {
        Place::Gpu => usize::MAX,
        Place::Cpu => 3,
    };
    let engine = GgufEngine::load(&file(directory, DECODER), Quantization::AsStored)?;
    let refused = Arc::new(AtomicUsize::new(0));
    let engine = Tight { engine, most, refused: Arc::clone(&refused) };
    let options = Options { running: 32, cache_bytes: 64 << 30, prompt_chunk: 256, ..Options::default() };
    let model = LanguageModel::serve(engine, Vocabulary::load(&directory.join(DECODER))?, options)?;
    let taken = match models.place {
        Place::Gpu => machine::fill(device)?,
        Place::Cpu => Vec::new(),
    };
    let answers = (0..32).map(|of| whole(start(&model, prompt(of, models.prompt), 32)));
    let (mut whole_answers, mut too_large) = (0, 0);
    for answer in join_all(answers).await {
        match answer {
            Ok(32) => whole_answers += 1,
            Ok(other) => return Err(format!("an answer has {other} of 32 tokens").into()),
            Err(error) if error.kind() == ModelErrorKind::Overloaded => too_large += 1,
            Err(error) => return Err(error.into()),
        }
    }
    drop(taken);
    device.synchronize()?;
    let after = whole(start(&model, prompt(99, 8), 8)).await?;
    let refusals = refused.load(Ordering::Relaxed);
    let found = format!(
        "{refusals} calls had no memory; {whole_answers} of 32 answers whole, {too_large} refused; then {after} of 8 tokens"
    );
    match refusals > 0 && whole_answers > 0 && after == 8 {
        true => Ok(found),
        false => Err(found.into()),
    }
}

/// A request of OpenAI's API to the events of its answer.
pub(crate) async fn stream(directory: &Path) -> Outcome {
    let model = Arc::new(gguf_with(directory.join(SMALL), Options::default())?);
    let jobs = Served::new().text("small", model).jobs()?;
    let request = json!({
        "model": "small", "prompt": "w1 w2 w3", "max_tokens": 64, "ignore_eos": true, "stream": true,
        "stream_options": { "include_usage": true },
    });
    let start = Instant::now();
    let mut first = None;
    let mut events = Vec::new();
    let mut answer = jobs.answer("/v1/completions", Some(request));
    while let Some(event) = answer.next().await {
        first.get_or_insert_with(|| start.elapsed());
        events.push(event.as_str().unwrap_or_default().to_owned());
    }
    let usage = events.iter().rev().nth(1).and_then(|event| event.strip_prefix("data: "));
    let usage: Value = serde_json::from_str(usage.ok_or("the stream has no usage")?.trim())?;
    let tokens = &usage["usage"]["completion_tokens"];
    if events.last().map(|event| event.trim()) != Some("data: [DONE]") || *tokens != 64 {
        return Err(
            format!("the stream ends with {:?}", events.iter().rev().take(2).collect::<Vec<_>>()).into()
        );
    }
    let first = first.unwrap_or_default().as_secs_f64() * 1e3;
    Ok(format!("64 tokens in {} events, the first after {first:.1} ms", events.len()))
}

/// One answer at a time: the next one gets the slot of one that nobody reads any more.
pub(crate) async fn cancel(directory: &Path) -> Outcome {
    let model = gguf_with(directory.join(SMALL), Options { running: 1, ..Options::default() })?;
    let mut long = start(&model, prompt(1, 8), 4000);
    for _ in 0..4 {
        long.next().await.ok_or("the answer ended at once")??;
    }
    let (cancelled, short) = (Instant::now(), start(&model, prompt(2, 8), 4));
    drop(long);
    let tokens = tokio::time::timeout(Duration::from_secs(30), whole(short)).await;
    let tokens = tokens.map_err(|_| "the next answer did not come within 30 s")??;
    match (tokens, model.waiting()) {
        (4, 0) => {
            Ok(format!("the next answer is whole after {:.1} ms", cancelled.elapsed().as_secs_f64() * 1e3))
        }
        (tokens, waiting) => Err(format!("{tokens} of 4 tokens, and {waiting} wait").into()),
    }
}

fn start(model: &LanguageModel, prompt: Vec<u32>, max_tokens: usize) -> Generating {
    let sampling = Sampling { ignore_eos: true, ..Sampling::greedy(max_tokens) };
    model.generate(Generation { prompt: prompt.into(), sampling })
}

/// The tokens of an answer, read to its end.
async fn whole(mut answer: Generating) -> Result<usize, flash_openai::ModelError> {
    let mut tokens = 0;
    while let Some(item) = answer.next().await {
        match item? {
            Generated::Begun(_) => {}
            Generated::Piece(piece) => tokens += piece.tokens,
            Generated::End(_) => break,
        }
    }
    Ok(tokens)
}

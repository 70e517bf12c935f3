//! The encoder: batches of several sizes, and one for which there is no memory.
use std::{error::Error, path::Path, time::Instant};

use candle_core::Device;
use flash_models::{Encoder, EncoderOptions, Precision, bert_with};
use flash_openai::EmbeddingModel;

use crate::{
    Outcome, Place, cosine, machine, median,
    weights::{ENCODER, Models, WORDS},
};

/// As many words as tokens, each text with others.
fn texts(count: usize, tokens: usize) -> Vec<String> {
    let word = |text: usize, at: usize| format!("w{}", (text * 7919 + at * 104_729) % WORDS);
    (0..count).map(|text| (0..tokens).map(|at| word(text, at)).collect::<Vec<_>>().join(" ")).collect()
}

/// 32 bits everywhere, and batches as large as a request.
fn load(directory: &Path) -> Result<Encoder, Box<dyn Error + Send + Sync>> {
    let options = EncoderOptions {
        batch: 256,
        batch_tokens: usize::MAX,
        precision: Precision::F32,
        ..EncoderOptions::default()
    };
    Ok(bert_with(directory.join(ENCODER), options)?)
}

/// The vectors of texts of several lengths.
pub(crate) async fn vectors(directory: &Path) -> Result<Vec<Vec<f32>>, Box<dyn Error + Send + Sync>> {
    let mixed = [1, 2, 5, 16, 60].map(|tokens| texts(2, tokens)).concat();
    Ok(load(directory)?.embed(mixed).await?.into_iter().map(|embedding| embedding.vector).collect())
}

/// Texts per second in batches of 1, 32 and 256.
pub(crate) async fn batches(models: &Models, directory: &Path) -> Outcome {
    let encoder = load(directory)?;
    let mut found = Vec::new();
    for count in [1, 32, 256] {
        let texts = texts(count, models.text);
        let mut times = Vec::new();
        // The first one compiles and allocates.
        encoder.embed(texts.clone()).await?;
        for _ in 0..7 {
            let start = Instant::now();
            encoder.embed(texts.clone()).await?;
            times.push(start.elapsed());
        }
        let time = median(times).as_secs_f64();
        found.push(format!("{count}: {:.2} ms, {:.0}/s", time * 1e3, count as f64 / time));
    }
    Ok(format!("{} tokens each; {}", models.text, found.join("; ")))
}

/// A batch that does not fit is computed all the same, and right.
pub(crate) async fn shortage(models: &Models, directory: &Path, device: &Device) -> Outcome {
    if models.place == Place::Cpu {
        return Ok("left out: only a GPU runs out of memory".to_owned());
    }
    let encoder = load(directory)?;
    let texts = texts(256, 500);
    let expected = encoder.embed(texts.clone()).await?;
    let taken = machine::fill(device)?;
    let outcome = encoder.embed(texts.clone()).await;
    let pieces = taken.len();
    drop(taken);
    device.synchronize()?;
    let cosines =
        outcome?.into_iter().zip(&expected).map(|(seen, expected)| cosine(&seen.vector, &expected.vector));
    let least = cosines.fold(1.0, f64::min);
    encoder.embed(texts).await?;
    match least > 0.9999 {
        true => {
            Ok(format!("256 texts of 500 tokens beside {pieces} × 256 MiB taken; least cosine {least:.6}"))
        }
        false => Err(format!("least cosine {least:.6} to the same batch with memory").into()),
    }
}

//! MiniLM's vectors of the training sentences, kept in a file between runs.
use std::{collections::HashMap, path::Path};

use candle_core::{Device, Tensor};
use mixed_workers::model::{SentenceEncoder, stable_hash};

use crate::{corpus::Example, error::TrainError};

const TEXTS_AT_ONCE: usize = 32;

/// The vectors of the examples, in their order; kept in `cache` where one is given, since reading 38,000
/// texts takes minutes and the training after it seconds.
pub(crate) fn encode(
    encoder: &SentenceEncoder,
    examples: &[Example],
    cache: Option<&Path>,
) -> Result<Tensor, TrainError> {
    let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
    // Named by what it holds: a cache of other texts is never taken for this one's.
    let name = format!("{:016x}", stable_hash(texts.iter().flat_map(|text| text.bytes().chain([0]))));
    if let Some(path) = cache.filter(|path| path.exists())
        && let Some(vectors) = candle_core::safetensors::load(path, &Device::Cpu)?.remove(&name)
    {
        return Ok(vectors);
    }
    let vectors = encode_all(encoder, &texts)?;
    if let Some(path) = cache {
        let kept = HashMap::from([(name, vectors.clone())]);
        candle_core::safetensors::save(&kept, path)
            .map_err(|source| TrainError::Save { path: path.to_owned(), source })?;
    }
    Ok(vectors)
}

fn encode_all(encoder: &SentenceEncoder, texts: &[&str]) -> Result<Tensor, TrainError> {
    // Neighbours in length share a batch: padding costs as much as text.
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&index| texts[index].len());
    let width = encoder.width();
    let mut vectors = vec![0.0; texts.len() * width];
    for members in order.chunks(TEXTS_AT_ONCE) {
        let tokens: Vec<Vec<u32>> =
            members.iter().map(|&member| encoder.tokens(texts[member])).collect::<Result<_, _>>()?;
        let batch: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
        let encoded = encoder.encode(&batch)?.flatten_all()?.to_vec1::<f32>()?;
        for (&member, vector) in members.iter().zip(encoded.chunks_exact(width)) {
            vectors[member * width..][..width].copy_from_slice(vector);
        }
    }
    Ok(Tensor::from_vec(vectors, (texts.len(), width), &Device::Cpu)?)
}

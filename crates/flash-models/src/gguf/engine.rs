//! A decoder as an engine: sequences with a cache per layer.
use std::{fs::File, io::BufReader, path::Path};

use candle_core::quantized::gguf_file::Content;

use super::{
    attention::Cache,
    decoder::{Decoder, Span},
    followed::Followed,
    metadata::Shape,
    quantization::Quantization,
};
use crate::{
    Dimensions, Engine, EngineError, LoadError, Part, device::device, device_error::engine_error, memory,
};

/// A quantised language model.
#[derive(Debug)]
pub struct GgufEngine {
    decoder: Decoder,
}

/// The keys and values of one sequence.
#[derive(Debug)]
pub struct GgufSequence {
    tokens: usize,
    caches: Vec<Cache>,
}

impl GgufEngine {
    /// Loads the weights of a GGUF file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is damaged, or holds a model of another family.
    pub fn load(path: &Path, quantization: Quantization) -> Result<Self, LoadError> {
        let (content, file) = open(path)?;
        let unsupported = |reason| LoadError::Unsupported { path: path.to_owned(), reason };
        let shape = Shape::of(&content).map_err(unsupported)?;
        let device = device();
        if device.is_cpu() {
            memory::check(path)?;
        }
        let mut file = Followed::new(file, path);
        let decoder = Decoder::load(&content, shape, &mut file, &device, quantization);
        Ok(Self { decoder: decoder.map_err(|source| LoadError::damaged(path, source))? })
    }
}

/// The head of a file, and the file.
pub(super) fn open(path: &Path) -> Result<(Content, BufReader<File>), LoadError> {
    let file = File::open(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let mut file = BufReader::new(file);
    let content = Content::read(&mut file).map_err(|source| LoadError::damaged(path, source))?;
    Ok((content, file))
}

impl Engine for GgufEngine {
    type Sequence = GgufSequence;

    fn dimensions(&self) -> Dimensions {
        Dimensions {
            context: self.decoder.shape.context,
            vocabulary: self.decoder.vocabulary,
            bytes_per_token: self.decoder.shape.bytes_per_token(),
        }
    }

    fn sequence(&mut self) -> GgufSequence {
        let caches = (0..self.decoder.layers()).map(|_| Cache::default()).collect();
        GgufSequence { tokens: 0, caches }
    }

    fn forward(&mut self, parts: &mut [Part<'_, GgufSequence>]) -> Result<Vec<Vec<f32>>, EngineError> {
        let spans = parts.iter_mut().map(|part| {
            let past = part.sequence.tokens;
            part.sequence.tokens += part.tokens.len();
            Span {
                caches: &mut part.sequence.caches,
                past,
                tokens: part.tokens,
                wants_logits: part.wants_logits,
            }
        });
        let mut spans: Vec<Span<'_>> = spans.collect();
        let logits = self.decoder.forward(&mut spans).map_err(engine_error)?;
        let rows = logits.map_or(Ok(Vec::new()), |logits| logits.to_vec2::<f32>()).map_err(engine_error)?;
        let mut rows = rows.into_iter();
        let row = |part: &Part<'_, GgufSequence>| match part.wants_logits {
            true => rows.next().unwrap_or_default(),
            false => Vec::new(),
        };
        Ok(parts.iter().map(row).collect())
    }

    fn prefix(
        &mut self,
        sequence: &GgufSequence,
        tokens: usize,
    ) -> Result<Option<GgufSequence>, EngineError> {
        let caches = sequence.caches.iter().map(|cache| cache.prefix(tokens));
        let caches = caches.collect::<candle_core::Result<_>>().map_err(engine_error)?;
        Ok(Some(GgufSequence { tokens, caches }))
    }
}

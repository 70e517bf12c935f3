//! The arithmetic of the small classifier, shared by inference and training.
//!
//! Two bags (words, character pieces) are weighted sums of rows of one embedding table; a small hidden
//! layer and a linear one follow. The table itself stays outside, because training keeps it as plain
//! rows and touches few of them per step, while inference keeps it as a tensor.
use candle_core::{Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear};

use super::{Features, Label};

const HIDDEN: usize = 32;

/// The layers above the embedding table.
#[derive(Debug, Clone)]
pub struct NgramNet {
    hidden: Linear,
    output: Linear,
}

impl NgramNet {
    /// Name, inputs and outputs of each layer, for whoever makes the weights.
    pub fn layers(width: usize) -> [(&'static str, usize, usize); 2] {
        [("hidden", 2 * width, HIDDEN), ("output", HIDDEN, Label::ALL.len())]
    }

    /// Takes the layers' weights from `weights`; `width` is the length of one embedding row.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn new(width: usize, weights: VarBuilder<'_>) -> Result<Self> {
        let [hidden, output] =
            Self::layers(width).map(|(name, inputs, outputs)| linear(inputs, outputs, weights.pp(name)));
        Ok(Self { hidden: hidden?, output: output? })
    }

    /// The raw outputs, one line of three for each text of the batch.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(&self, rows: &Tensor, batch: &Batch) -> Result<Tensor> {
        let device = rows.device();
        let words = batch.matrix(&batch.words, device)?.matmul(rows)?;
        let pieces = batch.matrix(&batch.pieces, device)?.matmul(rows)?;
        let hidden = self.hidden.forward(&Tensor::cat(&[words, pieces], 1)?)?.tanh()?;
        self.output.forward(&hidden)
    }
}

/// The features of several texts as two matrices over the table's rows they use.
///
/// A bag is then a matrix product, which every device has, and which candle can differentiate.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The rows of the table in use, ascending, each once.
    pub rows: Vec<u32>,
    /// Weight of each row (column) in each text (line), from words.
    words: Vec<f32>,
    /// The same from character pieces.
    pieces: Vec<f32>,
    texts: usize,
}

impl Batch {
    /// Lays out the texts for a table of `buckets` rows (a power of two), leaving out every feature that
    /// `keep` refuses: inference keeps all, training drops some at random.
    pub fn new(texts: &[&Features], buckets: usize, mut keep: impl FnMut() -> bool) -> Self {
        let row_of = |hash: &u64| (hash & (buckets as u64 - 1)) as u32;
        let mut pick = |hashes: &[u64]| hashes.iter().filter(|_| keep()).map(row_of).collect::<Vec<u32>>();
        let picked: Vec<[Vec<u32>; 2]> =
            texts.iter().map(|text| [pick(&text.words), pick(&text.pieces)]).collect();
        let mut rows: Vec<u32> = picked.iter().flatten().flatten().copied().collect();
        rows.sort_unstable();
        rows.dedup();
        // A matrix without columns is no matrix; the first row with weight zero changes nothing.
        if rows.is_empty() {
            rows.push(0);
        }
        let words = weights(picked.iter().map(|[words, _]| words), &rows);
        let pieces = weights(picked.iter().map(|[_, pieces]| pieces), &rows);
        Self { rows, words, pieces, texts: texts.len() }
    }

    fn matrix(&self, weights: &[f32], device: &Device) -> Result<Tensor> {
        Tensor::from_slice(weights, (self.texts, self.rows.len()), device)
    }
}

/// Each use of a row weighs 1/√n of the text's n features: between a sum, where length shouts, and a
/// mean, where one strong word drowns.
fn weights<'a>(texts: impl ExactSizeIterator<Item = &'a Vec<u32>>, rows: &[u32]) -> Vec<f32> {
    let mut weights = vec![0.0; texts.len() * rows.len()];
    for (line, used) in weights.chunks_exact_mut(rows.len()).zip(texts) {
        let share = 1.0 / (used.len().max(1) as f32).sqrt();
        for row in used {
            if let Ok(column) = rows.binary_search(row) {
                line[column] += share;
            }
        }
    }
    weights
}

//! The small classifier as it ships: its weights are part of the program.
use std::{fs, path::Path};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::{Batch, Features, ModelError, NgramNet, Origin, Reading, Scores, SentimentModel, scores};

const VERSION: &str = "1.0.0";
const EMBEDDED: &[u8] = include_bytes!("../../model/ngram.safetensors");

/// A text classifier in the style of fastText: hashed features, an embedding table, two small layers.
#[derive(Debug)]
pub struct NgramClassifier {
    table: Tensor,
    buckets: usize,
    net: NgramNet,
}

impl NgramClassifier {
    /// The name of the embedding table among the weights.
    pub const TABLE: &'static str = "table";

    /// Loads the weights that the program carries.
    ///
    /// # Errors
    /// When the device refuses them.
    pub fn load(device: &Device) -> Result<Self, ModelError> {
        Self::from_bytes(EMBEDDED, Origin::Embedded("ngram.safetensors"), device)
    }

    /// Loads weights from a file, such as one just trained.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn from_file(path: &Path, device: &Device) -> Result<Self, ModelError> {
        let bytes = fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes, Origin::File(path.to_owned()), device)
    }

    fn from_bytes(bytes: &[u8], origin: Origin, device: &Device) -> Result<Self, ModelError> {
        let weights = |source| ModelError::Weights { origin: origin.clone(), source };
        // The table is half precision on disk; every device multiplies single precision.
        let builder = VarBuilder::from_slice_safetensors(bytes, DType::F32, device).map_err(weights)?;
        let table = builder.get_unchecked(Self::TABLE).map_err(weights)?;
        let (buckets, width) = table.dims2().map_err(weights)?;
        if !buckets.is_power_of_two() {
            return Err(ModelError::TableSize { origin, rows: buckets });
        }
        let net = NgramNet::new(width, builder).map_err(weights)?;
        Ok(Self { table, buckets, net })
    }
}

impl SentimentModel for NgramClassifier {
    fn read(&self, text: &str) -> Result<Reading, ModelError> {
        Ok(Reading::Features(Features::of(text)))
    }

    fn classify(&self, texts: &[&Reading]) -> Result<Vec<Scores>, ModelError> {
        let features = texts.iter().map(|text| match text {
            Reading::Features(features) => Ok(features),
            Reading::Tokens(_) => Err(ModelError::OtherModel),
        });
        let features: Vec<&Features> = features.collect::<Result<_, _>>()?;
        let batch = Batch::new(&features, self.buckets, || true);
        let used = Tensor::from_slice(&batch.rows, batch.rows.len(), self.table.device())?;
        let rows = self.table.index_select(&used, 0)?;
        scores(&self.net.forward(&rows, &batch)?)
    }

    fn model_type(&self) -> &'static str {
        "hashed-ngram-classifier"
    }

    fn version(&self) -> &str {
        VERSION
    }
}

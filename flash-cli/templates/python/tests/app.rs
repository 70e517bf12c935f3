//! What happens before and after the Python worker.
use ::{{crate}}::{Output, checked, made_of};

#[test]
fn an_empty_text_is_refused() {
    assert_eq!(checked("  \n").unwrap_err().message(), "the text is empty");
    assert_eq!(checked(" a text ").unwrap(), "a text");
}

#[test]
fn the_ratio_is_that_of_the_lengths() {
    let summary = made_of("Long text. It goes on.", Output { summary: "Long text.".to_owned(), sentences: 2 });
    assert!((summary.ratio - 10.0 / 22.0).abs() < 1e-9, "{summary:?}");
}

//! Tells the positional arguments of `flash call` apart.

/// The positional arguments, by meaning.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words<'a> {
    pub environment: Option<&'a str>,
    pub function: &'a str,
    pub input: Option<&'a str>,
}

/// Why positional arguments have no meaning.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WordsError {
    #[error("no function given")]
    None,
    #[error("one argument too many: `{last}`")]
    TooMany { last: String },
}

impl<'a> Words<'a> {
    /// Of two words, the second is an input if it looks like one (names and paths never do), or if no environment can
    /// be named because the place is already known.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub(super) fn of(words: &'a [String], place_is_known: bool) -> Result<Self, WordsError> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(match *words.as_slice() {
            [function] => Self { environment: None, function, input: None },
            [function, input] if place_is_known || looks_like_input(input) => {
                Self { environment: None, function, input: Some(input) }
            }
            [environment, function] => Self { environment: Some(environment), function, input: None },
            [environment, function, input] if !place_is_known => {
                Self { environment: Some(environment), function, input: Some(input) }
            }
            [] => return Err(WordsError::None),
            [.., last] => return Err(WordsError::TooMany { last: last.to_owned() }),
        })
    }
}

fn looks_like_input(word: &str) -> bool {
    let first = word.trim_start().chars().next();
    word == "-"
        || matches!(first, Some('{' | '[' | '"' | '@'))
        || serde_json::from_str::<serde::de::IgnoredAny>(word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_told_apart_by_what_they_look_like() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let Words { environment, function, input } = Words::of(&words, false).unwrap();
            let owned = |word: Option<&str>| word.map(str::to_owned);
            (owned(environment), function.to_owned(), owned(input))
        };
        let some = |word: &str| Some(word.to_owned());
        assert_eq!(of(&["f"]), (None, "f".into(), None));
        for input in ["{}", " {\"a\": 1", "[1]", "\"x\"", "-", "@file.json", "3", "-5", "null", "true"] {
            assert_eq!(of(&["f", input]), (None, "f".into(), some(input)), "{input}");
        }
        for function in ["f", "Sentiment::classify", "/classify", "POST /classify", "cpu_worker/f"] {
            assert_eq!(of(&["production", function]), (some("production"), function.into(), None));
        }
        let words = ["greet".to_owned(), "Ada".to_owned()];
        let local = Words::of(&words, true).unwrap();
        assert_eq!(local, Words { environment: None, function: "greet", input: Some("Ada") });
        let words = ["greet", "{}", "extra"].map(str::to_owned);
        assert_eq!(Words::of(&words, true), Err(WordsError::TooMany { last: "extra".to_owned() }));
        assert_eq!(Words::of(&[], false), Err(WordsError::None));
        assert_eq!(of(&["production", "f", "not json"]), (some("production"), "f".into(), some("not json")));
    }
}

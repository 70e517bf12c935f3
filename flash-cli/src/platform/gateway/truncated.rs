//! Text from a client for use in messages, cut because a client can send a name of several megabytes.
use std::fmt;

/// Maximum length of a client's text in a message. All names of Flash are shorter.
pub(super) const MAX_CHARS: usize = 100;

/// Shows the beginning of a client's text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truncated<'a>(pub &'a str);

impl fmt::Display for Truncated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => write!(f, "{}…", &self.0[..end]),
            None => f.write_str(self.0),
        }
    }
}

/// Cuts a text to this many bytes, at a character boundary.
pub(super) fn cut(text: &mut String, limit: usize) {
    const MARK: &str = "…";
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub(MARK.len())));
        text.push_str(MARK);
    }
}

/// `known` names similar to a mistyped one, for a message: `; did you mean …?`
///
/// A text longer than any name has no similar names; comparing takes the product of both lengths.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let is_name = |text: &str| text.chars().nth(MAX_CHARS).is_none();
    if !is_name(wrong) {
        return String::new();
    }
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .filter(|name| is_name(name))
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(wrong.len()) / 2)
        .collect();
    near.sort_unstable();
    near.dedup();
    match near.iter().take(3).map(|(_, name)| *name).collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        names => format!("; did you mean `{}`?", names.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_longer_than_any_name_is_compared_with_none() {
        assert_eq!(nearest("classfy", ["classify", "other"]), "; did you mean `classify`?");
        let long = "a".repeat(MAX_CHARS + 1);
        assert_eq!(nearest(&long, [&*"a".repeat(MAX_CHARS)]), "");
        assert_eq!(nearest("a", [&*long]), "");
        // Compared, it would take hours.
        assert_eq!(nearest(&"ä".repeat(5_000_000), [&*"ä".repeat(5_000_000), "b"]), "");
    }

    #[test]
    fn an_echo_is_cut_between_characters() {
        assert_eq!(Truncated("short").to_string(), "short");
        assert_eq!(Truncated(&"ö".repeat(MAX_CHARS)).to_string(), "ö".repeat(MAX_CHARS));
        assert_eq!(Truncated(&"ö".repeat(9_000_000)).to_string(), format!("{}…", "ö".repeat(MAX_CHARS)));
        let mut text = "öö".to_owned();
        cut(&mut text, 4);
        assert_eq!(text, "öö");
        text.push('ö');
        cut(&mut text, 5);
        assert_eq!(text, "ö…");
    }
}

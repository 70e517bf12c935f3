//! Names that are similar to a mistyped one.
use crate::MAX_CHARS;

/// `known` names similar to a mistyped one, the most similar first, at most three.
///
/// A text longer than any name has no similar names; comparing takes the product of both lengths.
pub fn similar_names<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let is_name = |text: &str| text.chars().nth(MAX_CHARS).is_none();
    if !is_name(wrong) {
        return Vec::new();
    }
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .filter(|name| is_name(name))
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(wrong.len()) / 2)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

/// [`similar_names`] for a message: `; did you mean …?`, or nothing.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match similar_names(wrong, known).as_slice() {
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
}

//! Text from a client for use in messages, cut because a client can send a name of several megabytes.
use std::fmt;

/// Maximum length of a client's text in a message. All names of Flash are shorter.
pub const MAX_CHARS: usize = 100;

/// Shows the beginning of a client's text.
#[derive(Debug, Clone, Copy)]
pub struct Truncated<'a>(pub &'a str);

impl fmt::Display for Truncated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => write!(f, "{}…", &self.0[..end]),
            None => f.write_str(self.0),
        }
    }
}

/// Cuts a text to this many bytes, at a character boundary.
pub fn cut(text: &mut String, limit: usize) {
    const MARK: &str = "…";
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub(MARK.len())));
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! `.env` files: `NAME=value` lines. `docs/run.md` documents the grammar.
//!
//! A value is either taken exactly as written, or the file is rejected with the line, the problem and how to fix
//! it: nothing is substituted or dropped silently. Messages repeat nothing from the file, which holds secrets.
use std::fmt;

/// What is wrong with a file, and in which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct DotenvError {
    /// From 1 on.
    pub line: usize,
    /// What is wrong in that line.
    pub fault: Fault,
}

/// The problem, with what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The file begins with the byte order mark of UTF-16.
    Utf16,
    /// The line contains a byte that is not UTF-8.
    NotUtf8,
    /// The line contains the character NUL.
    Nul,
    /// The line is neither empty nor a comment, and has no `=`.
    NoValue,
    /// What precedes the `=` cannot be the name of a variable.
    BadName,
    /// The quote that begins a value, `'` or `"`, is not closed before the end of the file.
    Unclosed(char),
    /// Text after the closing quote of a value, in this line.
    AfterQuote {
        /// The line of the closing quote, from 1 on.
        line: usize,
    },
    /// This character follows a backslash in `"…"` and is not a valid escape.
    Escape(char),
    /// `${…}` in a value that is not in `'…'`.
    Substitution,
    /// A PEM block without quotes: only its first line would be the value.
    SeveralLines,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utf16 => f.write_str("the file is UTF-16; save it as UTF-8"),
            Self::NotUtf8 => f.write_str("not UTF-8; save the file as UTF-8"),
            Self::Nul => f.write_str("a variable cannot hold the character NUL; remove it"),
            Self::NoValue => f.write_str("no `=` in this line; write NAME=value, or put # before a comment"),
            Self::BadName => f.write_str(
                "a name may contain letters, digits, `_` and `.`, and must not begin with a digit; write NAME=value",
            ),
            Self::Unclosed('\'') => f.write_str(
                "the quote ' that begins the value is not closed; close it, or write NAME=\"…\" for a value that begins \
                 with '",
            ),
            Self::Unclosed(_) => f.write_str(
                "the quote \" that begins the value is not closed; close it, or write NAME='…' for a value that begins \
                 with \"",
            ),
            Self::AfterQuote { line } => write!(
                f,
                "there is text after the closing quote (in line {line}); only a comment may follow it: \
                 in \"…\" write \\\" for a quote inside the value"
            ),
            Self::Escape(escaped) => write!(
                f,
                "\\{} is not a valid escape in \"…\"; write \\\\ for a backslash, or use NAME='…', where \
                 backslashes have no meaning",
                escaped.escape_default()
            ),
            Self::Substitution => f.write_str(
                "${…} is not replaced here; write the value itself, or NAME='…' to keep ${…} as it is",
            ),
            Self::SeveralLines => {
                f.write_str("a value of several lines must be in quotes; write NAME='…' around all of them")
            }
        }
    }
}

/// The variables in a file, in order. If several have the same name, the last one counts.
///
/// # Errors
/// The first line that cannot be parsed.
pub fn parse(file: &[u8]) -> Result<Vec<(String, String)>, DotenvError> {
    let at = |line: usize, fault: Fault| DotenvError { line, fault };
    if file.starts_with(&[0xff, 0xfe]) || file.starts_with(&[0xfe, 0xff]) {
        return Err(at(1, Fault::Utf16));
    }
    let text = std::str::from_utf8(file)
        .map_err(|error| at(line_of(&file[..error.valid_up_to()]), Fault::NotUtf8))?;
    if let Some(nul) = text.find('\0') {
        return Err(at(line_of(&file[..nul]), Fault::Nul));
    }
    // Editors on Windows write it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1 };
    let mut variables: Vec<(String, String)> = Vec::new();
    while !reader.rest.is_empty() {
        let line = reader.line;
        if let Some((name, value)) = reader.line().map_err(|fault| at(line, fault))? {
            variables.retain(|(known, _)| *known != name);
            variables.push((name, value));
        }
    }
    Ok(variables)
}

/// The line, from 1 on, in which the next byte after these is.
fn line_of(before: &[u8]) -> usize {
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The unread rest.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Reads one line, or several for a quoted value.
    fn line(&mut self) -> Result<Option<(String, String)>, Fault> {
        self.skip_blanks();
        let line = self.rest.lines().next().unwrap_or_default();
        if line.is_empty() || line.starts_with('#') {
            self.skip_line();
            return Ok(None);
        }
        let (name, _) = line.split_once('=').ok_or(Fault::NoValue)?;
        self.rest = &self.rest[name.len() + 1..];
        let name = name.trim_matches(is_blank);
        let name = match name.split_once(is_blank) {
            Some(("export", name)) => name.trim_start_matches(is_blank),
            _ => name,
        };
        if !is_name(name) {
            return Err(Fault::BadName);
        }
        let after_equals = self.rest;
        self.skip_blanks();
        let value = match self.rest.chars().next() {
            Some('"') => self.quoted('"')?,
            Some('\'') => self.quoted('\'')?,
            _ => {
                self.rest = after_equals;
                self.plain()?
            }
        };
        Ok(Some((name.to_owned(), value)))
    }

    /// A value without quotes: everything up to the end of the line or a comment, without surrounding blanks.
    fn plain(&mut self) -> Result<String, Fault> {
        let line = self.rest.lines().next().unwrap_or_default();
        let is_comment = |at: usize| line[..at].ends_with(is_blank);
        let end = line.match_indices('#').map(|(at, _)| at).find(|at| is_comment(*at));
        let value = line[..end.unwrap_or(line.len())].trim_matches(is_blank);
        if has_substitution(value) {
            return Err(Fault::Substitution);
        }
        // A PEM key: its other lines would be taken for variables.
        if value.starts_with("-----BEGIN ") && !value.contains("-----END ") {
            return Err(Fault::SeveralLines);
        }
        self.skip_line();
        Ok(value.to_owned())
    }

    fn quoted(&mut self, quote: char) -> Result<String, Fault> {
        let mut value = String::new();
        let mut characters = self.rest[1..].char_indices();
        let end = loop {
            let (at, character) = characters.next().ok_or(Fault::Unclosed(quote))?;
            match character {
                close if close == quote => break at + 2,
                '\\' if quote == '"' => {
                    let (_, escaped) = characters.next().ok_or(Fault::Unclosed(quote))?;
                    value.push(unescaped(escaped).ok_or(Fault::Escape(escaped))?);
                }
                '$' if quote == '"' && has_substitution_at_start(&self.rest[at + 1..]) => {
                    return Err(Fault::Substitution);
                }
                other => value.push(other),
            }
        };
        self.line += self.rest[..end].matches('\n').count();
        self.rest = &self.rest[end..];
        self.skip_blanks();
        let behind = self.rest.lines().next().unwrap_or_default();
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err(Fault::AfterQuote { line: self.line });
        }
        self.skip_line();
        Ok(value)
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(is_blank);
    }

    fn skip_line(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        self.line += 1;
    }
}

/// Within a line. A carriage return before a newline belongs to the newline.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r')
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|part| part.is_ascii_alphanumeric() || part == '_' || part == '.')
}

fn unescaped(character: char) -> Option<char> {
    match character {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        '\\' | '"' | '$' => Some(character),
        _ => None,
    }
}

/// Whether it contains `${NAME}`: other readers of such files substitute a variable, so the message says that this
/// one does not.
fn has_substitution(value: &str) -> bool {
    value.match_indices('$').any(|(at, _)| has_substitution_at_start(&value[at..]))
}

fn has_substitution_at_start(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.split_once('}'))
        // `${NAME:-default}` too.
        .is_some_and(|(inside, _)| is_name(inside.split(':').next().unwrap_or_default()))
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("dotenv", |data| match parse(data) {
    Ok(variables) => {
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
        let written: String =
            variables.iter().map(|(name, value)| format!("{name}=\"{}\"\n", quoted(value))).collect();
        assert_eq!(parse(written.as_bytes()).as_ref(), Ok(&variables), "every value can be written");
    }
    Err(error) => assert!((1..=line_of(data)).contains(&error.line), "{error:?}"),
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(line: &str) -> String {
        let variables = parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(variables.len(), 1, "{line}");
        variables[0].1.clone()
    }

    #[test]
    fn what_is_plain_stays_as_it_is() {
        for plain in [
            r#"{"a":1}"#,
            "p@ss$word",
            "$start",
            "100%",
            "a$",
            "$(date)",
            "${",
            "it's",
            r"C:\dir\new",
            r"a\tb",
            "#fff",
            "a#b",
            "a=b=c==",
            "two words",
            "[1, 2]",
            "postgres://u:p@h/d?x=1&y=2",
            "schön",
            "a\"b\"c",
            "`x`",
            "!",
        ] {
            for form in [
                "A={}",
                "A={}\n",
                "A={}\r\n",
                "A = {}",
                "  A={}  ",
                "export A={}",
                "A={} # why",
                "\u{feff}A={}",
            ] {
                let line = form.replace("{}", plain);
                let expected = if form == "A = {}" && plain.starts_with('#') { "" } else { plain };
                assert_eq!(value(&line), expected, "{line:?}");
            }
        }
        assert_eq!(
            (value("A="), value("A= "), value("A= # none")),
            (String::new(), String::new(), String::new())
        );
    }

    #[test]
    fn quoted_values() {
        for (line, expected) in [
            (r#"A="two  words ""#, "two  words "),
            (r#"A = "x" # why"#, "x"),
            (r#"A="a\tb\nc\\d\"e\$f""#, "a\tb\nc\\d\"e$f"),
            (r#"A="\${B}""#, "${B}"),
            (r#"A="it's $5 # here""#, "it's $5 # here"),
            (r"A='a\tb ${B} #'", r"a\tb ${B} #"),
            (r#"A='{"a": "b"}'"#, r#"{"a": "b"}"#),
            ("A='one\ntwo'", "one\ntwo"),
            ("A=\"one\r\ntwo\"\r\n", "one\r\ntwo"),
            ("A=''", ""),
            ("A=\"\"", ""),
        ] {
            assert_eq!(value(line), expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line_and_the_way_to_write_it() {
        for (text, line, fault) in [
            ("A=1\nthe secret line", 2, Fault::NoValue),
            ("A=1\n\n# x\nexport B", 4, Fault::NoValue),
            ("A=1\n=secret", 2, Fault::BadName),
            ("1A=secret", 1, Fault::BadName),
            ("A-B=secret", 1, Fault::BadName),
            ("A B=secret", 1, Fault::BadName),
            ("\"A\"=secret", 1, Fault::BadName),
            ("B=2\nA=\"secret\nC=3", 2, Fault::Unclosed('"')),
            ("A='secret", 1, Fault::Unclosed('\'')),
            ("A=\"secret\\", 1, Fault::Unclosed('"')),
            ("A='it's secret'", 1, Fault::AfterQuote { line: 1 }),
            ("A=\"secret\nB=\"other\"", 1, Fault::AfterQuote { line: 2 }),
            (r#"A="{"secret":1}""#, 1, Fault::AfterQuote { line: 1 }),
            (r#"A="C:\dir""#, 1, Fault::Escape('d')),
            ("A=${SECRET}", 1, Fault::Substitution),
            ("X=1\nA=a/${SECRET:-b}/c", 2, Fault::Substitution),
            ("A=\"${SECRET}\"", 1, Fault::Substitution),
            ("A=-----BEGIN secret-----\nabc=\n-----END secret-----", 1, Fault::SeveralLines),
            ("A=1\nB=\0", 2, Fault::Nul),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, DotenvError { line, fault }, "{text:?}");
            let said = error.to_string().to_lowercase();
            assert!(!said.contains("secret"), "{said}");
            assert!(["write", "remove", "save"].iter().any(|way| said.contains(way)), "{said}");
        }
        assert_eq!(parse(b"A=1\nB=\xff").unwrap_err(), DotenvError { line: 2, fault: Fault::NotUtf8 });
        assert_eq!(parse(b"\xff\xfeA\0=\0").unwrap_err(), DotenvError { line: 1, fault: Fault::Utf16 });
    }

    #[test]
    fn the_example_of_the_documentation_is_read_as_it_says() {
        let page = include_str!("../../../docs/run.md");
        let example =
            page.split("## `.env`\n\n```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let read = parse(example.as_bytes()).unwrap();
        let read: Vec<(&str, &str)> = read.iter().map(|(name, value)| (&**name, &**value)).collect();
        let expected = [
            ("PLAIN", "p@ss$word"),
            ("JSON", "{\"a\":1}"),
            ("SPACED", "two words"),
            ("SINGLE", "C:\\new ${B} #1"),
            ("DOUBLE", "it's\ttabbed"),
            ("EMPTY", ""),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn of_several_with_one_name_the_last_counts() {
        let variables = parse(b"A=1\nB=2\nA=3\n").unwrap();
        assert_eq!(variables, [("B".to_owned(), "2".to_owned()), ("A".to_owned(), "3".to_owned())]);
    }

    proptest! {
        #[test]
        fn nothing_panics(file in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&file);
        }

        #[test]
        fn lines_of_such_files_are_read_or_refused(text in "([A-Z=\"' #\\\\$\\{\\}\r\n\t]|export ){0,60}") {
            if let Err(error) = parse(text.as_bytes()) {
                prop_assert!(error.line <= text.matches('\n').count() + 1, "{error:?}");
            }
        }

        #[test]
        fn every_value_can_be_written(expected in "[^\0]{0,40}", more in "[a-z]{0,5}") {
            let escaped = expected.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
            let text = format!("A=\"{escaped}\" # {more}\nB={more}\n");
            let read = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(read, [("A".to_owned(), expected), ("B".to_owned(), more)]);
        }

        #[test]
        fn what_has_no_quote_at_its_start_is_literal(expected in "[!%-~&&[^'\"]][ -~]{0,30}[!-~]") {
            prop_assume!(!has_substitution(&expected) && !expected.contains(" #"));
            prop_assume!(!expected.starts_with("-----BEGIN "));
            prop_assert_eq!(parse(format!("A={expected}\n").as_bytes()).unwrap(), [("A".to_owned(), expected)]);
        }
    }
}

//! How the small classifier reads a text: words, pairs of words, negated words and character pieces.
//!
//! Owns the cutting and the hashing, on which the shipped weights depend to the last bit: any change here
//! asks for new weights. Knows nothing of tensors.

/// Words after a negation that also count as negated; the scope also ends at punctuation.
const NEGATION_SCOPE: usize = 3;
/// Character pieces are taken from this much of a word: an unbroken 10,000 characters are not a word.
const LONGEST_WORD: usize = 40;
const SHORTEST_PIECE: usize = 3;
const LONGEST_PIECE: usize = 5;

const NEGATIONS: &[&str] = &[
    "not", "no", "never", "nothing", "nobody", "none", "neither", "nor", "without", "hardly", "barely",
    "cannot", "cant", "dont", "doesnt", "didnt", "isnt", "wasnt", "arent", "werent", "wont", "wouldnt",
    "couldnt", "shouldnt", "hasnt", "havent", "hadnt", "aint",
];

/// The hashes of everything the classifier sees in one text.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// Words, pairs of neighbours, and words under a negation.
    pub words: Vec<u64>,
    /// Pieces of three to five characters within words, which reach words never seen in training.
    pub pieces: Vec<u64>,
}

impl Features {
    /// Reads a text. Case, apostrophes, links and mentions do not count.
    pub fn of(text: &str) -> Self {
        let tokens = tokens(text);
        let mut features = Self::default();
        let mut negated = 0;
        let mut previous = None;
        for token in &tokens {
            match token {
                Token::Pause => negated = 0,
                Token::Word(word) => {
                    features.add_word(word, previous, negated > 0);
                    let negates = NEGATIONS.contains(&word.as_str());
                    negated = if negates { NEGATION_SCOPE } else { negated.saturating_sub(1) };
                    previous = Some(word.as_str());
                }
            }
        }
        features
    }

    fn add_word(&mut self, word: &str, previous: Option<&str>, negated: bool) {
        self.words.push(hash(Kind::Word, &[word]));
        if let Some(previous) = previous {
            self.words.push(hash(Kind::Pair, &[previous, word]));
        }
        if negated {
            self.words.push(hash(Kind::Negated, &[word]));
        }
        self.add_pieces(word);
    }

    fn add_pieces(&mut self, word: &str) {
        let marked = format!("<{word}>");
        let mut starts: Vec<usize> = marked.char_indices().map(|(at, _)| at).take(LONGEST_WORD).collect();
        starts.push(marked.char_indices().nth(LONGEST_WORD).map_or(marked.len(), |(at, _)| at));
        for length in SHORTEST_PIECE..=LONGEST_PIECE {
            for ends in starts.windows(length + 1) {
                self.pieces.push(hash(Kind::Piece, &[&marked[ends[0]..ends[length]]]));
            }
        }
    }
}

enum Token {
    Word(String),
    /// Punctuation that ends a thought.
    Pause,
}

fn tokens(text: &str) -> Vec<Token> {
    text.split_whitespace().filter(|chunk| !is_address(chunk)).flat_map(chunk_tokens).collect()
}

/// Links and mentions name someone; they say nothing about a feeling.
fn is_address(chunk: &str) -> bool {
    chunk.starts_with('@') || chunk.starts_with("http") || chunk.starts_with("www.")
}

fn chunk_tokens(chunk: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for character in chunk.chars().filter(|character| !matches!(character, '\'' | '’' | '`')) {
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
            continue;
        }
        flush(&mut word, &mut tokens);
        match character {
            '.' | ',' | ';' | ':' => tokens.push(Token::Pause),
            '!' | '?' => tokens.extend([Token::Pause, Token::Word(character.to_string())]),
            symbol if !symbol.is_ascii() => tokens.push(Token::Word(symbol.to_string())),
            _ => {}
        }
    }
    flush(&mut word, &mut tokens);
    tokens
}

fn flush(word: &mut String, tokens: &mut Vec<Token>) {
    if !word.is_empty() {
        tokens.push(Token::Word(canonical(word)));
        word.clear();
    }
}

/// One spelling for all numbers, and for all the lengths of `soooo`.
fn canonical(word: &str) -> String {
    if word.chars().all(|character| character.is_ascii_digit()) {
        return "0".to_owned();
    }
    let mut kept: Vec<char> = Vec::with_capacity(word.len());
    for character in word.chars() {
        if !kept.ends_with(&[character, character]) {
            kept.push(character);
        }
    }
    kept.into_iter().collect()
}

#[derive(Clone, Copy)]
enum Kind {
    Word = 1,
    Pair = 2,
    Negated = 3,
    Piece = 4,
}

fn hash(kind: Kind, parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    stable_hash([kind as u8].into_iter().chain(bytes))
}

/// A hash that is the same on every machine and in every release: FNV-1a with a final mix, since weights
/// and the held-out split outlive the standard library's hasher.
pub fn stable_hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let mut state = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The table takes the low bits, which FNV alone mixes poorly for short inputs.
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^ (state >> 33)
}

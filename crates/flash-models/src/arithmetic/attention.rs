//! Attention among the tokens of each text of a batch, which lie one after the other without padding.
use super::{
    exponential::exp,
    rows::{Work, each_piece},
};

/// Numbers that are computed side by side.
const LANES: usize = 16;
/// Tokens that ask at once, so that keys and values are read once for all of them.
const TOGETHER: usize = 4;
/// Tokens that one thread takes at once, from one text.
const TOKENS: usize = 32;

/// Heads of attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) count: usize,
    /// Numbers of each.
    pub(crate) size: usize,
}

impl Heads {
    fn width(self) -> usize {
        self.count * self.size
    }
}

/// Every token sees all tokens of its text. `qkv` has a row for each token: queries, keys and values of all heads;
/// `bias` is one for all rows; `lengths` are the tokens of each text. The result has a row of all heads for each token.
pub(crate) fn attend(
    qkv: &[f32],
    bias: &[f32],
    lengths: impl Iterator<Item = usize>,
    heads: Heads,
) -> Vec<f32> {
    let width = heads.width();
    let mut values = vec![0.0; qkv.len() / 3];
    let (mut pieces, mut parts) = (Vec::new(), Vec::new());
    let (mut rest, mut start) = (&mut *values, 0);
    for length in lengths {
        for from in (0..length).step_by(TOKENS) {
            let count = TOKENS.min(length - from);
            let (piece, others) = rest.split_at_mut(count * width);
            pieces.push(piece);
            parts.push(Part { start, length, from });
            rest = others;
        }
        start += length;
    }
    each_piece(pieces, Attend { qkv, bias, parts, heads });
    values
}

struct Attend<'a> {
    qkv: &'a [f32],
    bias: &'a [f32],
    parts: Vec<Part>,
    heads: Heads,
}

impl Work for Attend<'_> {
    #[inline(always)]
    fn compute(&self, at: usize, piece: &mut [f32]) {
        let Self { qkv, bias, heads, .. } = *self;
        let width = heads.width();
        let part = self.parts[at];
        let mut scratch = Scratch::new(part.length, heads.size);
        for head in 0..heads.count {
            scratch.load(qkv, part, heads, head);
            let queries = Queries { qkv, bias, part, heads, head };
            for (block, rows) in piece.chunks_mut(TOGETHER * width).enumerate() {
                let scores = scratch.scores(&queries, block * TOGETHER, rows.len() / width);
                scratch.weigh(&scores, &queries, rows);
            }
        }
    }
}

/// Tokens of a text that ask.
#[derive(Clone, Copy)]
struct Part {
    /// The first row of the text.
    start: usize,
    /// Tokens of the text.
    length: usize,
    /// The first that asks, within the text.
    from: usize,
}

struct Queries<'a> {
    qkv: &'a [f32],
    bias: &'a [f32],
    part: Part,
    heads: Heads,
    head: usize,
}

/// Keys and values of one head, in the order in which they are read.
struct Scratch {
    size: usize,
    length: usize,
    /// Blocks of [`LANES`] tokens: the first number of each token, then the second, and so on.
    keys: Vec<[f32; LANES]>,
    /// Blocks of [`LANES`] numbers: of each token in turn.
    values: Vec<[f32; LANES]>,
}

impl Scratch {
    #[inline(always)]
    fn new(length: usize, size: usize) -> Self {
        let keys = vec![[0.0; LANES]; length.div_ceil(LANES) * size];
        let values = vec![[0.0; LANES]; size.div_ceil(LANES) * length];
        Self { size, length, keys, values }
    }

    /// A bias of the keys changes all scores of a token alike, which softmax forgets. That of the values is added last,
    /// because weights sum to 1.
    #[inline(always)]
    fn load(&mut self, qkv: &[f32], part: Part, heads: Heads, head: usize) {
        let (width, size) = (heads.width(), heads.size);
        for token in 0..part.length {
            let row = &qkv[(part.start + token) * 3 * width..][..3 * width];
            let key = &row[width + head * size..][..size];
            let block = &mut self.keys[token / LANES * size..][..size];
            for (lanes, number) in block.iter_mut().zip(key) {
                lanes[token % LANES] = *number;
            }
            let value = &row[2 * width + head * size..][..size];
            for (block, numbers) in value.chunks(LANES).enumerate() {
                self.values[block * part.length + token][..numbers.len()].copy_from_slice(numbers);
            }
        }
    }

    /// The weights that up to [`TOGETHER`] tokens give to each token, after softmax.
    #[inline(always)]
    fn scores(&self, queries: &Queries<'_>, first: usize, count: usize) -> [Vec<f32>; TOGETHER] {
        let Queries { qkv, bias, part, heads, head } = queries;
        let (width, size) = (heads.width(), heads.size);
        let scale = 1.0 / (size as f32).sqrt();
        let query = |at: usize| {
            let token = part.start + part.from + first + at.min(count - 1);
            let row = &qkv[token * 3 * width + head * size..][..size];
            let bias = &bias[head * size..][..size];
            row.iter().zip(bias).map(|(number, bias)| (number + bias) * scale).collect::<Vec<f32>>()
        };
        let asked: [Vec<f32>; TOGETHER] = std::array::from_fn(query);
        let mut scores: [Vec<f32>; TOGETHER] =
            std::array::from_fn(|_| vec![0.0; self.length.next_multiple_of(LANES)]);
        for (block, keys) in self.keys.chunks_exact(size).enumerate() {
            let mut sums = [[0.0; LANES]; TOGETHER];
            for (number, keys) in keys.iter().enumerate() {
                for (sums, asked) in sums.iter_mut().zip(&asked) {
                    let asked = asked[number];
                    for (sum, key) in sums.iter_mut().zip(keys) {
                        *sum += asked * key;
                    }
                }
            }
            for (scores, sums) in scores.iter_mut().zip(&sums) {
                scores[block * LANES..][..LANES].copy_from_slice(sums);
            }
        }
        for scores in &mut scores {
            softmax(&mut scores[..self.length]);
        }
        scores
    }

    /// The values of all tokens by these weights.
    #[inline(always)]
    fn weigh(&self, scores: &[Vec<f32>; TOGETHER], queries: &Queries<'_>, rows: &mut [f32]) {
        let (width, at) = (queries.heads.width(), queries.head * self.size);
        let bias = &queries.bias[2 * width + at..][..self.size];
        for (block, values) in self.values.chunks_exact(self.length).enumerate() {
            let mut sums = [[0.0; LANES]; TOGETHER];
            for (token, values) in values.iter().enumerate() {
                for (sums, scores) in sums.iter_mut().zip(scores) {
                    let weight = scores[token];
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum += weight * value;
                    }
                }
            }
            let bias = &bias[block * LANES..self.size.min((block + 1) * LANES)];
            for (row, sums) in rows.chunks_exact_mut(width).zip(&sums) {
                let row = &mut row[at + block * LANES..];
                for ((number, sum), bias) in row.iter_mut().zip(sums).zip(bias) {
                    *number = sum + bias;
                }
            }
        }
    }
}

#[inline(always)]
fn softmax(scores: &mut [f32]) {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = scores.as_chunks::<LANES>();
    for values in whole {
        for (most, value) in most.iter_mut().zip(values) {
            *most = if *value > *most { *value } else { *most };
        }
    }
    let most = most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.iter_mut() {
        *score = exp(*score - most);
    }
    let mut sums = [0.0; LANES];
    let (whole, rest) = scores.as_chunks::<LANES>();
    for values in whole {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
    let scale = 1.0 / sums.iter().chain(rest).sum::<f32>();
    scores.iter_mut().for_each(|score| *score *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(at: usize) -> f32 {
        ((at * 7919 + 13) % 1009) as f32 / 400.0 - 1.2
    }

    /// By the formula, with all biases.
    fn expected(qkv: &[f32], bias: &[f32], lengths: &[usize], heads: Heads) -> Vec<f32> {
        let width = heads.width();
        let read = |token: usize, part: usize, head: usize, at: usize| {
            let column = part * width + head * heads.size + at;
            f64::from(qkv[token * 3 * width + column]) + f64::from(bias[column])
        };
        let mut values = Vec::new();
        let mut start = 0;
        for length in lengths {
            for token in start..start + length {
                for head in 0..heads.count {
                    let score = |other: usize| -> f64 {
                        let product = |at| read(token, 0, head, at) * read(other, 1, head, at);
                        (0..heads.size).map(product).sum::<f64>() / (heads.size as f64).sqrt()
                    };
                    let weights: Vec<f64> = (start..start + length).map(|other| score(other).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    for at in 0..heads.size {
                        let weighed = weights.iter().enumerate();
                        let value: f64 = weighed.map(|(other, w)| w * read(start + other, 2, head, at)).sum();
                        values.push((value / sum) as f32);
                    }
                }
            }
            start += length;
        }
        values
    }

    #[test]
    fn tokens_see_their_own_text_and_no_other() {
        for (heads, lengths) in [
            (Heads { count: 2, size: 32 }, vec![1, 5, 70, 16]),
            (Heads { count: 3, size: 24 }, vec![33]),
            (Heads { count: 1, size: 4 }, vec![2, 3]),
        ] {
            let (rows, width) = (lengths.iter().sum::<usize>(), heads.width());
            let qkv: Vec<f32> = (0..rows * 3 * width).map(number).collect();
            let bias: Vec<f32> = (0..3 * width).map(|at| number(at + 77)).collect();
            let seen = attend(&qkv, &bias, lengths.iter().copied(), heads);
            let expected = expected(&qkv, &bias, &lengths, heads);
            for (seen, expected) in seen.chunks(width).zip(expected.chunks(width)) {
                for (seen, expected) in seen.iter().zip(expected) {
                    assert!((seen - expected).abs() < 1e-4, "{seen} is not {expected}");
                }
            }
        }
    }
}

//! Decides which texts are computed together.

/// What a batch may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Texts.
    pub(super) texts: usize,
    /// Tokens with padding: texts × the longest.
    pub(super) tokens: usize,
}

/// The texts of the next batch, as indices into `lengths`, which are in the order of arrival.
///
/// The first always goes, so that none waits for ever; with it go those of about its length, because the shorter are
/// padded to the longest. A text over the limit goes alone.
pub(super) fn next(lengths: &[usize], limits: Limits) -> Vec<usize> {
    let mut sorted: Vec<usize> = (0..lengths.len()).collect();
    sorted.sort_by_key(|at| lengths[*at]);
    let Some(first) = sorted.iter().position(|at| *at == 0) else { return Vec::new() };
    let (mut from, mut to) = (first, first + 1);
    while to - from < limits.texts {
        let fits = |longest: usize| longest.saturating_mul(to - from + 1) <= limits.tokens;
        let shorter = from.checked_sub(1).map(|at| lengths[sorted[at]]);
        let longer = sorted.get(to).map(|at| lengths[*at]).filter(|length| fits(*length));
        let shorter = shorter.filter(|_| fits(lengths[sorted[to - 1]]));
        // The one that wastes less: a shorter one is padded, a longer one pads all others.
        let longest = lengths[sorted[to - 1]];
        match (shorter, longer) {
            (Some(shorter), Some(longer)) if longest - shorter < (longer - longest) * (to - from) => {
                from -= 1
            }
            (_, Some(_)) => to += 1,
            (Some(_), None) => from -= 1,
            (None, None) => break,
        }
    }
    sorted[from..to].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lengths: &[usize], texts: usize, tokens: usize) -> Vec<usize> {
        let mut batch = next(lengths, Limits { texts, tokens });
        batch.sort_unstable();
        batch
    }

    #[test]
    fn the_first_goes_with_those_of_about_its_length() {
        assert_eq!(batch(&[10, 90, 11, 9, 88], 3, 1000), [0, 2, 3]);
        assert_eq!(batch(&[90, 10, 11, 9, 88], 2, 1000), [0, 4]);
        assert!(batch(&[], 3, 1000).is_empty());
    }

    #[test]
    fn a_batch_has_limits_and_a_text_over_them_goes_alone() {
        assert_eq!(batch(&[10; 10], 4, 1000).len(), 4);
        assert_eq!(batch(&[10; 10], 8, 35).len(), 3);
        assert_eq!(batch(&[50, 10, 10], 8, 35), [0]);
        assert_eq!(batch(&[10, 50, 10], 8, 35), [0, 2]);
    }

    #[test]
    fn all_texts_go_whatever_their_lengths() {
        let mut lengths: Vec<usize> = (0..500).map(|at| 1 + at * 7919 % 256).collect();
        let mut batches = 0;
        while !lengths.is_empty() {
            let mut batch = batch(&lengths, 32, 4096);
            let longest = batch.iter().map(|at| lengths[*at]).max().unwrap();
            assert!(batch.contains(&0) && longest * batch.len() <= 4096);
            batch.reverse();
            for at in batch {
                lengths.remove(at);
            }
            batches += 1;
        }
        assert!(batches < 40, "{batches} batches");
    }
}

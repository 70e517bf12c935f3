//! What a model answers: three labels and a probability for each.

/// The sentiment of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// The writer likes it.
    Positive,
    /// The writer states facts, or likes and dislikes in equal parts.
    Neutral,
    /// The writer dislikes it.
    Negative,
}

impl Label {
    /// All labels, in the order of every model's outputs.
    pub const ALL: [Self; 3] = [Self::Positive, Self::Neutral, Self::Negative];

    /// The label's name as clients read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Neutral => "neutral",
            Self::Negative => "negative",
        }
    }

    /// The label of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.as_str() == name)
    }

    /// The label's place in [`Label::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::Positive => 0,
            Self::Neutral => 1,
            Self::Negative => 2,
        }
    }
}

/// A probability for each label; they sum to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores([f32; 3]);

impl Scores {
    /// Turns a model's raw outputs into probabilities.
    ///
    /// Outputs that are not finite (weights that do not belong to the program) give equal probabilities,
    /// so that the sum holds for every caller.
    pub fn from_logits(logits: [f32; 3]) -> Self {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Self([1.0 / 3.0; 3]);
        }
        // Shifted by the largest, no exponent overflows.
        let largest = logits.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let powers = logits.map(|logit| (logit - largest).exp());
        let sum: f32 = powers.iter().sum();
        Self(powers.map(|power| power / sum))
    }

    /// The probability of one label.
    pub fn get(self, label: Label) -> f32 {
        self.0[label.index()]
    }

    /// The likeliest label and its probability.
    pub fn top(self) -> (Label, f32) {
        let [first, rest @ ..] = Label::ALL;
        rest.into_iter()
            .map(|label| (label, self.get(label)))
            .fold((first, self.get(first)), |best, next| if next.1 > best.1 { next } else { best })
    }

    /// Every label with its probability: positive, neutral, negative.
    pub fn iter(self) -> impl Iterator<Item = (Label, f32)> {
        Label::ALL.into_iter().zip(self.0)
    }
}

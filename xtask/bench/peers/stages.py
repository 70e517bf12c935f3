"""The three stages: clean a text, judge it by rules, format the answer. The same as `stages.rs` of the hand-written side.

Each peer carries the data between the stages in its own way; the stages are the same code, so that nothing but the
carrying is compared.
"""

import re
from datetime import datetime, timezone

from pydantic import BaseModel, Field


class RawText(BaseModel):
    """A text as a client sends it."""

    text: str = Field(min_length=3, max_length=10_000)


class Preprocessed(BaseModel):
    """A text ready for the rules."""

    status: str
    original_text: str
    cleaned_text: str
    word_count: int
    sentence_count: int
    char_count: int
    timestamp: str


class CleanText(BaseModel):
    """What inference needs of it."""

    cleaned_text: str
    word_count: int


class Prediction(BaseModel):
    """One label and how sure the rules are."""

    label: str
    confidence: float


class Inference(BaseModel):
    """What the rules say: positive, neutral and negative."""

    status: str
    predictions: list[Prediction]
    model: str
    timestamp: str


class Metadata(BaseModel):
    """What the answer tells about its making."""

    word_count: int
    sentence_count: int
    model: str


class Postprocessed(BaseModel):
    """The answer of the pipeline."""

    status: str
    text_preview: str
    classification: Prediction
    all_predictions: list[Prediction]
    metadata: Metadata
    steps: list[str]
    completed_at: str


PRAISE = {"amazing", "love", "great", "good", "excellent", "wonderful"}
BLAME = {"awful", "hate", "bad", "poor", "terrible", "broken"}

ODD = re.compile(r"[^\w\s.,!?-]")
ENDS = re.compile(r"[.!?]")
WORD = re.compile(r"[^\W_]+")


def preprocess(raw: RawText) -> Preprocessed:
    """The first stage."""
    words = ODD.sub("", raw.text).split()
    cleaned_text = " ".join(words)
    return Preprocessed(
        status="success",
        original_text=raw.text,
        cleaned_text=cleaned_text,
        word_count=len(words),
        sentence_count=sum(1 for piece in ENDS.split(cleaned_text) if piece.strip()),
        char_count=len(cleaned_text),
        timestamp=now(),
    )


def infer(clean: CleanText) -> Inference:
    """The second stage."""
    words = WORD.findall(clean.cleaned_text.lower())
    positive = 0.1 + sum(1 for word in words if word in PRAISE)
    neutral = 0.2
    negative = 0.1 + sum(1 for word in words if word in BLAME)
    # Not `sum`, which rounds otherwise since Python 3.12: the answers would differ in the last digit.
    total = positive + neutral + negative
    weights = [("positive", positive), ("neutral", neutral), ("negative", negative)]
    return Inference(
        status="success",
        predictions=[Prediction(label=label, confidence=weight / total) for label, weight in weights],
        model="rules",
        timestamp=now(),
    )


def postprocess(predictions: list[Prediction], original_text: str, metadata: Metadata) -> Postprocessed:
    """The third stage."""
    ordered = sorted(predictions, key=lambda prediction: prediction.confidence, reverse=True)
    return Postprocessed(
        status="success",
        text_preview=original_text[:100],
        classification=ordered[0] if ordered else Prediction(label="unknown", confidence=0.0),
        all_predictions=ordered,
        metadata=metadata,
        steps=["preprocess", "inference", "postprocess"],
        completed_at=now(),
    )


def now() -> str:
    return datetime.now(timezone.utc).isoformat()

"""LitServe: one API whose three steps are the three stages.

LitServe has no calls from one service to another. The stages run after each other in one worker process, where
the other peers and Flash have three or more.
"""

import sys

import litserve as ls

import stages
from stages import CleanText, Inference, Metadata, Postprocessed, Preprocessed, RawText


class Classify(ls.LitAPI):
    def setup(self, device: str) -> None:
        """Nothing to load: the rules are code."""

    def decode_request(self, request: RawText) -> Preprocessed:
        return stages.preprocess(request)

    def predict(self, clean: Preprocessed) -> tuple[Preprocessed, Inference]:
        inference = stages.infer(CleanText(cleaned_text=clean.cleaned_text, word_count=clean.word_count))
        return clean, inference

    def encode_response(self, judged: tuple[Preprocessed, Inference]) -> Postprocessed:
        clean, inference = judged
        metadata = Metadata(
            word_count=clean.word_count,
            sentence_count=clean.sentence_count,
            model=inference.model,
        )
        return stages.postprocess(inference.predictions, clean.original_text, metadata)


if __name__ == "__main__":
    server = ls.LitServer(Classify(api_path="/classify"), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)

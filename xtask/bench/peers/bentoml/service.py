"""BentoML: four services, three of them dependencies of the one with the route.

`bentoml serve` runs each service in a process of its own.
"""

import bentoml

import stages
from stages import CleanText, Inference, Metadata, Postprocessed, Prediction, Preprocessed, RawText

SETTINGS = {
    "workers": 1,
    # No line in a log for each request.
    "logging": {"access": {"enabled": False}},
    # By default, each caller drops its connections after 100 requests and 5 minutes. Version 1.4.40 does so while other
    # requests use them, and under 64 connections a part of those fails.
    "runner_connection": {"max_requests": 1_000_000_000, "max_age": 86_400.0},
}


@bentoml.service(**SETTINGS)
class Preprocess:
    @bentoml.api
    async def preprocess(self, raw: RawText) -> Preprocessed:
        return stages.preprocess(raw)


@bentoml.service(**SETTINGS)
class Infer:
    @bentoml.api
    async def infer(self, clean: CleanText) -> Inference:
        return stages.infer(clean)


@bentoml.service(**SETTINGS)
class Postprocess:
    @bentoml.api
    async def postprocess(
        self, predictions: list[Prediction], original_text: str, metadata: Metadata
    ) -> Postprocessed:
        return stages.postprocess(predictions, original_text, metadata)


@bentoml.service(**SETTINGS)
class Classify:
    preprocessing = bentoml.depends(Preprocess)
    inference = bentoml.depends(Infer)
    postprocessing = bentoml.depends(Postprocess)

    @bentoml.api(route="/classify")
    async def classify(self, text: str) -> Postprocessed:
        clean = await self.preprocessing.to_async.preprocess(raw=RawText(text=text))
        inference = await self.inference.to_async.infer(
            clean=CleanText(cleaned_text=clean.cleaned_text, word_count=clean.word_count)
        )
        metadata = Metadata(
            word_count=clean.word_count,
            sentence_count=clean.sentence_count,
            model=inference.model,
        )
        return await self.postprocessing.to_async.postprocess(
            predictions=inference.predictions,
            original_text=clean.original_text,
            metadata=metadata,
        )

"""FastAPI: three apps, each in a uvicorn of its own, that call each other over HTTP with httpx.

Laid out as the hand-written axum side: the first stage has the route, and each stage calls the next one.
"""

import os

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

import stages
from stages import CleanText, Metadata, Postprocessed, Prediction, RawText

classify = FastAPI()
infer = FastAPI()
postprocess = FastAPI()

NEXT_URL = os.environ.get("NEXT_URL", "")

# Connections are kept and reused, also under 64 requests at a time: httpx by itself keeps 20.
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))


class ToInfer(BaseModel):
    """The first stage's call of the second: its input, and what is passed on."""

    input: CleanText
    original_text: str
    sentence_count: int


class ToPostprocess(BaseModel):
    """The second stage's call of the third."""

    predictions: list[Prediction]
    original_text: str
    metadata: Metadata


async def ask_next(call: BaseModel) -> Postprocessed:
    response = await client.post(NEXT_URL, json=call.model_dump())
    response.raise_for_status()
    return Postprocessed.model_validate(response.json())


@classify.post("/classify")
async def classify_stage(raw: RawText) -> Postprocessed:
    clean = stages.preprocess(raw)
    return await ask_next(
        ToInfer(
            input=CleanText(cleaned_text=clean.cleaned_text, word_count=clean.word_count),
            original_text=clean.original_text,
            sentence_count=clean.sentence_count,
        )
    )


@infer.post("/infer")
async def infer_stage(call: ToInfer) -> Postprocessed:
    inference = stages.infer(call.input)
    metadata = Metadata(
        word_count=call.input.word_count,
        sentence_count=call.sentence_count,
        model=inference.model,
    )
    return await ask_next(
        ToPostprocess(
            predictions=inference.predictions,
            original_text=call.original_text,
            metadata=metadata,
        )
    )


@postprocess.post("/postprocess")
async def postprocess_stage(call: ToPostprocess) -> Postprocessed:
    return stages.postprocess(call.predictions, call.original_text, call.metadata)

"""The official worker with a handler that returns its input: as many jobs at once as the argument says."""

import sys

import runpod

CONCURRENCY = int(sys.argv.pop(1))


async def handler(job):
    return job["input"]


settings = {"handler": handler}
# One is what it does without a word.
if CONCURRENCY > 1:
    settings["concurrency_modifier"] = lambda current: CONCURRENCY
runpod.serverless.start(settings)

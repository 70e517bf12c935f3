"""Handlers for the official worker, which runs them unmodified. `HANDLER` names the one of this process; most do
what the input says under `do`."""

import asyncio
import os
import pathlib
import sys
import time

import runpod


def appears(file):
    """Waits for a file, as a handler that blocks."""
    while not pathlib.Path(file).exists():
        time.sleep(0.01)


async def appears_async(file):
    """Waits for a file, as a handler that lets others run."""
    while not pathlib.Path(file).exists():
        await asyncio.sleep(0.01)


def write(file, text):
    """Leaves something for the test; whole, or not there."""
    beside = pathlib.Path(f"{file}.new")
    beside.write_text(text, encoding="utf-8")
    beside.rename(file)


def plain(job):
    """A handler that blocks."""
    given = job["input"]
    what = given.get("do")
    if what == "return":
        return given["value"]
    if what == "raise":
        raise ValueError(given["message"])
    if what == "print":
        print(given["text"], flush=True)
        print(given["text"], file=sys.stderr, flush=True)
        runpod.RunPodLogger().info(given["text"], job["id"])
        return "printed"
    if what == "process":
        return {"pid": os.getpid(), "worker": os.environ["RUNPOD_POD_ID"]}
    if what == "refresh":
        return {"pid": os.getpid(), "refresh_worker": True}
    if what == "not a number":
        return {"value": float("nan")}
    if what == "no JSON":
        return {"value": object()}
    if what == "grow":
        return {"value": "x" * given["characters"]}
    if what == "end":
        print(given["words"], file=sys.stderr, flush=True)
        # pylint: disable-next=protected-access
        os._exit(given["code"])
    if what == "hold":
        runpod.serverless.progress_update(job, {"waiting": given["file"], "pid": os.getpid()})
        appears(given["file"])
        return {"held": given["file"], "pid": os.getpid()}
    if what == "job":
        return {"keys": sorted(job), "id": job["id"]}
    return given


async def waiting(job):
    """A handler that others run beside."""
    given = job["input"]
    if given.get("do") != "hold":
        return plain(job)
    try:
        write(given["started"], job["id"])
        await appears_async(given["file"])
        return {"held": given["file"], "pid": os.getpid()}
    except asyncio.CancelledError:
        write(given["cancelled"], job["id"])
        raise


def counting(job):
    """A generator: counts, waits and fails as the input says."""
    given = job["input"]
    for number in range(1, given["to"] + 1):
        if number == given.get("wait_before"):
            appears(given["file"])
        if number == given.get("raise_at"):
            raise ValueError(f"no {number}")
        if number == given.get("error_at"):
            yield {"error": f"nothing after {number - 1}"}
        if "bytes" in given:
            yield "x" * given["bytes"]
            continue
        yield {"number": number} if given.get("wrap") else number


async def counting_async(job):
    """The same, asynchronous."""
    for item in counting(job):
        yield item
        await asyncio.sleep(0)


CONFIGURATIONS = {
    "plain": {"handler": plain},
    "async": {"handler": waiting},
    "concurrent": {"handler": waiting, "concurrency_modifier": lambda current: 4},
    "generator": {"handler": counting},
    "async generator": {"handler": counting_async},
    "aggregate": {"handler": counting, "return_aggregate_stream": True},
    "async aggregate": {"handler": counting_async, "return_aggregate_stream": True},
    "refresh": {"handler": plain, "refresh_worker": True},
}

# Its heartbeat is a process of its own; where those are not forked, this file runs in it too.
if __name__ == "__main__":
    runpod.serverless.start(CONFIGURATIONS[os.environ["HANDLER"]])

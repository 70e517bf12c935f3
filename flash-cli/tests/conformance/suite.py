"""Runs the cases of one script and prints a line of JSON for each: its name, whether it held, and what was seen.

A case is a function named by the promise that it checks; it fails by an exception. Cases of a script run
beside each other, for the official client sleeps between its calls: each has jobs of its own, and what
changes or counts a whole endpoint has an endpoint of its own.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import faulthandler
import inspect
import json
import os
import pathlib
import shutil
import tempfile
import time
import traceback
import uuid

import requests
import runpod

BASE = os.environ["RUNPOD_ENDPOINT_BASE_URL"]
PLATFORM = BASE.removesuffix("/v2")
KEY = "a-key-of-a-client"
# Beyond this a case hangs: the stacks of all threads are printed and the script ends.
LIMIT_SECONDS = 240
# For one thing to happen.
PATIENCE = 60

runpod.api_key = KEY

CASES = []
# Kept to the end of the script: whoever waits for a gate looks for it a little later than it opens.
GATES = pathlib.Path(tempfile.mkdtemp(prefix="flash-conformance-"))
atexit.register(shutil.rmtree, GATES, ignore_errors=True)


def case(function):
    """Marks a case."""
    CASES.append(function)
    return function


def main(beside_each_other=8):
    """Runs all cases. Every one is reported, whatever happens to the others."""
    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
    with concurrent.futures.ThreadPoolExecutor(beside_each_other) as threads:
        for line in concurrent.futures.as_completed([threads.submit(_run, function) for function in CASES]):
            print(json.dumps(line.result()), flush=True)
    faulthandler.cancel_dump_traceback_later()


def _run(function):
    started = time.monotonic()
    try:
        if inspect.iscoroutinefunction(function):
            asyncio.run(function())
        else:
            function()
        ok, detail = True, ""
    # pylint: disable-next=broad-exception-caught
    except BaseException:
        ok, detail = False, traceback.format_exc()
    return {
        "case": function.__name__,
        "ok": ok,
        "detail": detail,
        "seconds": round(time.monotonic() - started, 2),
    }


def equal(seen, expected):
    """Content is what it must be."""
    assert seen == expected, f"{_short(seen)} was seen, {_short(expected)} is expected"


def contains(seen, part):
    """A text or collection has a part."""
    assert part in seen, f"{part!r} is not in {_short(seen)}"


def raises(kind, call, *arguments, **named):
    """The exception that a call ends with."""
    try:
        result = call(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}: {_short(result)} was returned")


def wait_for(what, look):
    """The first answer of `look` that is something; the failure shows the last one."""
    until = time.monotonic() + PATIENCE
    while True:
        seen, last = look()
        if seen:
            return last
        assert time.monotonic() < until, f"{what} did not happen within {PATIENCE} s: {_short(last)}"
        time.sleep(0.05)


def wait_for_status(endpoint, job, *statuses):
    """The job object once it is in one of these states."""

    def look():
        answer = get(f"{endpoint}/status/{job}").json()
        return answer["status"] in statuses, answer

    return wait_for(f"{' or '.join(statuses)} of {job}", look)


def get(path, **more):
    """A plain request below the queue API's base."""
    return requests.get(f"{BASE}/{path}", headers=_headers(more), timeout=PATIENCE, **more)


def post(path, body=None, **more):
    """A plain request below the queue API's base, with a body of JSON if there is one."""
    return requests.post(f"{BASE}/{path}", json=body, headers=_headers(more), timeout=PATIENCE, **more)


def _headers(more):
    return {"Authorization": f"Bearer {KEY}"} | more.pop("headers", {})


@contextlib.contextmanager
def gate():
    """A file that is not there, for functions that wait for one; in the end it is, so that nobody waits on."""
    file = GATES / str(uuid.uuid4())
    try:
        yield file
    finally:
        file.touch()


def _short(value):
    text = repr(value)
    return text if len(text) < 1000 else f"{text[:500]} … {text[-100:]} ({len(text)} characters)"

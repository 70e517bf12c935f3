"""The official synchronous client, unmodified, against our gateway and our worker."""

import json

import requests
import runpod

from suite import (
    case,
    contains,
    equal,
    gate,
    get,
    main,
    post,
    raises,
    wait_for,
    wait_for_status,
)

SIX_KEYS = {
    "error_type",
    "error_message",
    "error_traceback",
    "hostname",
    "worker_id",
    "runpod_version",
}


def endpoint(name):
    """The client for one of our workers."""
    return runpod.Endpoint(name)


def error_text(job):
    """What a failed job says, decoded; it has the keys that tools look for, and all of them are texts."""
    text = json.loads(job["error"])
    equal(SIX_KEYS - text.keys(), set())
    equal({key for key in SIX_KEYS if not isinstance(text[key], str)}, set())
    return text


@case
def run_gives_a_job_whose_output_comes():
    given = {"a": [1, 2.5, None, True, []], "b": {"c": "d", "e": {}}}
    job = endpoint("echo").run({"input": given})
    equal(job.output(timeout=60), given)
    equal(job.status(), "COMPLETED")


@case
def run_sync_returns_the_output():
    equal(endpoint("greeter").run_sync({"input": {"name": "bob", "times": 2}}), "one: hello bob bob")


@case
def a_bare_input_is_the_same_as_a_wrapped_one():
    equal(endpoint("greeter").run_sync({"name": "al", "times": 1}), "one: hello al")
    job = endpoint("greeter").run({"name": "cy", "times": 1})
    equal(job.output(timeout=60), "one: hello cy")


@case
def an_empty_input_reaches_the_function():
    equal(endpoint("nothing").run_sync({}), "something")
    equal(endpoint("nothing").run({}).output(timeout=60), "something")


@case
def unicode_survives_both_ways():
    text = "größe 你好 👩‍👩‍👧 \u2028 \u0000 \"quoted\" \\ back"
    equal(endpoint("echo").run_sync({text: [text]}), {text: [text]})
    equal(endpoint("echo").run({text: text}).output(timeout=60), {text: text})


@case
def numbers_keep_their_value():
    numbers = [0, -1, 2**53, -(2**63), 1e-300, 0.1, 1.5e300]
    equal(endpoint("echo").run_sync({"numbers": numbers}), {"numbers": numbers})


@case
def nine_megabytes_come_back_from_run():
    given = {"value": "0123456789" * 900_000}
    equal(endpoint("echo").run(given).output(timeout=60), given)


@case
def fifteen_megabytes_come_back_from_run_sync():
    given = {"value": "0123456789" * 1_500_000}
    equal(endpoint("echo").run_sync(given), given)


@case
def run_above_ten_megabytes_is_413():
    error = raises(requests.HTTPError, endpoint("echo").run, {"value": "x" * 10_000_001})
    equal(error.response.status_code, 413)
    contains(error.response.json()["error"], "over 10 MB")


@case
def run_sync_above_twenty_megabytes_is_413():
    error = raises(requests.HTTPError, endpoint("echo").run_sync, {"value": "x" * 20_000_001})
    equal(error.response.status_code, 413)
    contains(error.response.json()["error"], "over 20 MB")


@case
def a_job_walks_through_its_states():
    with gate() as first_gate, gate() as second_gate:
        first = endpoint("gated").run({"file": str(first_gate)})
        wait_for_status("gated", first.job_id, "IN_PROGRESS")
        second = endpoint("gated").run({"file": str(second_gate)})
        equal(second.status(), "IN_QUEUE")
        equal((first.output(), second.output()), (f"waiting for {first_gate}", None))
        first_gate.touch()
        equal(first.output(timeout=60), f"{first_gate} is there")
        wait_for_status("gated", second.job_id, "IN_PROGRESS")
        second_gate.touch()
        equal(second.output(timeout=60), f"{second_gate} is there")
        equal((first.status(), second.status()), ("COMPLETED", "COMPLETED"))


@case
def output_gives_up_after_its_timeout():
    with gate() as file:
        job = endpoint("trickle").run({"file": str(file), "chunks": 2})
        equal(str(raises(TimeoutError, job.output, timeout=1)), "Job timed out.")
        file.touch()
        equal(job.output(timeout=60), [1, 2])


@case
def stream_yields_every_chunk_in_order_and_ends():
    job = endpoint("counter").run({"to": 250})
    equal(list(job.stream()), list(range(1, 251)))
    equal(job.output(), list(range(1, 251)))


@case
def stream_yields_chunks_while_the_job_runs():
    with gate() as file:
        chunks = endpoint("trickle").run({"file": str(file), "chunks": 3}).stream()
        equal(next(chunks), 1)
        file.touch()
        equal(list(chunks), [2, 3])


@case
def stream_of_a_job_without_chunks_ends():
    job = endpoint("adder").run({"left": 1, "right": 2})
    equal((list(job.stream()), job.output()), ([], 3))


@case
def stream_of_a_failing_job_ends():
    job = endpoint("flaky").run({"file": "/no/such/file"})
    equal((list(job.stream()), job.status(), job.output()), ([], "FAILED", None))


@case
def a_running_job_is_cancelled():
    with gate() as file:
        job = endpoint("cancelled").run({"file": str(file)})
        wait_for_status("cancelled", job.job_id, "IN_PROGRESS")
        equal(job.cancel(), {"id": job.job_id, "status": "CANCELLED"})
        equal((job.status(), job.output(timeout=60)), ("CANCELLED", None))


@case
def a_queued_job_is_cancelled_and_never_runs():
    with gate() as file, gate() as never:
        running = endpoint("cancelled").run({"file": str(file)})
        wait_for_status("cancelled", running.job_id, "IN_PROGRESS", "COMPLETED")
        queued = endpoint("cancelled").run({"file": str(never)})
        equal(queued.cancel(), {"id": queued.job_id, "status": "CANCELLED"})
        file.touch()
        equal(running.output(timeout=60), f"{file} is there")
        equal(get(f"cancelled/status/{queued.job_id}").json()["executionTime"], 0)


@case
def cancelling_an_ended_job_tells_its_end():
    job = endpoint("adder").run({"left": 2})
    equal(job.output(timeout=60), 2)
    answer = job.cancel()
    equal((answer["id"], answer["status"], answer["output"]), (job.job_id, "COMPLETED", 2))


@case
def purge_removes_what_waits_and_nothing_else():
    with gate() as file:
        running = endpoint("purged").run({"file": str(file)})
        wait_for_status("purged", running.job_id, "IN_PROGRESS")
        waiting = [endpoint("purged").run({"file": str(file)}) for _ in range(3)]
        equal(endpoint("purged").purge_queue(), {"removed": 3, "status": "completed"})
        equal(endpoint("purged").purge_queue(), {"removed": 0, "status": "completed"})
        file.touch()
        equal(running.output(timeout=60), f"{file} is there")
        equal([job.status() for job in waiting], ["CANCELLED"] * 3)


@case
def health_counts_jobs_and_workers():
    with gate() as file:
        running = endpoint("counted").run({"file": str(file)})
        wait_for_status("counted", running.job_id, "IN_PROGRESS")
        queued = endpoint("counted").run({"file": str(file)})
        equal(
            endpoint("counted").health(),
            {
                "jobs": {"completed": 0, "failed": 0, "inProgress": 1, "inQueue": 1, "retried": 0},
                "workers": {
                    "idle": 0,
                    "initializing": 0,
                    "ready": 1,
                    "running": 1,
                    "throttled": 0,
                    "unhealthy": 0,
                },
            },
        )
        file.touch()
        queued.output(timeout=60)
        health = endpoint("counted").health()
        equal((health["jobs"]["completed"], health["jobs"]["inProgress"]), (2, 0))
        equal((health["workers"]["idle"], health["workers"]["running"]), (1, 0))


@case
def a_failure_is_no_exception_and_has_the_six_keys():
    equal(endpoint("flaky").run_sync({"file": "/no/such/file"}), None)
    job = endpoint("flaky").run({"file": "/no/such/file"})
    equal((job.output(timeout=60), job.status()), (None, "FAILED"))
    answer = get(f"flaky/status/{job.job_id}").json()
    text = error_text(answer)
    equal((text["error_type"], text["worker_id"]), ("handler", answer["workerId"]))
    contains(text["error_message"], "/no/such/file is missing")


@case
def a_panic_is_a_failure_with_its_place():
    wrapped = {"input": {"__flash": {"function": "panic_now"}, "message": "oh no"}}
    job = endpoint("trouble").run(wrapped)
    equal((job.output(timeout=60), job.status()), (None, "FAILED"))
    text = error_text(get(f"trouble/status/{job.job_id}").json())
    equal(text["error_type"], "panic")
    for part in ["oh no", "flash-cli/tests/fixture/src/trouble.rs:"]:
        contains(text["error_message"], part)


@case
def a_job_that_kills_its_workers_fails_with_the_signal_and_last_words():
    job = endpoint("crasher").run({"words": "famous last words"})
    equal((job.output(timeout=120), job.status()), (None, "FAILED"))
    answer = get(f"crasher/status/{job.job_id}").json()
    equal(answer["retries"], 2)
    for part in ["died on each of 3 attempts", "SIGABRT", "famous last words"]:
        contains(error_text(answer)["error_message"], part)


@case
def a_job_beyond_its_execution_timeout_is_timed_out():
    equal(endpoint("sleeper").run_sync({"seconds": 30}), None)
    job = endpoint("sleeper").run({"seconds": 30})
    equal((job.output(timeout=60), job.status()), (None, "TIMED_OUT"))
    text = error_text(get(f"sleeper/status/{job.job_id}").json())
    equal(text["error_type"], "timeout")
    contains(text["error_message"], "execution timeout")


@case
def a_failed_job_is_retried_with_its_id_and_input():
    with gate() as file:
        job = endpoint("flaky").run({"file": str(file)})
        equal((job.output(timeout=60), job.status()), (None, "FAILED"))
        file.touch()
        # The client has no method for it, but its session has.
        again = job.rp_client.post(f"flaky/retry/{job.job_id}", None)
        equal(again, {"id": job.job_id, "status": "IN_QUEUE"})
        job.job_status = None
        equal((job.output(timeout=60), job.status()), ("the second time it works", "COMPLETED"))


@case
def a_completed_job_is_not_retried():
    job = endpoint("adder").run({"left": 2})
    equal(job.output(timeout=60), 2)
    error = raises(requests.HTTPError, job.rp_client.post, f"adder/retry/{job.job_id}", None)
    equal(error.response.status_code, 400)
    contains(error.response.json()["error"], "only a failed or timed-out job")


@case
def an_unknown_endpoint_is_404_with_near_names():
    for call in [endpoint("greter").run, endpoint("greter").run_sync]:
        error = raises(requests.HTTPError, call, {"name": "bob"})
        equal(error.response.status_code, 404)
        contains(error.response.json()["error"], "did you mean `greeter`")
    equal(raises(requests.HTTPError, endpoint("greter").health).response.status_code, 404)


@case
def an_unknown_job_is_404():
    job = runpod.endpoint.Job("greeter", "no-such-job", endpoint("greeter").rp_client)
    for call in [job.status, job.output, job.cancel, lambda: list(job.stream())]:
        error = raises(requests.HTTPError, call)
        equal(error.response.status_code, 404)
        contains(error.response.json()["error"], "no job `no-such-job`")


@case
def an_input_that_does_not_fit_is_422_naming_each_field():
    error = raises(requests.HTTPError, endpoint("greeter").run, {"name": 5})
    equal(error.response.status_code, 422)
    paths = {field["path"] for field in error.response.json()["fields"]}
    equal(paths, {"/name", "/times"})
    equal(endpoint("greeter").health()["jobs"]["failed"], 0)


@case
def a_body_that_is_no_job_is_400():
    for body in [b"", b"{", b"[]", b"7", b'"x"', b'{"input": 1', b"\xff\xfe"]:
        answer = requests.post(
            f"{endpoint('echo').rp_client.endpoint_url_base}/echo/run", data=body, timeout=10
        )
        equal((body, answer.status_code), (body, 400))
        contains(answer.json()["error"], "the body is ")


@case
def a_body_without_input_is_422():
    answer = post("echo/run", {"inputs": {}})
    equal((answer.status_code, answer.json()["fields"]), (422, [{"path": "/input", "message": "missing"}]))


@case
def a_load_balanced_worker_takes_no_jobs():
    error = raises(requests.HTTPError, endpoint("web").run, {"name": "bob"})
    equal(error.response.status_code, 400)
    contains(error.response.json()["error"], "load balanced")


@case
def one_of_several_functions_is_named_in_the_input():
    named = {"__flash": {"function": "long"}, "characters": 3}
    equal(endpoint("trouble").run_sync({"input": named}), "xxx")
    error = raises(requests.HTTPError, endpoint("trouble").run, {"characters": 3})
    equal(error.response.status_code, 422)
    contains(error.response.json()["error"], "`long`")


@case
def an_endpoint_may_have_a_key_of_its_own():
    equal(runpod.Endpoint("adder", api_key="another-key").run_sync({"left": 1}), 1)


@case
def many_callers_each_get_their_own_answer():
    jobs = [(number, endpoint("adder").run({"left": number, "right": 1000})) for number in range(100)]
    equal([job.output(timeout=60) for _, job in jobs], [number + 1000 for number, _ in jobs])


if __name__ == "__main__":
    main()

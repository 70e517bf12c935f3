"""The official worker behind our gateway: generators. Asked by the official client."""

import runpod

from suite import case, contains, equal, gate, get, main, post, wait_for_status


def job_of(endpoint, **given):
    """A job of a generator."""
    return runpod.Endpoint(endpoint).run(given)


def streams_in_order(endpoint):
    """Every chunk arrives once, in order, and the stream ends."""
    job = job_of(endpoint, to=25, wrap=True)
    equal(list(job.stream()), [{"number": number} for number in range(1, 26)])
    return job


@case
def a_generator_streams():
    equal(streams_in_order("generator").output(), [])


@case
def an_asynchronous_generator_streams():
    equal(streams_in_order("async-generator").output(), [])


@case
def an_aggregating_generator_streams_and_returns_its_chunks():
    job = streams_in_order("aggregate")
    equal(job.output(), [{"number": number} for number in range(1, 26)])


@case
def an_asynchronous_aggregating_generator_streams_and_returns_its_chunks():
    job = streams_in_order("async-aggregate")
    equal(job.output(), [{"number": number} for number in range(1, 26)])


@case
def chunks_arrive_while_the_generator_runs():
    with gate() as file:
        job = job_of("aggregate", to=3, wait_before=3, file=str(file))
        chunks = job.stream()
        equal([next(chunks), next(chunks), job.status()], [1, 2, "IN_PROGRESS"])
        file.touch()
        equal((list(chunks), job.output()), ([3], [1, 2, 3]))


@case
def without_aggregate_a_caller_that_does_not_stream_gets_an_empty_list():
    equal(runpod.Endpoint("generator").run_sync({"to": 3}), [])


@case
def with_aggregate_a_caller_that_does_not_stream_gets_all_chunks():
    equal(runpod.Endpoint("aggregate").run_sync({"to": 3}), [1, 2, 3])


@case
def a_generator_that_raises_fails_after_its_chunks():
    for endpoint in ["generator", "async-aggregate"]:
        job = job_of(endpoint, to=5, raise_at=3)
        equal((list(job.stream()), job.status(), job.output()), ([1, 2], "FAILED", None))
        error = get(f"{endpoint}/status/{job.job_id}").json()["error"]
        contains(error, "handler: no 3")
        contains(error, "Traceback (most recent call last)")


@case
def a_generator_that_yields_an_error_fails_there():
    job = job_of("generator", to=5, error_at=3)
    equal((list(job.stream()), job.status()), ([1, 2], "FAILED"))
    equal(get(f"generator/status/{job.job_id}").json()["error"], "nothing after 2")


@case
def a_generator_that_yields_nothing_completes():
    job = job_of("aggregate", to=0)
    equal((list(job.stream()), job.status(), job.output()), ([], "COMPLETED", []))


@case
def the_last_answer_of_stream_has_all_that_is_left():
    job = post("async-aggregate/run", {"input": {"to": 4}}).json()["id"]
    wait_for_status("async-aggregate", job, "COMPLETED")
    chunks = [{"output": number} for number in [1, 2, 3, 4]]
    equal(get(f"async-aggregate/stream/{job}").json(), {"status": "COMPLETED", "stream": chunks})


@case
def a_job_whose_chunks_nobody_fetches_and_it_does_not_return_fails_with_the_reason():
    job = job_of("generator", to=66, bytes=1_000_000).job_id
    end = wait_for_status("generator", job, "FAILED")
    contains(end["error"], "chunk 65 and later chunks were refused")
    equal(end["output"], [])
    equal(len(get(f"generator/stream/{job}").json()["stream"]), 64)


if __name__ == "__main__":
    main()

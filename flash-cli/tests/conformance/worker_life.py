"""The official worker behind our gateway: cancel, concurrency, refresh, scale to zero. Asked by the official
client."""

import json
import pathlib

import runpod

from suite import case, equal, gate, get, main, post, wait_for, wait_for_status


def is_alive(pid):
    """Whether a process runs; one that has ended and was not reaped is not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def process(endpoint):
    """Process id and worker id of whoever serves the next job."""
    return runpod.Endpoint(endpoint).run_sync({"do": "process"})


def read(file):
    """What a handler left, once it is there."""
    return wait_for(f"{file}", lambda: (file.exists(), file.exists() and file.read_text("utf-8")))


def hold(endpoint, file, started, cancelled):
    """A job of an asynchronous handler that has begun."""
    given = {"do": "hold", "file": str(file), "started": str(started), "cancelled": str(cancelled)}
    job = runpod.Endpoint(endpoint).run(given)
    equal(read(started), job.job_id)
    return job


@case
def an_asynchronous_handler_sees_its_cancel_and_the_process_goes_on():
    before = process("async")
    with gate() as file, gate() as started, gate() as cancelled:
        job = hold("async", file, started, cancelled)
        equal(job.cancel(), {"id": job.job_id, "status": "CANCELLED"})
        equal(read(cancelled), job.job_id)
        equal((job.status(), job.output(timeout=60)), ("CANCELLED", None))
    # It posts nothing for such a job: that it lets go shows in its next poll.
    wait_for(
        "an idle worker",
        lambda: ((workers := get("async/health").json()["workers"])["idle"] == 1, workers),
    )
    equal(process("async"), before)


@case
def a_handler_that_blocks_is_killed_with_its_process_when_cancelled():
    with gate() as file:
        job = runpod.Endpoint("blocked").run({"do": "hold", "file": str(file)})
        pid = wait_for("progress", lambda: ((output := job.output()) is not None, output))["pid"]
        equal(job.cancel(), {"id": job.job_id, "status": "CANCELLED"})
        wait_for("the end of the process", lambda: (not is_alive(pid), pid))
        assert process("blocked")["pid"] != pid
        equal(job.status(), "CANCELLED")


@case
def an_asynchronous_handler_beyond_its_execution_timeout_is_stopped():
    with gate() as file, gate() as cancelled, gate() as started:
        given = {"do": "hold", "file": str(file), "started": str(started), "cancelled": str(cancelled)}
        body = {"input": given, "policy": {"executionTimeout": 5_000}}
        answer = post("timed/runsync", body).json()
        equal((answer["status"], json.loads(answer["error"])["error_type"]), ("TIMED_OUT", "timeout"))
        equal(read(cancelled), answer["id"])


@case
def a_concurrency_modifier_takes_jobs_in_batches_and_runs_them_beside_each_other():
    with gate() as file:
        begun = [pathlib.Path(f"{file}-{number}") for number in range(4)]
        given = {"do": "hold", "file": str(file), "cancelled": f"{file}-cancelled"}
        jobs = [runpod.Endpoint("concurrent").run(given | {"started": str(started)}) for started in begun]
        # None can end before all have begun.
        equal([read(started) for started in begun], [job.job_id for job in jobs])
        equal(get("concurrent/health").json()["jobs"]["inProgress"], 4)
        equal(get("concurrent/health").json()["workers"]["running"], 1)
        file.touch()
        equal(len({job.output(timeout=60)["pid"] for job in jobs}), 1)


@case
def one_of_several_jobs_of_a_process_is_cancelled_and_the_others_go_on():
    with gate() as file, gate() as started, gate() as cancelled, gate() as other, gate() as unused:
        one = hold("concurrent-too", file, started, cancelled)
        two = hold("concurrent-too", file, other, unused)
        one.cancel()
        equal(read(cancelled), one.job_id)
        file.touch()
        equal((two.output(timeout=60)["held"], one.status()), (str(file), "CANCELLED"))
        equal(unused.exists(), False)


@case
def refresh_worker_in_a_result_replaces_the_process():
    first = runpod.Endpoint("refreshed").run_sync({"do": "refresh"})
    equal(list(first), ["pid"])
    second = process("refreshed")
    assert second["pid"] != first["pid"], (first, second)
    wait_for("the end of the first process", lambda: (not is_alive(first["pid"]), first))


@case
def refresh_worker_in_the_configuration_replaces_the_process_after_each_job():
    first, second = process("refresh"), process("refresh")
    assert first["pid"] != second["pid"] and first["worker"] != second["worker"], (first, second)
    equal(get("refresh/health").json()["jobs"], {
        "completed": 2, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0,
    })


@case
def an_idle_worker_ends_and_the_next_job_starts_another():
    first = process("idle")
    wait_for("the end of the idle process", lambda: (not is_alive(first["pid"]), first))
    workers = wait_for(
        "no workers",
        lambda: (not any((workers := get("idle/health").json()["workers"]).values()), workers),
    )
    equal(workers["unhealthy"], 0)
    second = process("idle")
    assert first["pid"] != second["pid"], (first, second)


@case
def a_queued_job_is_cancelled_before_the_worker_sees_it():
    with gate() as file, gate() as started, gate() as cancelled:
        running = hold("timed", file, started, cancelled)
        queued = runpod.Endpoint("timed").run({"do": "process"})
        equal((queued.status(), queued.cancel()["status"]), ("IN_QUEUE", "CANCELLED"))
        file.touch()
        equal(running.output(timeout=60)["held"], str(file))
        equal(get(f"timed/status/{queued.job_id}").json()["workerId"], "")


if __name__ == "__main__":
    main()

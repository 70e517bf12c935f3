"""What other clients of the queue API do and demand, by plain HTTP.

The models are as strict as those of the provider's own Flash client; the loops are those of its JavaScript and
Go clients, which poll and stream in ways of their own.
"""

import base64
import contextlib
import hmac
import http.server
import json
import os
import threading
import time
from typing import Any, Optional

import requests
from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr

from suite import BASE, KEY, case, contains, equal, gate, get, main, post, wait_for, wait_for_status


class JobOutput(BaseModel):
    """What Flash's client reads a final job as."""

    id: StrictStr
    workerId: StrictStr
    status: StrictStr
    delayTime: StrictInt
    executionTime: StrictInt
    output: Optional[Any] = None
    error: Optional[StrictStr] = ""


class Jobs(BaseModel):
    """The jobs in its model of health."""

    completed: StrictInt
    failed: StrictInt
    inProgress: StrictInt
    inQueue: StrictInt
    retried: StrictInt


class Workers(BaseModel):
    """The workers in its model of health."""

    idle: StrictInt
    initializing: StrictInt
    ready: StrictInt
    running: StrictInt
    throttled: StrictInt
    unhealthy: StrictInt


class Health(BaseModel):
    """Its model of health; here nothing else may be in it."""

    model_config = ConfigDict(extra="forbid")
    jobs: Jobs
    workers: Workers


def run(endpoint, given):
    """The id of a new job."""
    answer = post(f"{endpoint}/run", {"input": given})
    equal((answer.status_code, answer.json()["status"], len(answer.json())), (200, "IN_QUEUE", 2))
    return answer.json()["id"]


def ended(endpoint, given):
    """A job at its end, as Flash's client reads it."""
    job = run(endpoint, given)
    wait_for_status(endpoint, job, "COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED")
    return JobOutput(**get(f"{endpoint}/status/{job}").json())


@case
def flash_reads_a_completed_job():
    job = ended("adder", {"left": 4})
    equal((job.status, job.output, job.error), ("COMPLETED", 4, ""))
    contains(job.workerId, "adder-")
    assert 0 <= job.delayTime < 60_000 and 0 <= job.executionTime < 60_000, job


@case
def flash_reads_the_answer_of_runsync():
    job = JobOutput(**post("adder/runsync", {"input": {"left": 5}}).json())
    equal((job.status, job.output), ("COMPLETED", 5))
    contains(job.id, "sync-")


@case
def flash_reads_a_failed_job():
    job = ended("flaky", {"file": "/no/such/file"})
    equal((job.status, job.output), ("FAILED", None))
    contains(job.workerId, "flaky-")
    contains(json.loads(job.error)["error_message"], "/no/such/file is missing")


@case
def flash_reads_a_timed_out_job():
    job = ended("sleeper", {"seconds": 30})
    equal(job.status, "TIMED_OUT")
    contains(job.workerId, "sleeper-")
    assert 1_000 <= job.executionTime < 10_000, job


@case
def flash_reads_a_job_that_was_cancelled_before_it_ran():
    with gate() as file:
        running = run("cancelled", {"file": str(file)})
        wait_for_status("cancelled", running, "IN_PROGRESS")
        queued = run("cancelled", {"file": str(file)})
        equal(post(f"cancelled/cancel/{queued}", {}).json(), {"id": queued, "status": "CANCELLED"})
        job = JobOutput(**get(f"cancelled/status/{queued}").json())
        equal((job.status, job.executionTime, job.output), ("CANCELLED", 0, None))


@case
def flash_reads_health_of_every_kind_of_worker():
    for endpoint in ["greeter", "web", "gate"]:
        answer = get(f"{endpoint}/health")
        equal(answer.status_code, 200)
        equal(Health(**answer.json()).jobs.failed, 0)


@case
def a_running_job_tells_worker_and_delay():
    with gate() as file:
        job = run("gated", {"file": str(file)})
        answer = wait_for_status("gated", job, "IN_PROGRESS")
        contains(answer["workerId"], "gated-")
        equal((type(answer["delayTime"]), answer["id"]), (int, job))
        equal({"executionTime", "error"} & answer.keys(), set())


@case
def a_queued_job_tells_nothing_but_itself():
    with gate() as file:
        first = run("counted", {"file": str(file)})
        wait_for_status("counted", first, "IN_PROGRESS")
        job = run("counted", {"file": str(file)})
        equal(get(f"counted/status/{job}").json(), {"id": job, "status": "IN_QUEUE"})


@case
def status_may_be_posted_as_go_does():
    job = ended("adder", {"left": 6})
    for body in [None, {}]:
        answer = post(f"adder/status/{job.id}", body)
        equal((answer.status_code, answer.json()["output"]), (200, 6))


@case
def status_ignores_parameters_that_it_does_not_know():
    job = ended("adder", {"left": 7})
    equal(get(f"adder/status/{job.id}?ttl=60000&x=y").json()["output"], 7)


@case
def stream_is_held_until_there_is_something_as_go_waits():
    with gate() as file:
        job = run("trickle", {"file": str(file), "chunks": 3})
        first = post(f"trickle/stream/{job}?wait=90000").json()
        equal(first, {"status": "IN_PROGRESS", "stream": [{"output": 1}]})
        file.touch()
        chunks, status = [], "IN_PROGRESS"
        while status == "IN_PROGRESS":
            answer = post(f"trickle/stream/{job}?wait=90000").json()
            status, chunks = answer["status"], chunks + [chunk["output"] for chunk in answer["stream"]]
        # It stops at the first final answer: that one has all that is left.
        equal((status, chunks), ("COMPLETED", [2, 3]))
        equal(get(f"trickle/stream/{job}").json(), {"status": "COMPLETED", "stream": []})


@case
def stream_of_a_job_without_news_answers_within_the_clients_timeout():
    with gate() as file:
        job = run("gated", {"file": str(file)})
        started = time.monotonic()
        answer = get(f"gated/stream/{job}").json()
        took = time.monotonic() - started
        contains([{"status": status, "stream": []} for status in ["IN_QUEUE", "IN_PROGRESS"]], answer)
        assert took < 10, took


@case
def chunks_are_delivered_once():
    job = run("counter", {"to": 3})
    wait_for_status("counter", job, "COMPLETED")
    chunks = [{"output": number} for number in [1, 2, 3]]
    equal(get(f"counter/stream/{job}").json(), {"status": "COMPLETED", "stream": chunks})
    equal(get(f"counter/stream/{job}").json(), {"status": "COMPLETED", "stream": []})


@case
def runsync_whose_wait_runs_out_gives_the_id_to_go_on_with():
    with gate() as file:
        answer = post("purged/runsync?wait=1000", {"input": {"file": str(file)}})
        job = answer.json()
        equal(answer.status_code, 200)
        contains(["IN_QUEUE", "IN_PROGRESS"], job["status"])
        file.touch()
        equal(wait_for_status("purged", job["id"], "COMPLETED")["output"], f"{file} is there")


@case
def bearer_and_bare_keys_are_taken():
    for key in [f"Bearer {KEY}", KEY, f"bearer {KEY}"]:
        answer = get("adder/health", headers={"Authorization": key})
        equal((key, answer.status_code), (key, 200))
    equal(requests.get(f"{BASE}/adder/health", timeout=10).status_code, 200)


@case
def keys_beside_the_input_are_let_pass():
    body = {
        "input": {"left": 8},
        "policy": {"executionTimeout": 60_000, "lowPriority": False, "ttl": 60_000},
        "s3Config": {"accessId": "a", "accessSecret": "b", "bucketName": "c", "endpointUrl": "d"},
        "webhookV2": None,
        "anything": ["else"],
    }
    answer = post("adder/runsync", body).json()
    equal((answer["status"], answer["output"]), ("COMPLETED", 8))
    # What was beside the input is for the worker: no client gets it back.
    equal({"s3Config", "policy", "input"} & answer.keys(), set())


@case
def an_execution_timeout_of_the_job_wins():
    answer = post("sleeper/runsync", {"input": {"seconds": 1.5}, "policy": {"executionTimeout": 30_000}})
    equal(answer.json()["status"], "COMPLETED")


@case
def a_body_needs_no_content_type():
    body = json.dumps({"input": {"left": 9}})
    for kind in ["application/json", "text/plain", "application/x-www-form-urlencoded", None]:
        headers = {"Content-Type": kind} if kind else {}
        answer = requests.post(f"{BASE}/adder/runsync", data=body, headers=headers, timeout=60)
        equal((kind, answer.json()["output"]), (kind, 9))


@case
def a_wrong_method_is_405_and_names_the_right_one():
    for method, path, allow in [
        ("GET", "run", "POST"),
        ("PUT", "status/x", "GET, HEAD, POST"),
        ("GET", "cancel/x", "POST"),
        ("POST", "health", "GET, HEAD"),
    ]:
        answer = requests.request(method, f"{BASE}/adder/{path}", timeout=10)
        equal((path, answer.status_code, answer.headers["allow"]), (path, 405, allow))
        contains(answer.json()["error"], f"{method} is not allowed")


@case
def an_unknown_operation_is_404_and_names_near_ones():
    answer = get("adder/statu/x")
    equal(answer.status_code, 404)
    contains(answer.json()["error"], "did you mean `status`")


@case
def status_sync_waits_for_the_end_as_javascript_does():
    with gate() as file:
        job = run("trickle", {"file": str(file), "chunks": 2})
        answer = get(f"trickle/status-sync/{job}?wait=1000").json()
        contains(["IN_QUEUE", "IN_PROGRESS"], answer["status"])
        file.touch()
        answer = get(f"trickle/status-sync/{job}?wait=90000").json()
        equal((answer["id"], answer["status"], answer["output"]), (job, "COMPLETED", [1, 2]))


@case
def status_sync_may_be_posted_as_go_does():
    job = run("adder", {"left": 11})
    equal(post(f"adder/status-sync/{job}?wait=90000").json()["output"], 11)


@case
def metrics_name_the_ready_workers():
    worker = ended("flaky", {"file": "/no/such/file"}).workerId
    metrics = get("flaky/metrics").json()
    equal(metrics["readyWorkers"], [worker])
    equal(Workers(**metrics["workers"]).ready, 1)


@case
def requests_lists_jobs_without_their_outputs():
    job = ended("nothing", {})
    listed = get("nothing/requests?status=COMPLETED").json()["requests"]
    equal([(one["id"], one["status"]) for one in listed], [(job.id, "COMPLETED")])
    equal({"output", "input"} & listed[0].keys(), set())


@case
def an_idempotency_key_gives_the_same_job_again():
    given, headers = {"input": {"left": 12}}, {"Idempotency-Key": "order-12"}
    first = post("adder/run", given, headers=headers)
    second = post("adder/run", given, headers=headers)
    equal(first.json()["id"], second.json()["id"])
    equal((first.headers.get("idempotent-replayed"), second.headers.get("idempotent-replayed")), (None, "true"))
    equal(post("adder/run", given).json()["id"] == first.json()["id"], False)


@case
def server_sent_events_carry_every_chunk_and_the_end():
    job = run("counter", {"to": 3})
    answer = get(f"counter/stream/{job}", headers={"Accept": "text/event-stream"})
    contains(answer.headers["content-type"], "text/event-stream")
    *chunks, end = answer.text.strip().split("\n\n")
    equal([json.loads(chunk.removeprefix("data: "))["output"] for chunk in chunks if chunk != ":"], [1, 2, 3])
    kind, data = end.split("\n")
    equal((kind, json.loads(data.removeprefix("data: "))["status"]), ("event: end", "COMPLETED"))


class Receiver(http.server.BaseHTTPRequestHandler):
    """A receiver of webhooks: the first delivery of a path with `again` in it is refused."""

    seen = []

    # pylint: disable-next=invalid-name
    def do_POST(self):
        """Keeps what arrives."""
        body = self.rfile.read(int(self.headers["content-length"]))
        again = "again" in self.path and not any(path == self.path for path, _, _ in self.seen)
        self.seen.append((self.path, dict(self.headers), body))
        self.send_response(500 if again else 204)
        self.end_headers()

    # pylint: disable-next=redefined-builtin,arguments-differ
    def log_message(self, format, *arguments):
        """Nothing: what arrives is checked."""


@contextlib.contextmanager
def receiver():
    """Its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def deliveries(path, count):
    """The deliveries to a path, once there are so many."""

    def look():
        seen = [(headers, body) for own, headers, body in Receiver.seen if own == path]
        return len(seen) >= count, seen

    return wait_for(f"{count} deliveries to {path}", look)


def is_signed(headers, body):
    """By the rules of the Standard Webhooks specification, with the secret that the platform was given."""
    secret = base64.b64decode(os.environ["FLASH_WEBHOOK_SECRET"].removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    return headers["webhook-signature"] == f"v1,{signature}"


@case
def a_webhook_gets_the_status_object_with_input_and_itself():
    with receiver() as address:
        webhook = f"{address}/completed?token=x"
        answer = post("adder/run", {"input": {"left": 13}, "webhook": webhook}).json()
        [(headers, body)] = deliveries("/completed?token=x", 1)
        told = json.loads(body)
        equal((told["id"], told["input"], told["webhook"]), (answer["id"], {"left": 13}, webhook))
        equal((JobOutput(**told).status, told["output"]), ("COMPLETED", 13))
        equal(headers["content-type"], "application/json")
        equal((headers["webhook-id"].startswith(answer["id"] + "_"), is_signed(headers, body)), (True, True))


@case
def a_webhook_is_told_of_a_failure_and_tried_again_when_refused():
    with receiver() as address:
        webhook = f"{address}/again"
        job = post("flaky/run", {"input": {"file": "/no/such/file"}, "webhook": webhook}).json()["id"]
        first, second = deliveries("/again", 2)
        equal(first[1], second[1])
        told = json.loads(second[1])
        equal((told["id"], told["status"]), (job, "FAILED"))
        contains(told["error"], "/no/such/file is missing")
        equal(is_signed(*second), True)


@case
def a_webhook_that_is_no_url_is_422():
    answer = post("adder/run", {"input": {"left": 1}, "webhook": "ftp://x"})
    equal((answer.status_code, [field["path"] for field in answer.json()["fields"]]), (422, ["/webhook"]))


@case
def a_policy_outside_of_its_bounds_is_422():
    for policy in [{"executionTimeout": 4_999}, {"ttl": 9_999}, {"ttl": 7 * 24 * 3_600_000 + 1}]:
        answer = post("adder/run", {"input": {"left": 1}, "policy": policy})
        path = f"/policy/{next(iter(policy))}"
        equal((policy, answer.status_code), (policy, 422))
        equal([field["path"] for field in answer.json()["fields"]], [path])


@case
def no_input_is_5xx():
    deep = "[" * 100_000
    for body in [b"\x00", b"null", b'{"input": null}', b'{"input": 1e999}', deep.encode(), b'{"a": "\\ud800"}']:
        answer = requests.post(f"{BASE}/echo/runsync", data=body, timeout=60)
        assert answer.status_code < 500, (body[:50], answer.status_code, answer.text[:200])
        equal(answer.headers["content-type"], "application/json")


if __name__ == "__main__":
    main()

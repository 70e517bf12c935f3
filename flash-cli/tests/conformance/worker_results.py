"""The official worker behind our gateway: what becomes of a handler's result. Asked by the official client."""

import json

import requests
import runpod

from suite import PLATFORM, case, contains, equal, gate, main, post, wait_for, wait_for_status

PLAIN = runpod.Endpoint("captioner")
ASYNC = runpod.Endpoint("async")


def ended(endpoint, given):
    """The job object at its end."""
    answer = post(f"{endpoint}/run", {"input": given}).json()
    return wait_for_status(endpoint, answer["id"], "COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED")


def completed(endpoint, given):
    """The same; it has completed, with every field that strict clients demand."""
    job = ended(endpoint, given)
    equal((job["status"], job.get("error")), ("COMPLETED", None))
    equal((type(job["delayTime"]), type(job["executionTime"])), (int, int))
    contains(job["workerId"], f"{endpoint}-")
    return job


def caption(given):
    """Asks the route of a Rust function that asks the Python worker."""
    return requests.post(f"{PLATFORM}/caption", json=given, timeout=60)


@case
def an_object_comes_back():
    given = {"a": [1, 2.5, None, True, []], "b": {"c": {}}}
    equal(PLAIN.run_sync(given), given)
    equal(ASYNC.run_sync(given), given)


@case
def unicode_comes_back():
    given = {"größe 👩‍👩‍👧": 'quo"ted \u2028 \u0000 你好'}
    equal(PLAIN.run_sync(given), given)


@case
def results_that_are_no_objects_come_back():
    for value in ["text", "", [1, "two", None], [], 7, 2.5, 0, True, False]:
        job = completed("async", {"do": "return", "value": value})
        equal((value, job["output"]), (value, value))


@case
def none_is_an_output_of_null():
    job = completed("async", {"do": "return", "value": None})
    equal(job.get("output", "no output"), None)


@case
def an_empty_object_is_no_output():
    job = completed("async", {"do": "return", "value": {}})
    equal(job.get("output"), None)


@case
def an_empty_input_reaches_the_handler():
    equal(completed("async", {}).get("output"), None)


@case
def eighteen_megabytes_come_back():
    given = {"value": "0123456789" * 1_800_000}
    equal(PLAIN.run_sync(given), given)


@case
def the_handler_sees_the_job_as_it_was_sent():
    job = completed("async", {"do": "job"})
    equal(job["output"]["id"], job["id"])
    contains(job["output"]["keys"], "id")
    contains(job["output"]["keys"], "input")


@case
def an_exception_is_a_failure_with_the_six_keys():
    for endpoint in ["captioner", "async"]:
        job = ended(endpoint, {"do": "raise", "message": "größe \"boom\""})
        equal((job["status"], job.get("output")), ("FAILED", None))
        text = json.loads(job["error"])
        equal(text["error_type"], "<class 'ValueError'>")
        equal(text["error_message"], "größe \"boom\"")
        contains(text["error_traceback"], "in plain")
        equal((text["worker_id"], text["hostname"]), (job["workerId"], job["workerId"]))
        equal((text["runpod_version"], len(text)), (runpod.__version__, 6))


@case
def a_returned_error_is_a_failure():
    job = ended("async", {"do": "return", "value": {"error": "no such picture"}})
    equal((job["status"], job["error"], job.get("output")), ("FAILED", "no such picture", None))


@case
def what_is_beside_a_returned_error_is_the_output():
    job = ended("async", {"do": "return", "value": {"error": "no such picture", "k": 1}})
    equal((job["status"], job["error"], job.get("output")), ("FAILED", "no such picture", {"k": 1}))


@case
def an_error_that_is_no_text_is_told_as_text():
    job = ended("async", {"do": "return", "value": {"error": {"code": 7}}})
    equal((job["status"], json.loads(job["error"])), ("FAILED", {"code": 7}))


@case
def an_empty_error_is_no_failure():
    for nothing in ["", None, 0]:
        job = completed("async", {"do": "return", "value": {"error": nothing, "k": 1}})
        equal(job["output"], {"k": 1})


@case
def the_client_sees_a_failure_as_no_output():
    equal(ASYNC.run_sync({"do": "raise", "message": "boom"}), None)


@case
def progress_is_the_output_of_a_running_job():
    with gate() as file:
        job = PLAIN.run({"do": "hold", "file": str(file)})
        seen = wait_for("progress", lambda: ((output := job.output()) is not None, output))
        equal((seen["waiting"], job.status()), (str(file), "IN_PROGRESS"))
        file.touch()
        equal(job.output(timeout=60), {"held": str(file), "pid": seen["pid"]})


@case
def a_result_that_is_no_json_ends_the_job():
    job = ended("undeliverable", {"do": "no JSON"})
    equal((job["status"], job["retries"]), ("FAILED", 2))
    contains(json.loads(job["error"])["error_message"], "did not send a result")


@case
def a_result_of_not_a_number_ends_the_job():
    job = ended("undeliverable", {"do": "not a number"})
    equal((job["status"], "retries" in job), ("FAILED", False))
    contains(json.loads(job["error"])["error_message"], "the result is not valid JSON")


@case
def a_result_of_twenty_two_megabytes_fails_the_job():
    job = ended("undeliverable", {"do": "grow", "characters": 22_000_000})
    equal((job["status"], "retries" in job), ("FAILED", False))
    contains(json.loads(job["error"])["error_message"], "the result is over 21 MB")


@case
def a_worker_that_ends_by_itself_is_replaced_and_the_job_fails_after_three():
    job = ended("crashing", {"do": "end", "code": 3, "words": "famous last words"})
    equal((job["status"], job["retries"]), ("FAILED", 2))
    for part in ["died on each of 3 attempts", "exit code 3", "famous last words"]:
        contains(json.loads(job["error"])["error_message"], part)


@case
def a_rust_function_calls_the_python_worker():
    given = {"text": "größe", "numbers": [1, 2.5]}
    answer = caption(given)
    equal((answer.status_code, answer.json()), (200, given))


@case
def a_failure_of_the_python_worker_reaches_the_caller_of_the_rust_function():
    answer = caption({"do": "raise", "message": "no such picture"})
    equal((answer.status_code, answer.json()["stage"]), (500, "captioner"))
    contains(answer.json()["error"], "no such picture")


if __name__ == "__main__":
    main()

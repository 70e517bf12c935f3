"""The official asynchronous client over aiohttp, unmodified, against our gateway and our worker."""

import asyncio

import aiohttp
import runpod
from runpod import AsyncioEndpoint

from suite import PATIENCE, case, contains, equal, gate, get, main, wait_for_status


def session():
    """As its documentation makes one: without timeouts or headers of its own."""
    return aiohttp.ClientSession()


async def until(job, *statuses):
    """The job's status once it is one of these."""

    async def look():
        while (status := await job.status()) not in statuses:
            await asyncio.sleep(0.05)
        return status

    return await asyncio.wait_for(look(), PATIENCE)


async def refused(awaited):
    """The exception that it ends with."""
    try:
        result = await awaited
    # pylint: disable-next=broad-exception-caught
    except Exception as error:
        return error
    raise AssertionError(f"nothing was raised: {result!r}")


@case
async def run_and_output():
    async with session() as http:
        job = await AsyncioEndpoint("greeter", http).run({"name": "bob", "times": 2})
        equal(await job.output(timeout=60), "one: hello bob bob")
        equal(await job.status(), "COMPLETED")


@case
async def status_follows_the_job():
    async with session() as http:
        with gate() as first_gate, gate() as second_gate:
            first = await AsyncioEndpoint("gated", http).run({"file": str(first_gate)})
            equal(await until(first, "IN_PROGRESS"), "IN_PROGRESS")
            second = await AsyncioEndpoint("gated", http).run({"file": str(second_gate)})
            equal(await second.status(), "IN_QUEUE")
            first_gate.touch()
            equal(await first.output(timeout=60), f"{first_gate} is there")
            second_gate.touch()
            equal(await second.output(timeout=60), f"{second_gate} is there")
            equal((await first.status(), await second.status()), ("COMPLETED", "COMPLETED"))


@case
async def output_without_a_timeout_asks_nothing_and_gives_up():
    async with session() as http:
        with gate() as file:
            job = await AsyncioEndpoint("trickle", http).run({"file": str(file), "chunks": 2})
            error = await refused(job.output())
            equal((type(error), str(error)), (TimeoutError, "Job timed out."))
            file.touch()
            equal(await job.output(timeout=60), [1, 2])


@case
async def output_gives_up_after_its_timeout():
    async with session() as http:
        with gate() as file:
            job = await AsyncioEndpoint("trickle", http).run({"file": str(file), "chunks": 2})
            equal(str(await refused(job.output(timeout=1))), "Job timed out.")


@case
async def stream_yields_every_chunk_in_order_and_ends():
    async with session() as http:
        job = await AsyncioEndpoint("counter", http).run({"to": 100})
        equal([chunk async for chunk in job.stream()], list(range(1, 101)))


@case
async def stream_yields_chunks_while_the_job_runs():
    async with session() as http:
        with gate() as file:
            job = await AsyncioEndpoint("trickle", http).run({"file": str(file), "chunks": 3})
            seen = []
            async for chunk in job.stream():
                seen.append(chunk)
                file.touch()
            equal(seen, [1, 2, 3])


@case
async def a_running_job_is_cancelled():
    async with session() as http:
        with gate() as file:
            job = await AsyncioEndpoint("cancelled", http).run({"file": str(file)})
            await until(job, "IN_PROGRESS")
            equal(await job.cancel(), {"id": job.job_id, "status": "CANCELLED"})
            equal(await job.status(), "CANCELLED")
            equal(await job.output(timeout=60), None)


@case
async def health_has_all_numbers():
    async with session() as http:
        health = await AsyncioEndpoint("web", http).health()
        equal(health["jobs"], {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0})
        equal(
            set(health["workers"]),
            {"idle", "initializing", "ready", "running", "throttled", "unhealthy"},
        )
        equal(health["workers"]["ready"] + health["workers"]["initializing"], 1)


@case
async def purge_removes_what_waits():
    async with session() as http:
        with gate() as file:
            endpoint = AsyncioEndpoint("purged", http)
            running = await endpoint.run({"file": str(file)})
            await until(running, "IN_PROGRESS")
            waiting = [await endpoint.run({"file": str(file)}) for _ in range(2)]
            equal(await endpoint.purge_queue(), {"removed": 2, "status": "completed"})
            equal([await job.status() for job in waiting], ["CANCELLED", "CANCELLED"])
            file.touch()
            equal(await running.output(timeout=60), f"{file} is there")


@case
async def a_failed_job_has_no_output():
    async with session() as http:
        job = await AsyncioEndpoint("flaky", http).run({"file": "/no/such/file"})
        equal((await job.output(timeout=60), await job.status()), (None, "FAILED"))


@case
async def a_job_beyond_its_execution_timeout_is_timed_out():
    async with session() as http:
        job = await AsyncioEndpoint("sleeper", http).run({"seconds": 30})
        equal((await job.output(timeout=60), await job.status()), (None, "TIMED_OUT"))


@case
async def the_same_client_that_wraps_always_sees_a_refusal_of_wrapped_input():
    async with session() as http:
        endpoint = AsyncioEndpoint("greeter", http)
        # It looks at no HTTP status: what is left of a refusal is an answer without an id.
        error = await refused(endpoint.run({"input": {"name": "bob", "times": 1}}))
        equal((type(error), error.args), (KeyError, ("id",)))
        job = await endpoint.run({"name": "bob", "times": 1})
        equal(await job.output(timeout=60), "one: hello bob")


@case
async def refusals_are_json_too():
    async with session() as http:
        # Its `json()` demands the content type: anything else would be another exception.
        equal((await refused(AsyncioEndpoint("greter", http).run({}))).args, ("id",))
        contains((await AsyncioEndpoint("greter", http).health())["error"], "did you mean `greeter`")
        contains((await AsyncioEndpoint("greter", http).purge_queue())["error"], "no endpoint named `greter`")
        job = runpod.endpoint.asyncio.asyncio_runner.Job("greeter", "no-such-job", http, {})
        equal((await refused(job.status())).args, ("status",))
        contains((await job.cancel())["error"], "no job `no-such-job`")


@case
async def its_request_id_header_comes_back():
    async with session() as http:
        job = await AsyncioEndpoint("adder", http).run({"left": 3})
        equal(job.headers["X-Request-ID"], job.job_id)
        equal(await job.output(timeout=60), 3)
        answer = get(f"adder/status/{job.job_id}", headers=job.headers)
        equal((answer.headers["x-request-id"], answer.json()["output"]), (job.job_id, 3))


@case
async def unicode_and_megabytes_survive_both_ways():
    async with session() as http:
        given = {"größe 👩‍👩‍👧": "你" * 1_000_000, "nul": "\u0000"}
        job = await AsyncioEndpoint("echo", http).run(given)
        equal(await job.output(timeout=60), given)


@case
async def a_hundred_jobs_of_one_session_each_get_their_own_answer():
    async with session() as http:
        endpoint = AsyncioEndpoint("adder", http)

        async def add(number):
            job = await endpoint.run({"left": number, "right": 1000})
            return await job.output(timeout=60)

        equal(await asyncio.gather(*map(add, range(100))), [1000 + number for number in range(100)])


@case
async def a_client_that_breaks_off_leaves_its_job_running():
    async with session() as http:
        with gate() as file:
            job = await AsyncioEndpoint("trickle", http).run({"file": str(file), "chunks": 2})
            await until(job, "IN_PROGRESS")
    equal(wait_for_status("trickle", job.job_id, "COMPLETED")["output"], [1, 2])


if __name__ == "__main__":
    main()

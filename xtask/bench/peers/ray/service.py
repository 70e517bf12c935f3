"""Ray Serve: an ingress deployment and three deployments, composed by handles.

Each deployment is one process. The cluster is this program's own and ends with it.
"""

import os
import signal
import sys

# Before Ray is imported: one machine is enough, so that the cluster's own servers, too, listen on it alone.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

import stages
from stages import CleanText, Inference, Metadata, Postprocessed, Prediction, Preprocessed, RawText

app = FastAPI()

# As many requests at a time as a worker of Flash takes. None reserves a core: four would not fit on small machines.
SETTINGS = {"max_ongoing_requests": 64, "ray_actor_options": {"num_cpus": 0}}


@serve.deployment(**SETTINGS)
class Preprocess:
    async def __call__(self, raw: RawText) -> Preprocessed:
        return stages.preprocess(raw)


@serve.deployment(**SETTINGS)
class Infer:
    async def __call__(self, clean: CleanText) -> Inference:
        return stages.infer(clean)


@serve.deployment(**SETTINGS)
class Postprocess:
    async def __call__(
        self, predictions: list[Prediction], original_text: str, metadata: Metadata
    ) -> Postprocessed:
        return stages.postprocess(predictions, original_text, metadata)


@serve.deployment(**SETTINGS)
@serve.ingress(app)
class Classify:
    def __init__(self, preprocess: DeploymentHandle, infer: DeploymentHandle, postprocess: DeploymentHandle):
        self.preprocess = preprocess
        self.infer = infer
        self.postprocess = postprocess

    @app.post("/classify")
    async def classify(self, raw: RawText) -> Postprocessed:
        clean = await self.preprocess.remote(raw)
        inference = await self.infer.remote(
            CleanText(cleaned_text=clean.cleaned_text, word_count=clean.word_count)
        )
        metadata = Metadata(
            word_count=clean.word_count,
            sentence_count=clean.sentence_count,
            model=inference.model,
        )
        return await self.postprocess.remote(inference.predictions, clean.original_text, metadata)


def listen_here_only() -> None:
    """For each process of the cluster: a deployment's server listens on all addresses, and no setting changes that."""
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, _: add_port(server, "127.0.0.1:0")


def main(port: int) -> None:
    ray.init(
        runtime_env={"worker_process_setup_hook": listen_here_only},
        include_dashboard=False,
        object_store_memory=100_000_000,
        log_to_driver=False,
        logging_level="warning",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    pipeline = Classify.bind(Preprocess.bind(), Infer.bind(), Postprocess.bind())
    serve.run(pipeline, logging_config={"enable_access_log": False, "log_level": "WARNING"})
    try:
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        ray.shutdown()


if __name__ == "__main__":
    # Blocked before Ray starts its threads, so that the main one gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(int(sys.argv[1]))

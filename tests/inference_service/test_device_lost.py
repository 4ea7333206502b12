"""A GPU that breaks or hangs: no job fails, the process ends, and another goes on from the checkpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from eventing.events import TYPE_PREFIX
from inference_service.errors import GpuLost, ShuttingDown
from inference_service.model import MochiModel
from inference_service.pipeline import DeviceLost
from inference_service.predict import Predictor
from jobs.job import Delivery, EventKind, Job, Status
from jobs.settings import Settings
from jobs.storage import VideoStorage
from jobs.store import JobStore, NewJob
from tests.inference_service.rig import Rig, Scripted, until
from tests.inference_service.support import SPEC, Proxy
from tests.inference_service.support import job as make_job
from tests.inference_service.test_server import PREDICT, READY, environ, free_port, running

ERROR = "CUDA error: device-side assert triggered"


def losing(at: int) -> Callable[[int], None]:
    def before_step(step: int) -> None:
        if step == at:
            raise DeviceLost(ERROR)

    return before_step


def watched(rig: Rig) -> list[str]:
    """What the process is told, from now on."""
    told: list[str] = []
    rig.predictor = Predictor(rig.tools, lambda error: told.append(str(error)))
    return told


async def test_the_job_is_given_back_and_no_other_is_taken(rig: Rig, pipeline: Scripted) -> None:
    told = watched(rig)
    pipeline.before_step = losing(at=2)
    job, other = await rig.submit(), await rig.submit()
    reply = await rig.handle(job)
    assert reply is not None
    assert reply.kind is EventKind.CONTINUED
    assert told == [ERROR]
    with pytest.raises(ShuttingDown):
        rig.predictor.check_free()
    with pytest.raises(ShuttingDown):
        await rig.handle(other)
    assert len(pipeline.calls) == 1
    record = await rig.record(job)
    assert (record["status"], record["strikes"]) == ("processing", "1")
    assert record["reasons"] == f"attempt 1 lost the GPU of test: {ERROR}"


async def test_the_third_loss_without_progress_fails_the_job_with_each_reason(
    rig: Rig, pipeline: Scripted
) -> None:
    pipeline.before_step = losing(at=1)
    job = await rig.submit()
    reply: Delivery | None = None
    for _ in range(3):
        rig.change()  # a new process
        reply = await rig.predictor.handle(job.id, reply.delivery if reply else job.delivery)
    assert reply is not None
    assert reply.kind is EventKind.FAILED
    assert reply.outcome is not None
    assert reply.outcome.error is not None
    assert reply.outcome.error.code == "attempts_exhausted"
    assert reply.outcome.error.message.count("lost the GPU of test") == 3


async def test_a_loss_while_decoding_keeps_all_steps(rig: Rig, pipeline: Scripted) -> None:
    def lose() -> None:
        raise DeviceLost(ERROR)

    pipeline.at_decode = lose
    job = await rig.submit()
    reply = await rig.handle(job)
    assert reply is not None
    assert "strikes" not in await rig.record(job)
    pipeline.at_decode = lambda: None
    steps = len(pipeline.steps)
    rig.change()
    last = await rig.predictor.handle(job.id, reply.delivery)
    assert last is not None
    assert last.kind is EventKind.COMPLETED
    assert len(pipeline.steps) == steps, "none is done again"


async def test_while_redis_is_away_the_process_ends_and_the_lease_runs_out(
    rig: Rig, pipeline: Scripted, settings: Settings
) -> None:
    url = urlsplit(settings.redis_url)
    proxy = Proxy(url.hostname or "", url.port or 6379)
    await proxy.up()
    far = url._replace(netloc=url.netloc.replace(f":{url.port}", f":{proxy.port}"))
    store = JobStore.connect(replace(settings, redis_url=far.geturl()))
    rig.change(store=store)
    told = watched(rig)
    loop = asyncio.get_running_loop()

    def lose(_step: int) -> None:
        asyncio.run_coroutine_threadsafe(proxy.away(), loop).result(30)
        raise DeviceLost(ERROR)

    pipeline.before_step = lose
    job = await rig.submit()
    with pytest.raises(
        ShuttingDown
    ):  # 503: the Broker tries again, and is told nothing while the lease lives
        await rig.handle(job)
    assert told == [ERROR]
    record = await rig.record(job)
    assert (record["status"], "result" in record, "token" in record) == ("processing", False, True)
    await rig.idle()
    await store.close()


async def test_a_synchronous_call_hears_that_the_job_goes_on(rig: Rig, pipeline: Scripted) -> None:
    pipeline.before_step = losing(at=1)
    model = MochiModel("mochi-1", rig.predictor, ("short-low",), 60)
    call = {"instances": [{"prompt": "a red circle", "num_inference_steps": 2}]}
    with pytest.raises(GpuLost) as raised:
        await model.predict(call)
    assert (raised.value.status, raised.value.retry_after) == (503, None)
    assert [event.type for event in rig.publisher.events] == [f"{TYPE_PREFIX}continued"]


async def test_a_synchronous_call_of_the_process_is_answered_before_it_ends(
    settings: Settings, store: JobStore, tmp_path: Path
) -> None:
    more = {"MODEL_NAME": "none"}
    async with running(environ(settings, tmp_path, free_port()) | more, tmp_path / "log") as server:
        await server.answers(READY, 200)
        call = {"instances": [{"prompt": "lose the GPU at step 1"}]}
        answer = await server.client.post(PREDICT, json=call)
        async with asyncio.timeout(60):
            assert await server.process.wait() == 1
    assert answer.status_code == 503
    assert "goes on without this call" in answer.json()["error"]
    (job,) = (await store.list_jobs()).jobs
    assert job.status is Status.PROCESSING


async def submit(store: JobStore, prompt: str) -> Job:
    long = replace(
        SPEC,
        prompt=prompt,
        width=128,
        height=128,
        num_frames=61,
        num_inference_steps=110,
    )
    return (await store.submit(NewJob(make_job().id, long, 1.0))).job


async def post(client: httpx.AsyncClient, job_id: str, kind: str, delivery: int) -> httpx.Response:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": f"{job_id}:{kind}:{delivery}",
        "ce-source": "/mochi/submit",
        "ce-type": f"{TYPE_PREFIX}{kind}",
    }
    return await client.post("/events", headers=headers, json={"job_id": job_id})


async def test_the_process_ends_and_the_next_one_finishes_the_job(
    settings: Settings, store: JobStore, storage: VideoStorage, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    more = {"MODEL_NAME": "none", "MOCHI_CHECKPOINT_SECONDS": "1"}
    async with running(environ(settings, tmp_path / "a", free_port()) | more, log) as server:
        await server.answers(READY, 200)
        job = await submit(store, "lose the GPU at step 100")
        answer = await post(server.client, job.id, "requested", job.delivery)
        assert answer.headers["ce-type"] == f"{TYPE_PREFIX}continued"
        async with asyncio.timeout(60):
            assert await server.process.wait() == 1
    assert '"device_lost"' in log.read_text("utf-8")
    now = await store.get(job.id)
    assert now.status is Status.PROCESSING
    delivery = int(answer.headers["ce-delivery"])
    assert list(storage.list(f"checkpoints/{job.id}/")), "it has a checkpoint"
    # Another volume: what it goes on from is the object store's.
    async with running(environ(settings, tmp_path / "b", free_port()) | more, log) as server:
        await server.answers(READY, 200)
        answer = await post(server.client, job.id, "continued", delivery)
        assert answer.headers["ce-type"] == f"{TYPE_PREFIX}completed"
        metrics = (await server.client.get("/metrics")).text
        assert "mochi_resumed_steps_total 0.0" not in metrics


#: The process, to which a step of more than three seconds is one that hangs.
HASTY = """
import sys
from inference_service.__main__ import main
from inference_service.lease_keeper import PHASE_LIMITS
from jobs.job import Phase
sys.exit(main({**PHASE_LIMITS, Phase.DENOISING: 3.0}))
"""


@pytest.mark.timeout(240)
async def test_a_step_that_hangs_ends_the_process_and_the_next_one_finishes_the_job(
    settings: Settings, store: JobStore, storage: VideoStorage, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    more = {"MODEL_NAME": "none", "MOCHI_CHECKPOINT_SECONDS": "1", "MOCHI_LEASE_SECONDS": "2"}
    async with running(environ(settings, tmp_path / "a", free_port()) | more, log, "-c", HASTY) as server:
        await server.answers(READY, 200)
        job = await submit(store, "hang at step 100")
        event = asyncio.create_task(post(server.client, job.id, "requested", job.delivery))
        async with asyncio.timeout(60):
            assert await server.process.wait() == 1
        await asyncio.gather(event, return_exceptions=True)  # whatever it hears, the job is due
    text = log.read_text("utf-8")
    assert '"stuck"' in text
    assert "denoising has made no progress for 3 s" in text
    assert list(storage.list(f"checkpoints/{job.id}/")), "it has a checkpoint"

    async def due() -> bool:
        return job.id in await store.due()

    await until(due)  # once the lease has run out
    (delivery,) = await store.reap(job.id)
    (lost,) = (await store.get(job.id)).attempts
    assert lost.ended == "lost"
    async with running(environ(settings, tmp_path / "b", free_port()) | more, log) as server:
        await server.answers(READY, 200)
        answer = await post(server.client, job.id, delivery.kind, delivery.delivery)
        assert answer.headers["ce-type"] == f"{TYPE_PREFIX}completed"
        metrics = (await server.client.get("/metrics")).text
        assert "mochi_resumed_steps_total 0.0" not in metrics


@pytest.mark.timeout(240)
async def test_a_dead_gpu_at_the_start_ends_the_process(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available() or torch.version.cuda is None:
        pytest.skip("has a GPU that works, or a torch that knows none")
    more = {"NVIDIA_VISIBLE_DEVICES": "GPU-1"}
    async with running(environ(settings, tmp_path, free_port()) | more, log) as server:
        async with asyncio.timeout(200):
            assert await server.process.wait() == 1
    text = log.read_text("utf-8")
    assert '"device_lost"' in text
    assert '"ready"' not in text
    assert "Traceback" not in text

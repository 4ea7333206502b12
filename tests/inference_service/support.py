"""Values that the tests of the predictor share."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable

from inference_service.pipeline import Frames, Latents, VideoPipeline
from jobs.job import Job, Phase, Status
from jobs.request import VideoSpec
from tests.specs import spec

__all__ = ["SPEC", "Proxy", "Seen", "generate", "job"]

#: A small job for the tiny model.
SPEC = spec(width=32, height=32, num_inference_steps=2)


def job(spec: VideoSpec = SPEC) -> Job:
    """A job at work."""
    return Job(
        id=uuid.uuid4().hex,
        status=Status.PROCESSING,
        phase=Phase.ENCODING_PROMPT,
        queue=spec.queue,
        seq=1,
        spec=spec,
        version=1,
        created_us=1,
        updated_us=1,
        attempt=1,
    )


class Seen:
    """A Progress that keeps what it is told, and stops after a step where it is asked to."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.all: list[tuple[Phase, int]] = []
        self.stop_after = stop_after

    def entered(self, phase: Phase, step: int) -> None:
        self.all.append((phase, step))

    def stepped(self, step: int, latents: Callable[[], Latents]) -> bool:
        self.entered(Phase.DENOISING, step)
        assert latents().step == step
        return step != self.stop_after


def generate(pipeline: VideoPipeline, spec: VideoSpec = SPEC, progress: Seen | None = None) -> Frames:
    """A whole clip at once."""
    progress = progress or Seen()
    return pipeline.decode(spec, pipeline.denoise(spec, None, progress), progress)


class Proxy:
    """A TCP proxy on a free port of 127.0.0.1 that can be away: then connections are refused and cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def up(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def away(self) -> None:
        """Refuse new connections and cut the open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            for w in (writer, far_writer):
                self._writers.discard(w)
                w.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()

"""The real job store over the synchronous link: only the way to Redis and back is simulated.

`Server.call` with its second try and its errors is the real one. Before a command is a point (it is not
sent, or its sender dies) and after it (it took effect, and no answer comes).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import hiredis
from redis import exceptions

from jobs.connection import Argument, Server, pool_text
from jobs.leases import NewJob, Submission
from jobs.settings import Settings
from jobs.store import JobStore
from tests.simulation.link import CLOCK
from tests.simulation.scene import Scene

__all__ = ["SimServer", "SimStore"]


class SimServer(Server):
    """Redis as one process sees it."""

    def __init__(self, settings: Settings, scene: Scene) -> None:
        self._scene = scene  # and no call of super, which makes a pool of connections
        self._text = pool_text(settings)
        self._connected_to = 0

    async def close(self) -> None:
        """Nothing is open."""

    async def read(self, key: str) -> str | None:  # noqa: ARG002  # no profile is stored
        """Nothing but transitions is kept."""
        return None

    async def write(self, key: str, text: str) -> None:
        """Nothing but transitions is kept."""

    async def _run(self, transition: str, arguments: Sequence[Argument]) -> list[Any]:
        scene = self._scene
        await scene.before_redis(transition)
        if self._connected_to != scene.link.run_id:
            lost, self._connected_to = self._connected_to, 0
            if lost:
                raise exceptions.ConnectionError("the server has restarted")
            self._now("boot", (str(scene.link.run_id),))
            self._connected_to = scene.link.run_id
        answer = self._now(transition, arguments)
        await scene.after_redis(transition)
        return answer

    def _now(self, transition: str, arguments: Sequence[Argument]) -> list[Any]:
        answer = self._scene.transition(self._text, transition, [str(a) for a in arguments])
        if isinstance(answer, hiredis.ReplyError):
            raise exceptions.ResponseError(str(answer))
        return list(answer)


class SimStore(JobStore):
    """A JobStore of one process. Job ids are drawn from the seed, so that a run is the same each time."""

    def __init__(self, settings: Settings, scene: Scene) -> None:
        super().__init__(settings, CLOCK)
        self._scene = scene

    def of_a_process(self) -> SimStore:
        """The same with a connection of its own; cheaper than a new one, and a run makes many."""
        store = copy(self)
        store._server = SimServer(self._settings, self._scene)  # noqa: SLF001  # of our own class
        return store

    async def submit(self, new: NewJob) -> Submission:
        """As JobStore.submit, under an id of the seed."""
        return await super().submit(replace(new, id=self._scene.new_id()))

    async def submit_now(self, new: NewJob) -> Submission:
        """As JobStore.submit_now, under an id of the seed."""
        return await super().submit_now(replace(new, id=self._scene.new_id()))

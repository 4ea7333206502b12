"""The app of the reaper. The PingSource posts to `/` every minute, the Broker its dead letters."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventing.codec import decode
from functions import problems
from functions.bodies import read_body
from functions.health import Health
from functions.reaper.dead_letters import DeadLetters
from functions.reaper.tick import Reaper
from functions.wiring import Wiring

__all__ = ["create_app"]


def create_app(wiring: Wiring) -> Starlette:
    """The app. Nothing is connected to before the first request."""
    reaper, letters, health = Reaper(wiring), DeadLetters(wiring), Health(wiring)

    async def tick(request: Request) -> Response:
        # Whatever posts here wants a round: a PingSource, or a person with curl. What it sends says nothing.
        await read_body(request)
        await reaper.tick()
        return Response(status_code=204)

    async def dead_letter(request: Request) -> Response:
        await letters.take(decode(dict(request.headers), await read_body(request)))
        return Response(status_code=204)

    app = Starlette(
        routes=[
            Route("/", tick, methods=["POST"]),
            Route("/dead-letters", dead_letter, methods=["POST"]),
            Route("/healthz", health.ready),
            Route("/livez", health.live),
        ]
    )
    problems.install(app)
    return app

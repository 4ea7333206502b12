"""The entry point that functions-framework loads: FUNCTION_TARGET=main, FUNCTION_SOURCE=this file.

Loading it is the start of the process, so this is where the environment is read.
"""

from __future__ import annotations

import functions_framework.aio
from starlette.requests import Request
from starlette.types import ASGIApp

from functions.submit.api import create_app
from functions.wiring import wire

_app = create_app(wire("submit"))


@functions_framework.aio.http  # type: ignore[arg-type]  # it serves any ASGI app that it is given
async def main(_request: Request) -> ASGIApp:
    """An ASGI app is an answer too: the framework calls it with the request."""
    return _app

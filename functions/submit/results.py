"""`GET /jobs/{id}/result` and `GET /download/{id}`: the video, or a URL that gets it.

A URL is presigned, so the object store serves the video itself, ranges included. `?redirect=false` sends
it through this function, for clients that cannot reach the object store. HEAD never redirects: a URL that
is presigned for GET refuses it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator
from functools import partial

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from functions.errors import VideoGone
from functions.job_ids import job_id_of
from functions.submit.queries import parse_redirect
from functions.submit.ranges import ByteRange, parse_range
from functions.submit.streams import ClosingStreamingResponse
from functions.wiring import Wiring
from jobs.errors import NotReady
from jobs.job import Artifact

__all__ = ["Results"]

_MEDIA_TYPE = "video/mp4"
_NO_STORE = {"cache-control": "no-store"}  # a presigned URL is a secret, and its time runs out


class Results:
    """The handlers. All raise JobNotFound, NotReady, StoreUnavailable."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    async def result(self, request: Request) -> Response:
        """Redirect to the video, or send it. Raises StorageUnavailable, VideoGone, RangeNotSatisfiable."""
        job_id, redirect = job_id_of(request), parse_redirect(request.query_params)
        artifact = await self._artifact(job_id)
        if redirect:
            url = await self._presigned(artifact, None)
            return Response(status_code=307, headers={"location": url, **_NO_STORE})
        return await self._sent(request, job_id, artifact)

    async def head(self, request: Request) -> Response:
        """What sending the video would answer, without the video."""
        parse_redirect(request.query_params)
        artifact = await self._artifact(job_id_of(request))
        headers = {**_described(artifact), "content-length": str(artifact.bytes)}
        return Response(headers=headers, media_type=_MEDIA_TYPE)

    async def download(self, request: Request) -> Response:
        """A URL under which a browser saves the video as a file."""
        job_id = job_id_of(request)
        artifact = await self._artifact(job_id)
        url = await self._presigned(artifact, f"{job_id}.mp4")
        found = {"job_id": job_id, "url": url, "expires_in": self._wiring.settings.presign_seconds}
        return JSONResponse(found, headers=_NO_STORE)

    async def _artifact(self, job_id: str) -> Artifact:
        job = await self._wiring.store.get(job_id)
        if job.artifact is None or not job.status.terminal:
            raise NotReady(job.id, job.status)
        return job.artifact

    async def _presigned(self, artifact: Artifact, filename: str | None) -> str:
        seconds = self._wiring.settings.presign_seconds
        return await to_thread.run_sync(lambda: self._wiring.storage.presign(artifact.key, seconds, filename))

    async def _sent(self, request: Request, job_id: str, artifact: Artifact) -> Response:
        headers = _described(artifact)
        if headers["etag"] in _tags(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        unchanged = request.headers.get("if-range", headers["etag"]) == headers["etag"]
        asked = parse_range(request.headers.get("range"), artifact.bytes) if unchanged else None
        sent = asked or ByteRange(0, artifact.bytes - 1, artifact.bytes)
        first, rest = await self._opened(job_id, artifact.key, sent)
        headers["content-length"] = str(sent.length)
        if asked:
            headers["content-range"] = str(asked)
        return ClosingStreamingResponse(_chunks(first, rest), 206 if asked else 200, headers, _MEDIA_TYPE)

    async def _opened(self, job_id: str, key: str, sent: ByteRange) -> tuple[bytes, Iterator[bytes]]:
        """The first chunk, read before the answer begins so that a failure has a status, and the rest."""

        def opened() -> tuple[bytes, Iterator[bytes]]:
            chunks = iter(self._wiring.storage.read(key, sent.start, sent.end))
            return next(chunks, b""), chunks

        try:
            return await to_thread.run_sync(opened)
        except KeyError:
            raise VideoGone(job_id) from None


def _described(artifact: Artifact) -> dict[str, str]:
    # A video is never changed: its key holds the token of the lease that made it.
    return {
        "etag": f'"{artifact.etag}"',
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=3600",
    }


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


async def _chunks(first: bytes, rest: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        chunk = first
        while chunk:
            yield chunk
            # A read that has begun is waited for, even when the client leaves: `rest` is nobody else's then.
            chunk = await to_thread.run_sync(partial(next, rest, b""))
    finally:
        if isinstance(rest, Generator):
            rest.close()

"""Fetching a video: over redirects, in as many pieces as it takes, checked.

Written over a Wire: see `mochi.wire`. The file is written here, in short blocking writes. Each attempt
asks the API anew, because a presigned URL expires. Where the object store cannot be reached from here,
the API is asked to send the video itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from mochi.api import origin, problem_of
from mochi.calls import Calls
from mochi.errors import DownloadFailed, NotReady, Problem, Unavailable, UnexpectedAnswer, Unreachable
from mochi.models import Job, Video
from mochi.part_file import PartFile
from mochi.retry import RETRIED, Patience
from mochi.watching import body_of, finished
from mochi.wire import Reply, without_secrets

__all__ = ["Progress", "download"]

#: Called with the bytes that are there and the bytes that there will be.
Progress = Callable[[int, int], None]

#: Seconds without a byte after which a connection counts as dead.
IDLE = 30.0
REDIRECTS = 5

_MD5 = re.compile(r"[0-9a-f]{32}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")


async def download(calls: Calls, job_id: str, path: Path, progress: Progress | None) -> Job:
    """Write a completed job's video to `path`; returns the job.

    Raises what `Calls` raises, NotReady, JobFailed, JobCancelled, DownloadFailed and OSError.
    """
    job = await calls.get(job_id)
    video = _video(job)
    with PartFile(path) as file:
        if file.size > video.bytes or not _MD5.fullmatch(video.etag):
            file.restart()  # what an earlier download left could not be told from another video's
        fetch = _Fetch(calls, job_id, video, file, progress)
        await fetch.fill()
        if file.inherited and (fetch.encrypted or not fetch.checks_out()):
            file.restart()  # it may begin with bytes of something else
            await fetch.fill()
        if not fetch.checks_out():
            file.discard()
            raise DownloadFailed(f"the video of job {job_id} arrived damaged: its MD5 is not its ETag")
        file.finish()
    return job


@dataclass
class _Fetch:
    """One video on its way into one file."""

    calls: Calls
    job_id: str
    video: Video
    file: PartFile
    progress: Progress | None
    through_api: bool = False  # the API sends the video itself
    encrypted: bool = False  # with keys of a kind that makes the ETag no MD5

    def checks_out(self) -> bool:
        """Whether the file is the video, as far as its ETag says."""
        etag = self.video.etag
        return self.encrypted or not _MD5.fullmatch(etag) or self.file.md5() == etag

    async def fill(self) -> None:
        """Fetch what is missing. Raises DownloadFailed when nothing has come for too long."""
        patience = Patience(self.calls.retry)
        while self.file.size < self.video.bytes:
            before = self.file.size
            try:
                await self._fetch()
                raise Unreachable("the connection ended too early")
            except (Unavailable, Unreachable) as error:
                if self.file.size >= self.video.bytes:
                    return
                if self.file.size > before:
                    patience.progress()
                try:
                    pause = patience.pause_after(error)
                except Unreachable:
                    there = f"{self.file.size} of {self.video.bytes} bytes"
                    text = f"the video of job {self.job_id} stopped at {there}: {error}"
                    raise DownloadFailed(text) from None
            await self.calls.wire.pause(pause)

    async def _fetch(self) -> None:
        """One attempt, from the first byte that is missing, as far as it goes."""
        headers = {"accept": "video/mp4, */*", "accept-encoding": "identity"}
        if self.file.size:
            headers["range"] = f"bytes={self.file.size}-"
        reply = await self._open(headers)
        if reply.status == 416:
            self.file.restart()
            return
        self.encrypted = _encrypted(reply.headers)
        try:
            if _offset(reply, self.video) != self.file.size:
                self.file.restart()  # ranges are not served
            while chunk := await self.calls.wire.read():
                if self.file.size + len(chunk) > self.video.bytes:
                    raise DownloadFailed(f"the server sends more than the video's {self.video.bytes} bytes")
                self.file.append(chunk)
                if self.progress is not None:
                    self.progress(self.file.size, self.video.bytes)
        except DownloadFailed:
            self.file.discard()  # there is nothing in it to resume
            raise

    async def _open(self, headers: Mapping[str, str]) -> Reply:
        api, wire = self.calls.api, self.calls.wire
        request = api.result(self.job_id, headers, redirect=not self.through_api)
        for _ in range(REDIRECTS + 1):
            elsewhere = origin(request.url) != origin(api.base)
            try:
                reply = await wire.open(request, IDLE)
            except Unreachable:
                self.through_api = self.through_api or elsewhere
                raise
            if reply.status not in (301, 302, 303, 307, 308):
                break
            request = api.redirected(urljoin(request.url, reply.headers.get("location", "")), headers)
        else:
            raise UnexpectedAnswer(f"more than {REDIRECTS} redirects on the way to the video")
        if reply.status in (200, 206, 416):
            return reply
        if not elsewhere:
            raise problem_of(await body_of(wire, reply))
        trouble = f"the video storage at {without_secrets(request.url)} answered HTTP {reply.status}"
        raise Unreachable(trouble) if reply.status in RETRIED else DownloadFailed(trouble)


def _video(job: Job) -> Video:
    video = finished(job).video
    if video is None:
        detail = f"job {job.id} is {job.status}: only a completed job has a video"
        raise NotReady(Problem(409, "The job has no video", detail))
    return video


def _encrypted(headers: Mapping[str, str]) -> bool:
    """Whether the object is encrypted so that its ETag is no MD5.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html, ETag.
    """
    return "kms" in headers.get("x-amz-server-side-encryption", "") or (
        "x-amz-server-side-encryption-customer-algorithm" in headers
    )


def _offset(reply: Reply, video: Video) -> int:
    """Where in the video the reply begins. Raises DownloadFailed if it is no part of this video."""
    etag = reply.headers.get("etag", "").removeprefix("W/").strip('"')
    if etag and video.etag and etag != video.etag:
        raise DownloadFailed("the server sends another file than the job's video: their ETags differ")
    offset, total = 0, ""
    if reply.status == 206:
        match = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", ""))
        if match is None:
            raise DownloadFailed("the server sends a part of the video without saying which")
        offset, total = int(match[1]), match[2].strip("*")
    length = reply.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and not total:
        total = str(offset + int(length))
    if total and int(total) != video.bytes:
        raise DownloadFailed(f"the server has {total} bytes, and the job's video {video.bytes}")
    return offset

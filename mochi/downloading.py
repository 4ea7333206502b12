"""The program that fetches a video: over redirects, in as many pieces as it takes, checked.

Each attempt asks the API anew, because a presigned URL expires. No network here: see `mochi.effects`;
the file is written here, in short blocking writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from mochi.api import origin, problem_of, without_secrets
from mochi.calls import Call, Calls
from mochi.effects import Open, Pause, Reply, read, reply_to
from mochi.errors import DownloadFailed, NotReady, Problem, Unavailable, UnexpectedAnswer, Unreachable
from mochi.models import Job, Video
from mochi.part_file import PartFile
from mochi.retry import RETRIED
from mochi.watching import body_of, finished

__all__ = ["Downloading", "Progress"]

#: Called with the bytes that are there and the bytes that there will be.
Progress = Callable[[int, int], None]

#: Seconds without a byte after which a connection counts as dead.
IDLE = 30.0
REDIRECTS = 5

_MD5 = re.compile(r"[0-9a-f]{32}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")


@dataclass(frozen=True)
class Downloading:
    """Fetching videos. Raises what `Calls` raises, JobFailed, JobCancelled, DownloadFailed and OSError."""

    calls: Calls

    def download(self, job_id: str, path: Path, progress: Progress | None) -> Call[Job]:
        """Write a completed job's video to `path`; returns the job."""
        job = yield from self.calls.get(job_id)
        video = _video(job)
        with PartFile(path) as file:
            if file.size > video.bytes or not _MD5.fullmatch(video.etag):
                file.restart()  # what an earlier download left could not be told from another video's
            yield from self._fill(job_id, video, file, progress)
            if file.inherited and file.md5() != video.etag:
                file.restart()
                yield from self._fill(job_id, video, file, progress)
            file.finish()
        return job

    def _fill(self, job_id: str, video: Video, file: PartFile, progress: Progress | None) -> Call[None]:
        failures = 0
        while file.size < video.bytes:
            before = file.size
            trouble = f"the connection ended after {file.size} of {video.bytes} bytes"
            asked: float | None = None
            try:
                yield from self._fetch(job_id, video, file, progress)
            except Unreachable as error:
                trouble = str(error)
            except Unavailable as error:
                if error.status not in RETRIED:
                    raise
                trouble, asked = str(error), error.retry_after
            if file.size >= video.bytes:
                return
            failures = 1 if file.size > before else failures + 1
            if failures >= self.calls.retry.attempts or (asked or 0.0) > self.calls.retry.longest:
                raise DownloadFailed(
                    f"the video of job {job_id} stopped at {file.size} of {video.bytes} bytes: {trouble}"
                )
            yield Pause(self.calls.retry.pause_after(failures, asked))

    def _fetch(self, job_id: str, video: Video, file: PartFile, progress: Progress | None) -> Call[None]:
        """One attempt, from the first byte that is missing."""
        headers = {"accept": "video/mp4, */*", "accept-encoding": "identity"}
        if file.size:
            headers["range"] = f"bytes={file.size}-"
        reply = yield from self._open(job_id, headers)
        if reply.status == 416:
            file.restart()
            return
        try:
            if _offset(reply, video) != file.size:
                file.restart()
            while chunk := (yield from read()):
                if file.size + len(chunk) > video.bytes:
                    raise DownloadFailed(f"the server sends more than the video's {video.bytes} bytes")
                file.append(chunk)
                if progress is not None:
                    progress(file.size, video.bytes)
        except DownloadFailed:
            file.discard()  # there is nothing in it to resume
            raise

    def _open(self, job_id: str, headers: dict[str, str]) -> Call[Reply]:
        api = self.calls.api
        request = api.result(job_id, headers)
        for _ in range(REDIRECTS + 1):
            reply = yield from reply_to(Open(request, idle=IDLE))
            if reply.status not in (301, 302, 303, 307, 308):
                break
            target = urljoin(request.url, reply.headers.get("location", ""))
            request = api.redirected(target, headers)
        else:
            raise UnexpectedAnswer(f"more than {REDIRECTS} redirects on the way to the video")
        if reply.status in (200, 206, 416):
            return reply
        if origin(request.url) == origin(api.base):
            raise problem_of((yield from body_of(reply)))
        trouble = f"the video storage at {without_secrets(request.url)} answered HTTP {reply.status}"
        raise Unreachable(trouble) if reply.status in RETRIED else DownloadFailed(trouble)


def _video(job: Job) -> Video:
    video = finished(job).video
    if video is None:
        detail = f"job {job.id} is {job.status}: only a completed job has a video"
        raise NotReady(Problem(409, "The job has no video", detail))
    return video


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

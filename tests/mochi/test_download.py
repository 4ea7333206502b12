"""Downloads over real connections: both clients, an API and an object store apart from it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mochi import Client, DownloadFailed, JobFailed, NotFound, NotReady, UnexpectedAnswer
from tests.mochi.answers import JOB_ID, VIDEO, at_work, completed, failed, problem
from tests.mochi.clients import Make
from tests.mochi.fake_server import Answer, FakeServer, Seen, dead_url, json_answer, ranged

JOB = f"GET /jobs/{JOB_ID}"
RESULT = f"GET /jobs/{JOB_ID}/result"
OBJECT = "GET /videos/video.mp4"
MD5 = hashlib.md5(VIDEO, usedforsecurity=False).hexdigest()


def redirect(url: str) -> Answer:
    return Answer(307, {"location": url, "content-length": "0"})


@pytest.fixture
def client(make: Make, server: FakeServer, storage: FakeServer) -> Client:
    """A client of an API with one completed job, whose video is in the storage."""
    server.on(JOB, json_answer(completed()))
    server.on(RESULT, redirect(f"{storage.url}/videos/video.mp4?signature=secret"))
    storage.on(OBJECT, ranged(VIDEO, MD5))
    return make(server.url.replace("//", "//me:pass@"), headers={"x-team": "films"})


def folder(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


def test_the_video_arrives_whole(client: Client, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    job = client.download(JOB_ID, tmp_path / "a.mp4", progress=lambda done, total: seen.append((done, total)))
    assert job.id == JOB_ID
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert folder(tmp_path) == ["a.mp4"]
    assert seen[-1] == (len(VIDEO), len(VIDEO))


def test_the_object_store_gets_nothing_of_the_api(
    client: Client, server: FakeServer, storage: FakeServer, tmp_path: Path
) -> None:
    client.download(JOB_ID, tmp_path / "a.mp4")
    [at_api] = server.asked(RESULT)
    [at_storage] = storage.seen
    assert at_api.headers["authorization"].startswith("Basic ")
    assert at_api.headers["x-team"] == "films"
    assert not {"authorization", "x-team", "cookie"} & at_storage.headers.keys()
    assert at_storage.target == "/videos/video.mp4?signature=secret"


def test_a_connection_that_ends_early_is_resumed(
    client: Client, server: FakeServer, storage: FakeServer, tmp_path: Path
) -> None:
    storage.on(OBJECT, ranged(VIDEO, MD5, cut=40_000))
    client.download(JOB_ID, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert [s.headers.get("range") for s in storage.seen] == [None, "bytes=40000-", "bytes=80000-"]
    assert len(server.asked(RESULT)) == 3  # each with a URL that was signed anew


def test_what_an_earlier_download_left_is_resumed(
    client: Client, storage: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4.part").write_bytes(VIDEO[:1000])
    client.download(JOB_ID, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert [s.headers.get("range") for s in storage.seen] == ["bytes=1000-"]


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(VIDEO), VIDEO + b"x"])
def test_what_another_video_left_is_not(client: Client, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "a.mp4.part").write_bytes(left)
    client.download(JOB_ID, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert folder(tmp_path) == ["a.mp4"]


def test_a_part_is_not_resumed_where_nothing_could_prove_it(
    client: Client, server: FakeServer, storage: FakeServer, tmp_path: Path
) -> None:
    server.on(JOB, json_answer(completed(etag=f"{MD5}-2")))  # the ETag of an upload in parts is no MD5
    storage.on(OBJECT, ranged(VIDEO, f"{MD5}-2"))
    (tmp_path / "a.mp4.part").write_bytes(VIDEO[:1000])
    client.download(JOB_ID, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert [s.headers.get("range") for s in storage.seen] == [None]


def test_a_store_without_ranges_sends_it_all_again(
    client: Client, storage: FakeServer, tmp_path: Path
) -> None:
    whole = ranged(VIDEO, MD5)

    def without_ranges(seen: Seen) -> Answer:
        return whole(Seen(seen.method, seen.target, {}, b""))

    storage.on(OBJECT, ranged(VIDEO, MD5, cut=40_000), without_ranges)
    client.download(JOB_ID, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


def test_a_video_that_arrives_damaged_is_not_kept(
    client: Client, storage: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"the one before")
    storage.on(OBJECT, ranged(VIDEO[::-1], MD5))
    with pytest.raises(DownloadFailed, match="damaged"):
        client.download(JOB_ID, tmp_path / "a.mp4")
    assert folder(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"the one before"


def test_an_etag_that_encryption_made_is_no_md5(
    client: Client, server: FakeServer, storage: FakeServer, tmp_path: Path
) -> None:
    other = "0" * 32
    server.on(JOB, json_answer(completed(etag=other)))
    storage.on(OBJECT, ranged(VIDEO, other, x_amz_server_side_encryption="aws:kms"))
    client.download(JOB_ID, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


@pytest.mark.parametrize(
    ("content", "etag", "words"),
    [
        (VIDEO, "0" * 32, "ETags differ"),
        (VIDEO[:-1], MD5, "102399 bytes"),
        (VIDEO + b"x", MD5, "102401 bytes"),
    ],
)
def test_another_file_is_refused(
    client: Client, storage: FakeServer, tmp_path: Path, content: bytes, etag: str, words: str
) -> None:
    storage.on(OBJECT, ranged(content, etag))
    with pytest.raises(DownloadFailed, match=words):
        client.download(JOB_ID, tmp_path / "a.mp4")
    assert folder(tmp_path) == []


def test_more_bytes_than_the_video_has_are_refused(
    client: Client, storage: FakeServer, tmp_path: Path
) -> None:
    storage.on(OBJECT, Answer(200, {}, VIDEO + b"x"))  # without a length: it is seen as it comes
    with pytest.raises(DownloadFailed, match="more than"):
        client.download(JOB_ID, tmp_path / "a.mp4")
    assert folder(tmp_path) == []


def test_an_object_store_out_of_reach_is_passed_by(
    client: Client, server: FakeServer, tmp_path: Path
) -> None:
    content = ranged(VIDEO, MD5)

    def result(seen: Seen) -> Answer:
        return (
            content(seen) if "redirect=false" in seen.target else redirect(f"{dead_url()}/videos/video.mp4")
        )

    server.on(RESULT, result)
    client.download(JOB_ID, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert [s.target.partition("?")[2] for s in server.asked(RESULT)] == ["", "redirect=false"]


def test_a_store_that_is_away_is_asked_again(client: Client, storage: FakeServer, tmp_path: Path) -> None:
    storage.on(OBJECT, Answer(503, {"content-length": "0"}), ranged(VIDEO, MD5))
    client.download(JOB_ID, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


def test_what_did_arrive_is_kept_when_it_gives_up(
    client: Client, storage: FakeServer, tmp_path: Path
) -> None:
    storage.on(OBJECT, ranged(VIDEO, MD5, cut=1000), Answer(503, {"content-length": "0"}))
    with pytest.raises(DownloadFailed, match="stopped at 1000 of 102400 bytes"):
        client.download(JOB_ID, tmp_path / "a.mp4")
    assert folder(tmp_path) == ["a.mp4.part"]


def test_a_refusal_of_the_store_does_not_show_the_signature(
    client: Client, storage: FakeServer, tmp_path: Path
) -> None:
    storage.on(OBJECT, Answer(403, {"content-length": "0"}))
    with pytest.raises(DownloadFailed, match="HTTP 403") as caught:
        client.download(JOB_ID, tmp_path / "a.mp4")
    assert "secret" not in str(caught.value)
    assert len(storage.seen) == 1


def test_redirects_come_to_an_end(client: Client, server: FakeServer, tmp_path: Path) -> None:
    server.on(RESULT, redirect(f"/jobs/{JOB_ID}/result"))
    with pytest.raises(UnexpectedAnswer, match="redirects"):
        client.download(JOB_ID, tmp_path / "a.mp4")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "", "http://"])
def test_a_redirect_to_what_is_no_url_is_not_followed(
    client: Client, server: FakeServer, tmp_path: Path, target: str
) -> None:
    server.on(RESULT, redirect(target))
    with pytest.raises(UnexpectedAnswer):
        client.download(JOB_ID, tmp_path / "a.mp4")


def test_a_job_without_a_video_has_none(client: Client, server: FakeServer, tmp_path: Path) -> None:
    server.on(JOB, json_answer(at_work()))
    with pytest.raises(NotReady, match="is processing"):
        client.download(JOB_ID, tmp_path / "a.mp4")
    server.on(JOB, json_answer(failed()))
    with pytest.raises(JobFailed):
        client.download(JOB_ID, tmp_path / "a.mp4")
    server.on(JOB, json_answer(completed()))
    server.on(RESULT, json_answer(problem(410, "video-gone"), 410))
    with pytest.raises(NotFound):
        client.download(JOB_ID, tmp_path / "a.mp4")


def test_a_folder_that_is_not_there(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        client.download(JOB_ID, tmp_path / "no" / "a.mp4")


def test_a_download_that_brings_nothing_leaves_nothing(
    client: Client, server: FakeServer, tmp_path: Path
) -> None:
    server.on(RESULT, redirect("file:///etc/passwd"))
    with pytest.raises(UnexpectedAnswer):
        client.download(JOB_ID, tmp_path / "a.mp4")
    assert folder(tmp_path) == []

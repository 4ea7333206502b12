from __future__ import annotations

import httpx

from jobs.settings import Settings
from jobs.store import JobStore
from tests.functions.lives import completed, given

REQUEST = {"prompt": "a fox", "num_frames": 7, "quality": "low"}


async def submitted(api: httpx.AsyncClient, count: int, **more: object) -> list[str]:
    answers = [await api.post("/jobs", json=REQUEST | more) for _ in range(count)]
    return [answer.json()["job_id"] for answer in answers]


async def test_nothing_is_an_empty_page(api: httpx.AsyncClient) -> None:
    assert (await api.get("/jobs")).json() == {"jobs": [], "next_cursor": None}


async def test_pages_are_stable_while_new_jobs_come_in(api: httpx.AsyncClient) -> None:
    before = await submitted(api, 7)
    found: list[str] = []
    query: dict[str, str | int] = {"limit": 3}
    for _ in range(10):
        page = (await api.get("/jobs", params=query)).json()
        assert len(page["jobs"]) <= 3
        found += [job["job_id"] for job in page["jobs"]]
        await submitted(api, 1)
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == before[::-1]


async def test_the_newest_come_first_and_all_fit_on_one_page(api: httpx.AsyncClient) -> None:
    jobs = await submitted(api, 3)
    page = (await api.get("/jobs")).json()
    assert [job["job_id"] for job in page["jobs"]] == jobs[::-1]
    assert page["next_cursor"] is None


async def test_by_status_and_queue(api: httpx.AsyncClient, store: JobStore, settings: Settings) -> None:
    done = (await completed(store, settings)).id
    short = await submitted(api, 2)
    long = await submitted(api, 1, queue="long-high")

    async def listed(query: str) -> set[str]:
        return {job["job_id"] for job in (await api.get(f"/jobs?{query}")).json()["jobs"]}

    assert await listed("status=completed") == {done}
    assert await listed("status=pending") == {*short, *long}
    assert await listed("queue=long-high") == set(long)
    assert await listed("queue=short-low&status=pending") == set(short)
    assert await listed("queue=long-high&status=completed") == set()


async def test_pages_of_one_status(api: httpx.AsyncClient, store: JobStore, settings: Settings) -> None:
    done = [(await completed(store, settings)).id for _ in range(3)]
    for _ in range(3):
        await given(store)
    first = (await api.get("/jobs?status=completed&limit=2")).json()
    second = (await api.get("/jobs", params={"status": "completed", "cursor": first["next_cursor"]})).json()
    assert [job["job_id"] for job in first["jobs"] + second["jobs"]] == done[::-1]
    assert second["next_cursor"] is None

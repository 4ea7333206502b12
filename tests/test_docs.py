"""The documents against the code: a setting, an event type, a folder that one names is there in the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eventing.events import EVENT_TYPES
from jobs.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
#: Read by the broker of one machine and by the client, not by `Settings`.
OTHERS = {"MOCHI_MANIFESTS", "MOCHI_ADDRESSES", "MOCHI_URL"}


def settings_of_the_code() -> set[str]:
    """Every name that Settings asks its environ for."""
    asked: set[str] = set()

    class Asking(dict[str, str]):
        def get(self, name: str, default: str | None = None) -> str:  # type: ignore[override]  # all that is called
            asked.add(name)
            return default or ""

    Settings.from_environ(Asking())
    return asked | OTHERS


def test_the_settings_page_has_every_setting_and_no_other() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    named = set(re.findall(r"`((?:MOCHI|AWS|REDIS|MODEL|HF|SCRATCH|K)_[A-Z0-9_]+|PORT)`", page))
    assert named == settings_of_the_code()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_exists(path: Path) -> None:
    text = path.read_text("utf-8")
    names = set(re.findall(r"\b(?:MOCHI|AWS_S3)_[A-Z0-9_]+\b", text))
    assert names <= settings_of_the_code()
    types = set(re.findall(r"dev\.mochi\.generation\.[a-z]+", text))
    assert types <= set(EVENT_TYPES)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (path.parent / target).exists(), target
    for name in re.findall(r"`([a-z_]+/(?:[a-z_./-]*[a-z_]\.(?:py|lua|md|yaml)|[a-z_/]*))`", text):
        assert (ROOT / name).exists(), name

"""What is refused before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.settings import Settings
from local.checks import check_queues
from local.errors import CannotStart


def test_every_queue_of_the_defaults_has_a_trigger() -> None:
    check_queues(Settings(), {})


def test_a_queue_without_a_trigger_is_refused() -> None:
    settings = Settings.from_environ({"MOCHI_QUEUES": "short-low,rush"})
    with pytest.raises(CannotStart, match=r"^MOCHI_QUEUES: no Trigger in .* of 'rush': leave"):
        check_queues(settings, {})


def test_a_folder_without_manifests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"^MOCHI_MANIFESTS: .*no Broker manifest"):
        check_queues(Settings(), {"MOCHI_MANIFESTS": str(tmp_path)})

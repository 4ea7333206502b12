"""The tree of errors is the one that is drawn."""

from __future__ import annotations

import inspect
import re

from inference_service import errors


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"^ *[├└]── (\w+) +(\d+)  \S", errors.__doc__ or "", re.MULTILINE)
    classes = {name: getattr(errors, name) for name in errors.__all__}
    assert {name: int(status) for name, status in drawn} == {n: c.status for n, c in classes.items()}
    assert len({c.slug for c in classes.values()}) == len(classes)
    assert all(inspect.getdoc(c) for c in classes.values())

"""`python -m functions.make_bucket`: the bucket of the settings, made where it is missing. A Job runs it.

Twice does no harm: a bucket that is there is only looked at.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from jobs.errors import MochiError
from jobs.settings import Settings
from jobs.storage import S3VideoStorage

__all__ = ["main"]


def main(environ: Mapping[str, str]) -> int:
    """The exit code: 1 where the object store is not there yet or says no; the Job tries again."""
    try:
        settings = Settings.from_environ(environ)
        S3VideoStorage(settings).check()
    except MochiError as error:
        sys.stderr.write(f"make_bucket: {error}\n")
        return 1
    print(f"the bucket {settings.aws_s3_bucket} is there")  # noqa: T201  # the Job's log
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))

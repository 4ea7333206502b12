"""`python -m functions.new_secret NAME KEY=TEMPLATE…`: a Secret of the cluster that nobody has seen.

A Job runs it once in a new namespace. `{word}` in a template becomes a random token, the same one wherever
that word stands. A Secret that is there already is left as it is: whoever brings their own is first. The
Job's account may create Secrets, and neither read nor change one. Knows nothing of who uses them.
"""

from __future__ import annotations

import argparse
import os
import secrets
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

__all__ = ["filled", "main"]

#: Where Kubernetes puts the account of a pod.
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_BYTES = 24  # of randomness in a token
_SECONDS = 10.0  # that the API server may take to answer


def filled(templates: Sequence[str]) -> dict[str, str]:
    """Key to value, from `KEY=TEMPLATE`. Raises ValueError, which says what is wrong with which one."""
    words = _Words()
    values: dict[str, str] = {}
    for text in templates:
        key, equals, template = text.partition("=")
        if not key or not equals:
            raise ValueError(f"{text!r} is not KEY=TEMPLATE")
        try:
            values[key] = template.format_map(words)
        except (ValueError, IndexError, AttributeError):
            raise ValueError(f"{text!r}: only {{word}} is filled in") from None
    return values


class _Words(dict[str, str]):
    def __missing__(self, word: str) -> str:
        if not word.isidentifier():
            raise ValueError(word)
        self[word] = secrets.token_hex(_BYTES)
        return self[word]


def main(
    arguments: Sequence[str],
    environ: Mapping[str, str] = os.environ,
    account: Path = _ACCOUNT,
    transport: httpx.BaseTransport | None = None,
) -> int:
    """Create it; the exit code. 1 where the API server cannot be asked or says no: the Job tries again."""
    parser = argparse.ArgumentParser(prog="python -m functions.new_secret")
    parser.add_argument("name")
    parser.add_argument("templates", nargs="+", metavar="KEY=TEMPLATE")
    given = parser.parse_args(arguments)
    try:
        values = filled(given.templates)
    except ValueError as error:
        parser.error(str(error))
    try:
        said = _create(given.name, values, environ, account, transport)
    except (OSError, KeyError, httpx.HTTPError) as error:
        sys.stderr.write(f"new_secret: the API server cannot be asked: {type(error).__name__}: {error}\n")
        return 1
    if said == httpx.codes.CONFLICT:
        print(f"the Secret {given.name} is there already, and stays as it is")  # noqa: T201  # the Job's log
        return 0
    if said != httpx.codes.CREATED:
        # The body of the answer may repeat what was sent.
        sys.stderr.write(f"new_secret: the API server says {said} to the Secret {given.name}\n")
        return 1
    print(f"the Secret {given.name} is made, with {', '.join(values)}")  # noqa: T201  # the Job's log
    return 0


def _create(
    name: str,
    values: Mapping[str, str],
    environ: Mapping[str, str],
    account: Path,
    transport: httpx.BaseTransport | None,
) -> int:
    """The status that the API server answers with."""
    namespace = (account / "namespace").read_text("ascii").strip()
    token = (account / "token").read_text("ascii").strip()
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
    if transport is None:
        trusted = ssl.create_default_context(cafile=str(account / "ca.crt"))
        transport = httpx.HTTPTransport(verify=trusted)
    # Not the proxy of the environment: the API server is not out in the world.
    with httpx.Client(transport=transport, timeout=_SECONDS, trust_env=False) as client:
        answer = client.post(
            f"https://{f'[{host}]' if ':' in host else host}:{port}/api/v1/namespaces/{namespace}/secrets",
            json={
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "labels": {"app.kubernetes.io/name": name}},
                "stringData": values,
            },
            headers={"authorization": f"Bearer {token}"},
        )
    return answer.status_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The environment of the processes, built from scratch: what they need of the user's, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from local.data_folder import DataFolder

__all__ = ["accelerator_environ", "base_environ", "python_environ", "user_settings"]

_NAMES = frozenset(
    {
        *("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"),
    }
)
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
_LOOPBACK = "127.0.0.1,localhost,::1"

#: What torch, its libraries and the model hub take from their users.
_ACCELERATOR = ("CUDA_", "NVIDIA_", "HIP_", "ROCR_", "OMP_", "MKL_", "TORCH_", "PYTORCH_", "HF_")

#: Settings of the user's that `mochi up` decides itself, or that are the command line's.
_OURS = frozenset({"MOCHI_HOST", "MOCHI_ADDRESSES", "MOCHI_URL"})


def base_environ(environ: Mapping[str, str], folder: DataFolder) -> dict[str, str]:
    """For any process: paths, locale, certificates and proxies. What it writes lands in the data folder."""
    found = {n: v for n, v in environ.items() if n in _NAMES or n.startswith("LC_")}
    if not any(name in found for name in ("LANG", "LC_ALL", "LC_CTYPE")):
        found["LANG"] = "C.UTF-8"
    return found | _proxies(environ) | {"HOME": str(folder.home), "TMPDIR": str(folder.temporary)}


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    found = {name: value for name, value in environ.items() if name.upper() in _PROXIES and value}
    if not found:
        return {}
    # Our processes talk to each other on loopback, where no proxy can reach them.
    spared = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    spared = f"{spared},{_LOOPBACK}".lstrip(",")
    return found | {"NO_PROXY": spared, "no_proxy": spared}


def python_environ(packages: Path) -> dict[str, str]:
    """For Python: our packages are found wherever it starts, and what it prints is in the log at once."""
    return {"PYTHONPATH": str(packages), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def user_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's own settings of the system (`MOCHI_*`) and of the model. Paths are made absolute."""
    found = {n: v for n, v in environ.items() if n.startswith("MOCHI_") and n not in _OURS and v}
    found |= {name: environ[name] for name in ("MODEL_NAME", "MODEL_DIR") if environ.get(name)}
    for name in ("MODEL_DIR", "MOCHI_MANIFESTS"):
        if name in found:
            found[name] = str(Path(found[name]).absolute())
    return found


def accelerator_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """For the process with the model: its devices, its threads, and the hub's token."""
    return {name: value for name, value in environ.items() if name.startswith(_ACCELERATOR) and value}

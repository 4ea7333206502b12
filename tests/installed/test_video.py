"""A real browser plays the result: Chromium, headless, with a `<video>` that seeks (so it asks for ranges).

Needs `chromium` on the PATH, which `.ci/run` installs; `make test` leaves this folder out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mochi import Client
from tests.e2e.system import mochi_up

PAGE = """<!doctype html><video id=v muted preload=auto src="{src}"></video><script>
const v = document.getElementById("v");
const say = (what) => fetch("/said", {{method: "POST", body: JSON.stringify({{what,
  width: v.videoWidth, height: v.videoHeight, duration: v.duration, at: v.currentTime,
  error: v.error && v.error.message}})}});
v.onerror = () => say("error");
v.onloadeddata = () => {{ v.currentTime = 1.5; }};
v.onseeked = () => {{ v.onended = () => say("ended"); v.play(); }};
</script>"""
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


def test_the_video_element_loads_seeks_and_plays_to_the_end(tmp_path: Path) -> None:
    with mochi_up(tmp_path / "data") as system, Client(system.url) as client:
        job = client.submit("a red circle moving right", num_frames=61, num_inference_steps=2)
        client.wait(job.id, timeout=60)
        said = played(f"{system.url}/jobs/{job.id}/result", tmp_path)
    assert said["what"] == "ended", said
    assert (said["width"], said["height"]) == (64, 64)
    assert abs(said["duration"] - 61 / 30) < 0.05
    assert said["at"] > 1.9


def played(src: str, folder: Path) -> dict[str, Any]:
    """What the page says once the video has ended, or failed."""
    said: list[dict[str, Any]] = []
    heard = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name is http.server's
            body = PAGE.format(src=src).encode() if self.path == "/" else b""
            self._answer(body)

        def do_POST(self) -> None:  # the name is http.server's
            said.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self._answer(b"")
            heard.set()

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed"
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = f"http://127.0.0.1:{server.server_port}/"
        browser = subprocess.Popen(
            [chromium, *FLAGS, f"--user-data-dir={folder / 'chromium'}", page],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert heard.wait(60), "the page said nothing"
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()
    return said[0]

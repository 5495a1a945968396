from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from poseloop.clock import now_ns
from poseloop_server.outputs.base import OutputUnavailableError, Status
from poseloop_server.outputs.runner import OutputRunner
from poseloop_server.outputs.webhook import HttpAction, HttpConfig, HttpOutput
from pydantic import ValidationError

from tests.server.outputs.parts import SERVICES, WITHIN_S, Outcomes, command, eventually, run, survives_unplugging


class Site:
    """A web server of one page; remembers what was posted, and from which connection."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._context = context
        self.posted: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.peers: list[int] = []
        self.status = 204
        self.body = b""
        self.before_answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: None
        self.start()

    def start(self) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                site._open.append(self.connection)

            def do_POST(self) -> None:
                site.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                site.headers.append(dict(self.headers))
                site.paths.append(self.path)
                site.peers.append(self.client_address[1])
                site.before_answer(self)
                self.send_response(site.status)
                self.send_header("Content-Length", str(len(site.body)))
                self.end_headers()
                self.wfile.write(site.body)

            def log_message(self, *args: Any) -> None:
                pass

        self._open: list[socket.socket] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.handle_error = lambda *args: None  # type: ignore[method-assign]
        self._server.daemon_threads = True
        self.scheme = "http"
        if self._context is not None:
            self._server.socket = self._context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def drop_connections(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.socket.close()
        self.drop_connections()


@pytest.fixture
def site() -> Any:
    made = Site()
    yield made
    made.stop()


def started(site: Site, path: str = "/hook?a=1", **keys: Any) -> tuple[OutputRunner, Outcomes]:
    config = HttpConfig(
        **{
            "url": f"{site.scheme}://127.0.0.1:{site.port}{path}",
            "deadline_ms": 60_000,
            "answer_timeout_ms": 5000,
            **keys,
        }
    )
    outcomes = Outcomes()
    return run(HttpOutput("out", config, SERVICES), config, outcomes), outcomes


def test_a_command_is_posted_with_its_cause(site: Site) -> None:
    runner, outcomes = started(site, headers={"Authorization": "Bearer x"})
    given = command(HttpAction(data={"side": "left"}), 5, values={"speed(snout)": 31.5, "angle": float("nan")})
    runner.submit(given)
    outcome = outcomes.of(5)
    assert outcome.status is Status.ACKNOWLEDGED
    assert outcome.sent_ns is not None
    assert outcome.acknowledged_ns is not None
    assert outcome.sent_ns <= outcome.acknowledged_ns
    assert site.paths == ["/hook?a=1"]
    assert site.headers[0]["Authorization"] == "Bearer x"
    assert site.posted == [
        {
            "output": "out",
            "stream": "cam1",
            "trigger": "in_corner",
            "edge": "rise",
            "number": 5,
            "sequence": 41,
            "captured_ns": given.captured_ns,
            "decided_ns": given.decided_ns,
            "values": {"speed(snout)": 31.5, "angle": None},
            "data": {"side": "left"},
        }
    ]
    runner.close()


def test_the_connection_stays_open(site: Site) -> None:
    runner, outcomes = started(site)
    for number in (1, 2, 3):
        runner.submit(command(HttpAction(), number))
        outcomes.of(number)
    assert len(set(site.peers)) == 1
    runner.close()


@pytest.mark.parametrize("status", [302, 404, 500])
def test_any_other_answer_refuses(site: Site, status: int) -> None:
    site.status = status
    runner, outcomes = started(site)
    runner.submit(command(HttpAction(), 1))
    assert outcomes.of(1).status is Status.REFUSED
    assert f"answered {status}" in outcomes.of(1).message
    runner.close()


def test_an_answer_that_is_too_long_is_not_read_to_its_end(site: Site) -> None:
    site.status, site.body = 200, b"x" * 200_000
    runner, outcomes = started(site)
    for number in (1, 2):
        runner.submit(command(HttpAction(), number))
        assert outcomes.of(number).status is Status.ACKNOWLEDGED
    runner.close()


def test_a_connection_that_the_server_closed_at_rest_is_opened_anew(site: Site) -> None:
    runner, outcomes = started(site)
    runner.submit(command(HttpAction(), 1))
    assert outcomes.of(1).status is Status.ACKNOWLEDGED
    site.drop_connections()
    runner.submit(command(HttpAction(), 2))
    assert outcomes.of(2).status is Status.ACKNOWLEDGED
    assert [one["number"] for one in site.posted] == [1, 2]
    runner.close()


def test_an_answer_that_does_not_come(site: Site) -> None:
    done = threading.Event()
    site.before_answer = lambda handler: (done.wait(WITHIN_S), None)[1]
    runner, outcomes = started(site, answer_timeout_ms=100)
    runner.submit(command(HttpAction(), 1))
    assert outcomes.of(1).status is Status.UNANSWERED
    done.set()
    runner.close()


def test_a_server_may_go_and_come_back(site: Site) -> None:
    runner, outcomes = started(site)
    survives_unplugging(runner, outcomes, HttpAction(), site.stop, site.start)


def test_what_switches_off_is_made_up_for_when_the_server_is_back(site: Site) -> None:
    runner, outcomes = started(site)
    runner.submit(command(HttpAction(data="on"), 1))
    assert outcomes.of(1).status is Status.ACKNOWLEDGED
    site.stop()
    runner.submit(command(HttpAction(data="off", switches_off=True), 2))
    eventually(lambda: not runner.account().connected)
    site.start()
    assert outcomes.of(2).status is Status.ACKNOWLEDGED
    runner.close()
    assert [document["data"] for document in site.posted] == ["on", "off"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
def test_https_is_spoken_where_the_certificate_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site = Site(context)
    try:
        with pytest.raises(OutputUnavailableError, match="certificate"):
            started(site)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        runner, outcomes = started(site)
        for number in (1, 2):
            runner.submit(command(HttpAction(), number))
            assert outcomes.of(number).status is Status.ACKNOWLEDGED
        assert len(set(site.peers)) == 1
        runner.close()
    finally:
        site.stop()


def test_nobody_is_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = HttpConfig(url=f"http://127.0.0.1:{taken.getsockname()[1]}/")
        with pytest.raises(OutputUnavailableError, match="can't be reached"):
            run(HttpOutput("out", config, SERVICES), config, Outcomes())


@pytest.mark.parametrize(
    "url", ["ftp://x/", "file:///etc/passwd", "x", "http://", "http://a:b/", "http://a/ b", "http://a:0"]
)
def test_only_http_is_spoken(url: str) -> None:
    with pytest.raises(ValidationError, match="is no URL"):
        HttpConfig(url=url)


def test_headers_are_lines() -> None:
    with pytest.raises(ValidationError, match="can't be sent"):
        HttpConfig(url="http://a/", headers={"A": "b\r\nC: d"})


def test_data_is_small() -> None:
    with pytest.raises(ValidationError, match="larger than"):
        HttpAction(data="x" * 70_000)


def test_a_command_is_not_sent_late_where_connecting_anew_took_too_long(site: Site) -> None:
    output = HttpOutput("web", HttpConfig(url=f"http://127.0.0.1:{site.port}/", deadline_ms=50), SERVICES)
    outcome = output.execute(command(HttpAction(), decided_ns=now_ns() - 60_000_000))
    output.close()
    assert outcome.status is Status.DROPPED_LATE
    assert not site.posted


def test_what_switches_off_is_sent_however_long_connecting_anew_took(site: Site) -> None:
    output = HttpOutput("web", HttpConfig(url=f"http://127.0.0.1:{site.port}/", deadline_ms=50), SERVICES)
    outcome = output.execute(command(HttpAction(switches_off=True), decided_ns=now_ns() - 60_000_000))
    output.close()
    assert outcome.status is Status.ACKNOWLEDGED
    assert len(site.posted) == 1

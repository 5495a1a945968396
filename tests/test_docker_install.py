"""The installs that poseloop promises, made for real in bare virtual environments outside the repository.

The CPU image's own steps are run as they stand; the server that they bring is started with the container's settings,
probed the container's way, scraped as Prometheus does and stopped as a container engine does. What the GPU image would
install is only read from the wheel, since CUDA's libraries are some gigabytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from packaging.requirements import Requirement

from tests.docker_files import DOCKER, ROOT, named, stages

PATIENCE_S = 60
# Not for the base install, and not for the server: `pip install poseloop` runs on the computer that holds the camera.
HEAVY = {"torch", "onnxruntime", "cv2"}
PROBE = "import importlib.util, sys; print(*[m for m in sys.argv[1:] if importlib.util.find_spec(m) is not None])"


@dataclass(frozen=True)
class Environment:
    folder: Path

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def run(self, name: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program(name), *arguments], capture_output=True, text=True, env=_environment(), **options
        )

    def installed_of(self, modules: set[str]) -> set[str]:
        """Those of the modules that can be imported here."""
        found = self.run("python", "-c", PROBE, *sorted(modules), check=True)
        return set(found.stdout.split())


def _environment() -> dict[str, str]:
    """This process's variables, less what would lead another Python to this one's packages or settings."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "POSELOOP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # pip's way to be told "no compiling": of what is installed here only a little is ever imported.
    return kept | {"PIP_NO_COMPILE": "0"}


@pytest.fixture(scope="module")
def install_steps() -> list[str]:
    """The steps of the CPU image that make and fill its virtual environment."""
    steps = [step.value for step in named(stages("cpu")[0], "RUN")]
    assert any("venv" in step for step in steps)
    assert any("pip install" in step for step in steps)
    return steps


@pytest.fixture(scope="module")
def image(install_steps: list[str], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What the CPU image's first stage makes, with its absolute paths led into a folder of the test's own."""
    root = tmp_path_factory.mktemp("image")
    _copy_context(root / "src")
    bare = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    for step in install_steps:
        command = re.sub(r"(?<![\w./])/(opt|wheels)\b", rf"{root}/\1", step)
        command = re.sub(r"^python ", f"{bare} ", command)
        done = subprocess.run(command, shell=True, cwd=root / "src", env=_environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{step}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return Environment(root / "opt/poseloop")


def _copy_context(target: Path) -> None:
    """Copy what the image's first stage copies; .dockerignore keeps back what Python has made beside it."""
    for step in named(stages("cpu")[0], "COPY"):
        for source in step.words[:-1]:
            (target / source).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target / source, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            else:
                shutil.copy(ROOT / source, target / source)


@pytest.fixture(scope="module")
def wheel(image: Environment) -> Path:
    return next((image.folder.parents[1] / "wheels").glob("poseloop-*.whl"))


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A bare environment with the base install, no extras."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--quiet", wheel]
    subprocess.run(pip, check=True, env=_environment())
    return Environment(folder)


@pytest.mark.slow
def test_the_base_install_is_light_and_says_what_it_lacks(base: Environment) -> None:
    assert base.installed_of(HEAVY | {"poseloop", "zmq"}) == {"poseloop", "zmq"}
    base.run("python", "-W", "error", "-c", "import poseloop", check=True)
    assert "serve" in base.run("poseloop", "--help", check=True).stdout
    refused = base.run("poseloop", "serve")
    assert refused.returncode == 1
    assert "pip install 'poseloop[server]'" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_the_image_has_a_server_and_no_training(image: Environment) -> None:
    assert image.installed_of({*HEAVY, "lightning", "timm"}) == {"onnxruntime", "cv2"}
    assert "--listen" in image.run("poseloop", "serve", "--help", check=True).stdout
    refused = image.run("poseloop", "train", "project")
    assert "pip install 'poseloop[training]'" in refused.stderr


def _requirements(wheel: Path, extra: str) -> dict[str, set[str]]:
    """What an extra of the wheel asks for, the extras that it is made of included: distributions with their extras."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = BytesParser().parsebytes(archive.read(metadata)).get_all("Requires-Dist", [])
    found: dict[str, set[str]] = {}
    asked, done = {"", extra}, set()
    while asked - done:
        now = (asked - done).pop()
        done.add(now)
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": now}):
                if requirement.name == "poseloop":
                    asked |= requirement.extras
                else:
                    found.setdefault(requirement.name, set()).update(requirement.extras)
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="there is no ONNX Runtime with CUDA for macOS")
def test_the_gpu_image_asks_for_cuda_and_not_for_pytorch(wheel: Path) -> None:
    (install,) = [step.value for step in named(stages("gpu")[0], "RUN") if "pip install" in step.value]
    (cpu_install,) = [step.value for step in named(stages("cpu")[0], "RUN") if "pip install" in step.value]
    assert install.replace("[server-gpu]", "[server]") == cpu_install
    requirements = _requirements(wheel, "server-gpu")
    assert requirements["onnxruntime-gpu"] == {"cuda", "cudnn"}
    assert not requirements.keys() & {"onnxruntime", "torch"}
    assert {*requirements, "onnxruntime"} - {"onnxruntime-gpu"} == _requirements(wheel, "server").keys()


@dataclass(frozen=True)
class Container:
    """A server as the image's entry point starts it."""

    environment: Environment
    process: subprocess.Popen[str]
    announcement: dict[str, str]

    def scrape(self) -> str:
        with urllib.request.urlopen(f"http://{self.announcement['metrics']}/metrics", timeout=10) as reply:
            return reply.read().decode()


@pytest.fixture(scope="module")
def container(image: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("container")
    announcement = folder / "announcement.json"
    (folder / "models").mkdir()
    (entry,) = named(stages("cpu")[-1], "ENTRYPOINT")
    # The container's settings, but for addresses and folders that are this machine's to give.
    overrides = {
        "POSELOOP_LISTEN": "127.0.0.1:0",
        "POSELOOP_PUBLISH": "tcp://127.0.0.1:0",
        "POSELOOP_PUBLISH_JSON": "tcp://127.0.0.1:0",
        "POSELOOP_METRICS": "127.0.0.1:0",
        "POSELOOP_MODELS_DIR": str(folder / "models"),
        "POSELOOP_ANNOUNCE": str(announcement),
        # As compose.yaml sets it where nothing is chosen.
        "POSELOOP_MODEL": "",
    }
    words = [word.replace("/etc/poseloop", str(DOCKER)) for word in entry.exec_form]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [image.program(words[0]), *words[1:]], env=_environment() | overrides, cwd=folder, stdout=log, stderr=log,
            text=True,
        )  # fmt: skip
    try:
        _wait_until(lambda: announcement.exists() or process.poll() is not None)
        assert announcement.exists(), (folder / "log").read_text()
        yield Container(image, process, json.loads(announcement.read_text()))
    finally:
        process.kill()
        process.wait()


def _wait_until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.05)


def _probe(environment: Environment, address: str) -> subprocess.CompletedProcess[str]:
    """Run the image's health check, whose last argument here is the address."""
    (check,) = named(stages("cpu")[-1], "HEALTHCHECK")
    words = [word.replace("/etc/poseloop", str(DOCKER)) for word in check.exec_form]
    return environment.run(words[0], *words[1:], address)


@pytest.mark.slow
def test_the_health_check_tells_a_server_that_is_ready(container: Container) -> None:
    probed = _probe(container.environment, container.announcement["address"])
    assert probed.returncode == 0, probed.stderr
    assert "SERVING" in probed.stdout


@pytest.mark.slow
def test_the_health_check_tells_that_nothing_answers(container: Container) -> None:
    probed = _probe(container.environment, "127.0.0.1:1")
    assert probed.returncode == 1
    assert "UNAVAILABLE" in probed.stderr


def _exported(text: str) -> dict[str, set[str]]:
    """Every series of a scrape with the names of its labels."""
    series: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? ", text, re.MULTILINE):
        series.setdefault(name, set()).update(re.findall(r"(\w+)=\"", labels))
    return series


def _queries() -> dict[str, str]:
    """Every query of the dashboard by its panel's title, with Grafana's variables filled in."""
    dashboard = json.loads((DOCKER / "grafana/dashboards/poseloop.json").read_text())
    queries = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }
    return {
        title: re.sub(r"\$(__rate_interval|__range)", "5m", query).replace("$stream", ".*")
        for title, query in queries.items()
    }


def _selectors(query: str) -> dict[str, set[str]]:
    """The metrics that a query reads, with the labels that it selects or groups them by."""
    found: dict[str, set[str]] = {}
    grouped: set[str] = set()

    def visit(expression: Any) -> bool:
        if isinstance(expression, promql_parser.VectorSelector):
            found[expression.name] = {matcher.name for matcher in expression.matchers.matchers}
        if isinstance(expression, promql_parser.AggregateExpr) and expression.modifier is not None:
            grouped.update(expression.modifier.labels)
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return {name: labels | grouped for name, labels in found.items()}


@pytest.fixture
def stream(container: Container) -> Iterator[str]:
    """The name of a stream that the installed program sends to the container."""
    sender = subprocess.Popen(
        [
            container.environment.program("poseloop"), "stream", "synthetic:320x240@30", "--name", "cam0", "--server",
            container.announcement["address"],
        ],
        env=_environment(), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield "cam0"
    finally:
        sender.terminate()
        sender.wait(PATIENCE_S)


@pytest.mark.slow
def test_every_query_of_the_dashboard_finds_what_it_asks_for(container: Container, stream: str) -> None:
    _wait_until(lambda: re.search(rf'frames_published_total{{stream="{stream}"}} [1-9]', container.scrape()))
    exported = _exported(container.scrape())
    # Prometheus adds these when it scrapes.
    scraped = {"job", "instance"}
    for title, query in _queries().items():
        for metric, labels in _selectors(query).items():
            assert metric in exported, f"{title}: {metric} is not exported"
            assert labels <= exported[metric] | scraped, title


@pytest.mark.slow
def test_the_container_stops_when_the_engine_asks(container: Container) -> None:
    (stop,) = named(stages("cpu")[-1], "STOPSIGNAL")
    container.process.send_signal(getattr(signal, stop.value))
    assert container.process.wait(PATIENCE_S) == 0

"""The images, the compose file and the dashboard, held to account without a container engine.

tests/test_docker_install.py runs the steps by which an image installs the server.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from poseloop_server.settings import Settings
from poseloop_server.settings_sources import load_settings

from tests.docker_files import (
    DOCKER,
    IMAGES,
    ROOT,
    container_ports,
    container_settings,
    instructions,
    named,
    port_of,
    stages,
)

PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*$")
SECRET = re.compile(r"PASSW|SECRET|TOKEN|API_?KEY|CREDENTIAL|PRIVATE", re.IGNORECASE)

# Dockerfiles


@pytest.mark.parametrize("image", IMAGES)
def test_every_stage_starts_from_the_same_pinned_base(image: str) -> None:
    bases = {stage[0].words[0] for stage in stages(image)}
    assert len(stages(image)) > 1
    assert len(bases) == 1
    assert PINNED.match(bases.pop())


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_runs_as_nobody_in_particular(image: str) -> None:
    final = stages(image)[-1]
    (user,) = named(final, "USER")
    uid, _, gid = user.value.partition(":")
    # Numbers, so that an engine that demands a user other than root can tell without reading /etc/passwd.
    assert int(uid) > 0
    assert int(gid) > 0
    names = [instruction.name for instruction in final]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert not [part for part in final[names.index("USER") :] if part.name in ("RUN", "COPY", "ADD")]


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_holds_nothing_that_only_its_making_needs(image: str) -> None:
    final = stages(image)[-1]
    for instruction in instructions(image):
        assert "apt-get" not in instruction.value
        assert instruction.name != "ADD"
        assert not SECRET.search(instruction.value)
        if instruction.name == "RUN" and "pip " in instruction.value:
            assert "--no-cache-dir" in instruction.value
    assert not [step for step in named(final, "RUN") if "pip" in step.value]


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_exists_and_reaches_the_engine(image: str) -> None:
    for step in named([part for stage in stages(image) for part in stage], "COPY"):
        if step.value.startswith("--from="):
            continue
        for source in step.words[:-1]:
            assert (ROOT / source).exists(), source
            assert not _ignored(source), f"{source} is kept back by .dockerignore"


def _ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path back: the last pattern that matches it or a folder above decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if pattern and not line.startswith("#") and (fnmatch(path, pattern) or path.startswith(pattern + "/")):
            ignored = not line.startswith("!")
    return ignored


@pytest.mark.parametrize("path", [".git/config", ".venv/bin/python", "tests/models.py", "docker/compose.yaml"])
def test_what_is_not_copied_stays_behind(path: str) -> None:
    assert _ignored(path)


@pytest.mark.parametrize("image", IMAGES)
def test_health_check_and_entry_point_run_what_is_in_the_image(image: str) -> None:
    final = stages(image)[-1]
    copied = {
        f"{step.words[-1].rstrip('/')}/{Path(source).name}"
        for step in named(final, "COPY")
        for source in step.words[:-1]
    }
    (check,) = named(final, "HEALTHCHECK")
    assert check.exec_form[0] == "python"
    assert check.exec_form[1] in copied
    options = dict(part.removeprefix("--").split("=") for part in check.value.split() if part.startswith("--"))
    assert options.keys() <= {"interval", "timeout", "start-period", "start-interval", "retries"}

    (entry,) = named(final, "ENTRYPOINT")
    assert entry.exec_form[:2] == ["poseloop", "serve"]
    assert entry.exec_form[entry.exec_form.index("--config") + 1] in copied


@pytest.mark.parametrize("image", IMAGES)
def test_ports_and_models_are_those_of_the_settings(image: str) -> None:
    final = stages(image)[-1]
    (expose,), (volume,) = named(final, "EXPOSE"), named(final, "VOLUME")
    assert {int(port) for port in expose.value.split()} == container_ports()
    assert volume.value == container_settings().models_dir.as_posix()


@pytest.mark.parametrize("image", IMAGES)
def test_variables_of_the_image_are_settings(image: str) -> None:
    values = " ".join(step.value for step in named(stages(image)[-1], "ENV"))
    variables = dict(re.findall(r"(POSELOOP_\w+)=(\S+)", values))
    load_settings(environment=variables)
    assert {name.removeprefix("POSELOOP_").lower() for name in variables} <= Settings.model_fields.keys()


def test_only_a_container_listens_beyond_loopback() -> None:
    plain = load_settings(environment={})
    assert plain.listen_address.is_loopback
    assert "127.0.0.1" in plain.publish
    assert not container_settings().listen_address.is_loopback


# Compose, Prometheus, Grafana


def _yaml(path: str) -> Any:
    return yaml.safe_load((DOCKER / path).read_text())


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return _yaml("compose.yaml")["services"]


def test_the_compose_file_has_the_three_services(services: dict[str, Any]) -> None:
    assert services.keys() == {"server", "prometheus", "grafana"}


def test_every_published_port_is_on_the_hosts_loopback(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service["ports"]]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert {port_of(port) for port in services["server"]["ports"]} <= container_ports()


def test_images_are_pinned_and_dockerfiles_exist(services: dict[str, Any]) -> None:
    for service in services.values():
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        else:
            assert PINNED.match(service["image"])
    gpu = _yaml("compose.gpu.yaml")["services"]
    assert gpu.keys() <= services.keys()
    assert (ROOT / gpu["server"]["build"]["dockerfile"]).is_file()


def test_volumes_are_declared_and_bound_files_exist(services: dict[str, Any]) -> None:
    declared = _yaml("compose.yaml")["volumes"].keys()
    for service in services.values():
        for volume in service["volumes"]:
            # ${VARIABLE:-default} stands for its default.
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
            assert source in declared or (DOCKER / source).exists(), volume
    mounted = [volume.split(":")[-2:] for volume in services["server"]["volumes"]]
    assert ["/models", "ro"] in mounted


def test_services_have_no_more_rights_than_they_need(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert not service.keys() & {"privileged", "network_mode", "pid", "cap_add"}
        assert not [name for name in service.get("environment", {}) if SECRET.search(name) and "DISABLE" not in name]


def test_the_servers_variables_are_settings(services: dict[str, Any]) -> None:
    keys = {name.removeprefix("POSELOOP_").lower() for name in services["server"]["environment"]}
    assert keys <= Settings.model_fields.keys()


def test_prometheus_reads_the_server_and_grafana_reads_prometheus(services: dict[str, Any]) -> None:
    (job,) = _yaml("prometheus.yml")["scrape_configs"]
    ((target,),) = [config["targets"] for config in job["static_configs"]]
    assert target.split(":")[0] in services
    assert port_of(target) == port_of(container_settings().metrics)

    (source,) = _yaml("grafana/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == f"http://prometheus:{port_of(services['prometheus']['ports'][0])}"
    assert source["type"] == "prometheus"


def test_grafana_finds_its_dashboard(services: dict[str, Any]) -> None:
    (provider,) = _yaml("grafana/providers/poseloop.yaml")["providers"]
    mounts = {volume.split(":")[1]: volume.split(":")[0] for volume in services["grafana"]["volumes"]}
    folder = provider["options"]["path"]
    assert mounts[folder] == "./grafana/dashboards"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(folder)
    assert (DOCKER / mounts[folder] / Path(home).name).is_file()

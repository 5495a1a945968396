"""What can be set: each key has a default, a place in one YAML file, an environment variable and a flag.

The flag of the key ``max_frame_pixels`` is ``--max-frame-pixels``, its variable ``POSELOOP_MAX_FRAME_PIXELS``. A flag
wins over the environment, that over the file, and that over the default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from poseloop.crop import Crop, parse_crop
from poseloop.errors import InvalidInputError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
)

from poseloop_server.placement import Placement, cores_of, default_threads, parse_cores, usable_cores
from poseloop_server.provider_options import CpuOptions, ProviderOptions, read_options

OFF = "off"


class HostPort(NamedTuple):
    """A TCP address; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Read ``host:port`` or ``[ipv6]:port``.

        Raises:
            ValueError: it is not of that form.
        """
        host, separator, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (separator and host and port.isdecimal() and int(port) < 65536):
            raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:50051")
        return cls(host, int(port))


def _as_list(value: object) -> object:
    """Let one value stand for a list of one, and commas separate the values of an environment variable."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _off(value: object) -> object:
    """Take YAML's `off`, which is false to its parser, as the word that it is."""
    return OFF if value is False else value


def _off_is_0(value: object) -> object:
    """Take `off` as no priority."""
    return 0 if value is False or value == OFF else value


OffOr = Annotated[str, BeforeValidator(_off)]


class Settings(BaseModel):
    """Everything that decides how a server runs; the descriptions are the flags' help."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default_factory=list,
        description="Model file to serve, as [NAME=]PATH; may be given several times. None: the bundled arena model.",
    )
    models_dir: Path | None = Field(None, description="Folder that clients may load further models from.")
    listen: str = Field("127.0.0.1:50051", description="HOST:PORT of the gRPC services; port 0: a free one.")
    publish: str = Field("tcp://127.0.0.1:5557", description="ZeroMQ endpoint for poses as protobuf.")
    publish_json: Annotated[str, BeforeValidator(_off)] = Field(
        OFF, description="ZeroMQ endpoint for poses as JSON, or off."
    )
    metrics: Annotated[str, BeforeValidator(_off)] = Field(
        OFF, description="HOST:PORT of Prometheus metrics over HTTP, or off; usually 127.0.0.1:9464."
    )
    provider: Literal["cpu", "openvino", "cuda", "tensorrt"] = Field(
        "cpu", description="What runs the models: cpu, openvino, cuda or tensorrt."
    )
    provider_options: SerializeAsAny[ProviderOptions] = Field(
        default_factory=CpuOptions,
        validate_default=True,
        description="Options of the provider, as KEY=VALUE,KEY=VALUE; docs/runtime.md lists them.",
    )
    threads: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(
        "auto",
        description="CPU threads of each model; auto: half the cores, divided among the models, 1 to 4.",
    )
    model_threads: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default_factory=list, description="CPU threads of one model, as NAME=COUNT; may be given several times."
    )
    cores: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default_factory=list,
        description="Cores that models' threads are pinned to, as [NAME=]2 or [NAME=]2-5; may be given several times. "
        "None: the system chooses. Linux only.",
    )
    crop: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default_factory=list,
        description="Window that follows the one animal of a stream, as [NAME=]WIDTHxHEIGHT or [NAME=]off, for streams "
        "of the model that ask for none themselves; may be given several times. None: whole frames.",
    )
    max_batch_frames: Annotated[int, Field(ge=1, le=64)] = Field(
        8,
        description="Most frames of several live streams that are inferred together, where the times measured at "
        "warm-up say that it makes the latest pose younger; 1: never.",
    )
    realtime: Annotated[int, BeforeValidator(_off_is_0), Field(ge=0, le=99)] = Field(
        0, description="SCHED_FIFO priority of the models' threads, 1 to 99, on Linux; 0: the ordinary one."
    )
    lock_memory: bool = Field(False, description="Keep all memory of the server from being paged out, on Linux.")
    warm_up_runs: Annotated[int, Field(ge=1, le=1000)] = Field(
        10, description="Inferences before a model counts as ready; their median is its inference time."
    )
    window_live_frames: Annotated[int, Field(ge=1, le=64)] = Field(
        2, description="Unacknowledged frames that a live client may have on the way."
    )
    window_lossless_frames: Annotated[int, Field(ge=1, le=1024)] = Field(
        8, description="Unpublished frames that a lossless client may have on the way or waiting here."
    )
    shared_memory: bool = Field(
        True, description="Whether clients of this host and user may hand frames over through shared memory."
    )
    keep_warm: bool = Field(
        True,
        description="Whether models' threads rehearse a turn just before a live stream's next frame is due, to find "
        "the caches warm; takes some hundredths of a core.",
    )
    max_message_mib: Annotated[int, Field(ge=1, le=1024)] = Field(64, description="Largest gRPC message taken, in MiB.")
    max_frame_pixels: Annotated[int, Field(ge=1)] = Field(
        36_000_000, description="Largest width x height taken; a JPEG is checked before it is decoded."
    )
    infer_queue_requests: Annotated[int, Field(ge=1, le=10_000)] = Field(
        64, description="Requests of the Open Inference Protocol that may wait for each model."
    )
    publish_queue_messages: Annotated[int, Field(ge=1, le=100_000)] = Field(
        256,
        description="Messages kept for a slow subscriber; what is over is dropped, and it can tell by the sequence.",
    )
    statistics_window_s: Annotated[float, Field(gt=0, le=600)] = Field(
        5.0, description="How far back frame rates and latency percentiles look, in seconds."
    )
    shutdown_grace_s: Annotated[float, Field(ge=0, le=600)] = Field(
        5.0, description="Longest wait for frames in flight when stopping, in seconds."
    )
    loop: Path | None = Field(
        None, description="YAML file of an experiment's stages, triggers, outputs and record; docs/triggers.md."
    )
    announce: Path | None = Field(None, description="File to write the real addresses to, as JSON, once ready.")

    @field_validator("provider_options", mode="before")
    @classmethod
    def _options_are_the_providers(cls, value: object, info: ValidationInfo) -> ProviderOptions:
        return read_options(info.data.get("provider", "cpu"), value)

    @field_validator("listen")
    @classmethod
    def _listen_is_an_address(cls, value: str) -> str:
        HostPort.parse(value)
        return value

    @field_validator("metrics")
    @classmethod
    def _metrics_is_an_address_or_off(cls, value: str) -> str:
        if value != OFF:
            HostPort.parse(value)
        return value

    @field_validator("model_threads")
    @classmethod
    def _model_threads_are_counts(cls, values: list[str]) -> list[str]:
        for value in values:
            name, separator, count = value.partition("=")
            if not (separator and name and count.isdecimal() and 1 <= int(count) <= 256):
                raise ValueError(f"{value!r} is not NAME=COUNT with a count of 1 to 256")
        return values

    @field_validator("crop")
    @classmethod
    def _crops_are_crops(cls, values: list[str]) -> list[str]:
        for value in values:
            try:
                parse_crop(value.rpartition("=")[2])
            except InvalidInputError as error:
                raise ValueError(str(error)) from None
        return values

    @field_validator("cores", "crop", mode="before")
    @classmethod
    def _one_may_be_a_number_or_off(cls, values: object) -> object:
        if values is False:
            return []
        if isinstance(values, int):
            return [str(values)]
        return [str(one) if isinstance(one, int) else one for one in values] if isinstance(values, list) else values

    @field_validator("cores")
    @classmethod
    def _cores_are_cores(cls, values: list[str]) -> list[str]:
        for value in values:
            parse_cores(value)
        return values

    @field_validator("publish", "publish_json")
    @classmethod
    def _endpoint_has_a_transport(cls, value: str) -> str:
        if value != OFF and not value.startswith(("tcp://", "ipc://", "inproc://")):
            raise ValueError(f"{value!r} is not a ZeroMQ endpoint, such as tcp://127.0.0.1:5557")
        return value

    @field_validator("publish")
    @classmethod
    def _publish_is_on(cls, value: str) -> str:
        if value == OFF:
            raise ValueError("poses are always published; give an endpoint such as tcp://127.0.0.1:5557")
        return value

    def placement(self, name: str, models: int = 1) -> Placement:
        """Return where a model's threads run.

        Args:
            name: of the model.
            models: how many the server was started with.
        """
        threads = dict(entry.split("=", 1) for entry in self.model_threads).get(name)
        if threads is None:
            threads = str(default_threads(usable_cores(), models) if self.threads == "auto" else self.threads)
        return Placement(int(threads), cores_of(self.cores, name))

    def crop_of(self, name: str) -> Crop | None:
        """Return the window of a model's streams that ask for none themselves."""
        by_name = {entry.rpartition("=")[0]: entry.rpartition("=")[2] for entry in self.crop}
        text = by_name.get(name, by_name.get(""))
        return None if text is None else parse_crop(text)

    @property
    def listen_address(self) -> HostPort:
        """The address of the gRPC services."""
        return HostPort.parse(self.listen)

    @property
    def metrics_address(self) -> HostPort | None:
        """The address of the metrics, or None where they are off."""
        return None if self.metrics == OFF else HostPort.parse(self.metrics)

    @property
    def publish_json_endpoint(self) -> str | None:
        """The endpoint of the JSON publisher, or None where it is off."""
        return None if self.publish_json == OFF else self.publish_json

"""Prometheus metrics over HTTP; all of it is read when a scrape asks, and the path of a frame knows nothing of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import accumulate
from threading import Thread
from wsgiref.simple_server import WSGIServer

from poseloop.errors import InvalidInputError
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from poseloop_server.loop.experiment import LiveExperiment
from poseloop_server.model import PoseModel
from poseloop_server.settings import HostPort
from poseloop_server.sinks.base import Sinks
from poseloop_server.statistics import BUCKETS_MS, Histogram
from poseloop_server.stream_table import StreamTable, Totals


class PoseCollector(Collector):
    """Turns the streams' accounts into metrics.

    Args:
        table: the streams.
        models: returns the models that are loaded.
        sinks: what poses end in.
        experiment: acts on poses; None: nothing does.
    """

    def __init__(
        self,
        table: StreamTable,
        models: Callable[[], list[PoseModel]],
        sinks: Sinks,
        experiment: LiveExperiment | None = None,
    ) -> None:
        self._table = table
        self._models = models
        self._sinks = sinks
        self._experiment = experiment

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        totals = self._table.totals()
        models = self._models()
        yield from _frame_counters(totals)
        yield from _durations(totals)
        yield from self._waiting(models)
        yield from _loaded(models)
        lost = CounterMetricFamily(
            "poseloop_messages_lost", "Messages that a sink gave up before they left", labels=["sink"]
        )
        for name, count in self._sinks.lost().items():
            lost.add_metric([name], count)
        yield lost
        if self._experiment is not None:
            yield from _acts(self._experiment)

    def _waiting(self, models: list[PoseModel]) -> Iterator[Metric]:
        mailbox = GaugeMetricFamily("poseloop_mailbox_frames", "Frames that wait for inference", labels=["stream"])
        queue = GaugeMetricFamily("poseloop_queue_frames", "Frames that wait for a model", labels=["model"])
        depth = {model.name: 0 for model in models}
        for stream in self._table.open_streams():
            waiting = len(stream.mailbox)
            mailbox.add_metric([stream.identity.name], waiting)
            depth[stream.identity.model] = depth.get(stream.identity.model, 0) + waiting
        for name, frames in depth.items():
            queue.add_metric([name], frames)
        yield from (mailbox, queue)


def _loaded(models: list[PoseModel]) -> Iterator[Metric]:
    info = InfoMetricFamily("poseloop_model", "What really runs a model", labels=["model"])
    inference = GaugeMetricFamily(
        "poseloop_model_inference_seconds", "Inference of one native frame, measured at warm-up", labels=["model"]
    )
    for model in models:
        said = {
            "provider": model.provider,
            "device": model.device,
            "precision": model.precision,
            "threads": str(model.threads),
            "options": str(model.options),
        }
        info.add_metric([model.name], said)
        inference.add_metric([model.name], model.inference_ms / 1e3)
    yield from (info, inference)


def _acts(experiment: LiveExperiment) -> Iterator[Metric]:
    fired = CounterMetricFamily("poseloop_trigger_fired", "Rises that fired", labels=["stream", "trigger"])
    suppressed = CounterMetricFamily(
        "poseloop_trigger_suppressed", "Rises that did not fire", labels=["stream", "trigger", "reason"]
    )
    failed = CounterMetricFamily("poseloop_stage_failures", "Poses that a stage failed on", labels=["stream", "stage"])
    for stream, loop in experiment.loops.items():
        for stage, count in loop.chain.stage_failures.items():
            failed.add_metric([stream, stage], count)
        for trigger in loop.chain.status():
            fired.add_metric([stream, trigger.name], trigger.fired)
            for reason, count in trigger.suppressed.items():
                suppressed.add_metric([stream, trigger.name, reason], count)
    commands = CounterMetricFamily("poseloop_commands", "Commands, by how they ended", labels=["output", "status"])
    connected = GaugeMetricFamily("poseloop_output_connected", "Whether an output is there", labels=["output"])
    for name, output in experiment.outputs.items():
        account = output.account()
        connected.add_metric([name], account.connected)
        for status, count in account.commands.items():
            commands.add_metric([name, status.value], count)
    lost = CounterMetricFamily("poseloop_record_entries_lost", "Entries that the record lacks")
    lost.add_metric([], experiment.record_lost)
    yield from (fired, suppressed, failed, commands, connected, lost)


def _frame_counters(totals: dict[str, Totals]) -> Iterator[Metric]:
    received = CounterMetricFamily("poseloop_frames_received", "Frames that arrived", labels=["stream"])
    published = CounterMetricFamily("poseloop_frames_published", "Poses published", labels=["stream"])
    dropped = CounterMetricFamily("poseloop_frames_dropped", "Frames given up on", labels=["stream", "place"])
    for name, sums in totals.items():
        received.add_metric([name], sums.received)
        published.add_metric([name], sums.published)
        dropped.add_metric([name, "outbox"], sums.dropped_outbox)
        dropped.add_metric([name, "connection"], sums.lost_connection)
        dropped.add_metric([name, "rate"], sums.dropped_rate)
        dropped.add_metric([name, "mailbox"], sums.dropped_mailbox)
        dropped.add_metric([name, "failed"], sums.failed)
    yield from (received, published, dropped)


def _durations(totals: dict[str, Totals]) -> Iterator[Metric]:
    age = HistogramMetricFamily("poseloop_age_seconds", "Captured to published", labels=["stream"])
    stage = HistogramMetricFamily("poseloop_stage_seconds", "Parts of it on the server", labels=["stream", "stage"])
    for name, sums in totals.items():
        spent = sums.latencies
        age.add_metric([name], _buckets(spent.age), spent.age.sum_ms / 1e3)
        for part, histogram in (
            ("wait", spent.wait),
            ("inference", spent.inference),
            ("stages", spent.stages),
            ("publish", spent.publish),
        ):
            stage.add_metric([name, part], _buckets(histogram), histogram.sum_ms / 1e3)
    yield from (age, stage)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [str(bound / 1e3) for bound in BUCKETS_MS] + ["+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


class _ProcessCollector(Collector):
    """The process's own metrics where prometheus_client has none, which reads /proc; by the same names."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()

    def collect(self) -> Iterator[Metric]:
        """Yield memory and processor time."""
        memory, spent = self._process.memory_info(), self._process.cpu_times()
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory size in bytes.", memory.rss)
        yield GaugeMetricFamily("process_virtual_memory_bytes", "Virtual memory size in bytes.", memory.vms)
        yield CounterMetricFamily("process_cpu_seconds", "User and system time spent.", spent.user + spent.system)


class MetricsEndpoint:
    """An HTTP server that answers scrapes at ``/metrics``.

    Raises:
        InvalidInputError: the address is taken.
    """

    def __init__(self, address: HostPort, collector: PoseCollector) -> None:
        registry = CollectorRegistry()
        registry.register(collector)
        if sys.platform == "linux":
            ProcessCollector(registry=registry)
        else:
            registry.register(_ProcessCollector())
        GCCollector(registry=registry)
        self._server: WSGIServer
        self._thread: Thread
        try:
            self._server, self._thread = start_http_server(address.port, address.host, registry)
        except OSError as error:
            raise InvalidInputError(
                f"metrics can't be served at {address}: {error.strerror}; choose another address with --metrics."
            ) from None
        self.address = HostPort(address.host, self._server.server_port)

    def close(self) -> None:
        """Answer no more scrapes."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

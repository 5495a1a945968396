"""Prometheus metrics over HTTP; all of it is read when a scrape asks, and the path of a frame knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from threading import Thread
from wsgiref.simple_server import WSGIServer

from poseloop.errors import InvalidInputError
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from poseloop_server.model import PoseModel
from poseloop_server.settings import HostPort
from poseloop_server.statistics import BUCKETS_MS, Histogram
from poseloop_server.stream_table import StreamTable, Totals


class PoseCollector(Collector):
    """Turns the streams' accounts into metrics.

    Args:
        table: the streams.
        models: returns the models that are loaded.
    """

    def __init__(self, table: StreamTable, models: Callable[[], list[PoseModel]]) -> None:
        self._table = table
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        totals = self._table.totals()
        yield from _frame_counters(totals)
        yield from _durations(totals)
        yield from self._waiting()
        yield from self._loaded_models()

    def _waiting(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("poseloop_mailbox_frames", "Frames that wait for inference", labels=["stream"])
        for stream in self._table.open_streams():
            waiting.add_metric([stream.identity.name], len(stream.mailbox))
        yield waiting

    def _loaded_models(self) -> Iterator[Metric]:
        labels = ["model", "provider", "device", "precision"]
        inference = GaugeMetricFamily(
            "poseloop_model_inference_seconds", "Inference of one native frame, measured at warm-up", labels=labels
        )
        for model in self._models():
            inference.add_metric([model.name, model.provider, model.device, model.precision], model.inference_ms / 1e3)
        yield inference


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
    wait = HistogramMetricFamily("poseloop_wait_seconds", "Received to inference started", labels=["stream"])
    inference = HistogramMetricFamily("poseloop_inference_seconds", "Inference", labels=["stream"])
    for name, sums in totals.items():
        for metric, histogram in (
            (age, sums.latencies.age),
            (wait, sums.latencies.wait),
            (inference, sums.latencies.inference),
        ):
            metric.add_metric([name], _buckets(histogram), histogram.sum_ms / 1e3)
    yield from (age, wait, inference)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [str(bound / 1e3) for bound in BUCKETS_MS] + ["+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


class MetricsEndpoint:
    """An HTTP server that answers scrapes at ``/metrics``.

    Raises:
        InvalidInputError: the address is taken.
    """

    def __init__(self, address: HostPort, collector: PoseCollector) -> None:
        registry = CollectorRegistry()
        registry.register(collector)
        ProcessCollector(registry=registry)
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

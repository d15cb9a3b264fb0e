"""Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from api.http.admission import AdmissionLimiter
from api.library.library import Library
from api.services.warmup import Readiness
from api.tracing import STAGES, Stage

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# From a prompt on an encoded photo (tens of ms) to encoding a photo on a CPU (seconds).
BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self, library: Library, limiter: AdmissionLimiter, readiness: Readiness) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "segsearch_requests",
            "Requests by route, method and status.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._request_s = Histogram(
            "segsearch_request_seconds",
            "Time from a request's arrival to the first byte of its response.",
            ("route", "method"),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._stage_s = Histogram(
            "segsearch_stage_seconds",
            "Stages of requests: CLIP, vector search, SAM encoder, SAM prompt, photo decoding.",
            ("stage",),
            buckets=BUCKETS_S,
            registry=registry,
        )
        for stage in STAGES:  # exports each from the start, as 0
            self._stage_s.labels(stage)
        waiting = Gauge(
            "segsearch_segmenting_waiting",
            "Requests that wait to decode or segment.",
            registry=registry,
        )
        waiting.set_function(lambda: limiter.waiting)
        running = Gauge(
            "segsearch_segmenting_running", "Requests that decode or segment.", registry=registry
        )
        running.set_function(lambda: limiter.running)
        registry.register(_LibrarySize(library))
        registry.register(_Loading(readiness))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the path template, which bounds the number of labels."""
        self._requests.labels(route, method, str(status)).inc()
        self._request_s.labels(route, method).observe(seconds)

    def count_stage(self, stage: Stage, seconds: float) -> None:
        """Count a stage of a request."""
        self._stage_s.labels(stage).observe(seconds)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)


class _LibrarySize(Collector):
    """Counts of the library, read from its ledger at each scrape."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Describe the metric without reading the ledger."""
        yield GaugeMetricFamily("segsearch_library", "Counts of the library.", labels=["what"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the counts of `GET /v1/library`."""
        for family in self.describe():
            for what, count in self._library.ledger().counts().items():
                family.add_metric([what], count)
            yield family


class _Loading(Collector):
    """Which parts are ready, and how long each took to load."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the current state; nothing is loaded for it."""
        ready = GaugeMetricFamily("segsearch_ready", "1 if a part is ready.", labels=["part"])
        for part, is_ready in self._readiness.ready_parts().items():
            ready.add_metric([part], is_ready)
        yield ready
        load_s = GaugeMetricFamily(
            "segsearch_load_seconds", "How long a part took to load.", labels=["part"]
        )
        for part, seconds in self._readiness.load_s.items():
            load_s.add_metric([part], seconds)
        yield load_s

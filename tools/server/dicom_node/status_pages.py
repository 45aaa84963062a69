"""/healthz and /metrics of a node, with the access rules of the HTTP API."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cxrloc.tools.server.dicom_node.durable_queue.images import DurableQueue
from cxrloc.tools.server.dicom_node.durable_queue.states import STATES
from cxrloc.tools.server.http.access import GuardedApp, QuietApp
from cxrloc.tools.server.http.connections import PunctualServer, protocol_with_deadline
from cxrloc.tools.server.http.metrics import SECONDS

Others = Callable[[], Mapping[str, Mapping[str, str]]]  # see `Node.others`


class NodeMetrics:
    """Figures of a node for Prometheus; what is counted is counted on over restarts."""

    def __init__(self, queue: DurableQueue) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_QueueCollector(queue))
        self._seconds = Histogram(
            "cxrloc_image_seconds",
            "Time of an image",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def watch(self, others: Others) -> None:
        """Show sources and destinations from now on, and which of them fail."""
        self.registry.register(_OthersCollector(others))

    def observe(self, stage: str, seconds: float) -> None:
        """Note what a stage of an image took."""
        self._seconds.labels(stage).observe(seconds)


class _QueueCollector(Collector):
    def __init__(self, queue: DurableQueue) -> None:
        self.queue = queue

    def collect(self) -> Iterator[Metric]:
        states = self.queue.states()
        images = GaugeMetricFamily("cxrloc_node_images", "Images by state", labels=["state"])
        for state in STATES:
            images.add_metric([state], states.get(state, 0))
        yield images
        waiting = self.queue.deliveries.waiting()
        files = GaugeMetricFamily(
            "cxrloc_node_files_to_send", "Files not yet sent", labels=["destination"]
        )
        for destination, number in waiting.items():
            files.add_metric([destination], number)
        yield files
        held = self.queue.load()[1]
        yield GaugeMetricFamily("cxrloc_node_bytes", "Bytes of all files", value=held)
        events = CounterMetricFamily(
            "cxrloc_node_events", "What became of objects, since the first start", labels=["event"]
        )
        for event, number in self.queue.database.counts().items():
            events.add_metric([event], number)
        yield events


class _OthersCollector(Collector):
    def __init__(self, others: Others) -> None:
        self.others = others

    def collect(self) -> Iterator[Metric]:
        meaning = "Whether the last attempt to ask or to send failed there (1) or not (0)"
        failing = GaugeMetricFamily("cxrloc_node_failing", meaning, labels=["role", "name"])
        for role, members in self.others().items():
            for name, fault in members.items():
                failing.add_metric([role.removesuffix("s"), name], bool(fault))
        yield failing


def status_app(
    queue: DurableQueue,
    metrics: NodeMetrics,
    faults: Callable[[], Sequence[str]],
    others: Others,
    token: str | None,
) -> GuardedApp:
    """Build the two pages.

    Args:
        queue: whose images are counted.
        metrics: what /metrics shows.
        faults: what is wrong with the node now; /healthz is 503 where something is.
        others: those whom the node depends on, which it names there.
        token: what clients of /metrics must send; None accepts those on this machine.
    """

    def healthz(request: Request) -> Response:
        wrong, known = list(faults()), others()
        failing = [
            fault if fault.startswith(name) else f"{name}: {fault}"
            for members in known.values()
            for name, fault in members.items()
            if fault
        ]
        content = {
            "status": "; ".join([*wrong, *failing]) or "ok",
            "images_waiting": queue.load()[0],
            **{role: {n: f or "ok" for n, f in members.items()} for role, members in known.items()},
        }
        return JSONResponse(content, 503 if wrong else 200)

    def metrics_page(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    routes = [Route("/healthz", healthz), Route("/metrics", metrics_page)]
    return GuardedApp(QuietApp(Starlette(routes=routes)), token)


class StatusServer:
    """Serves an app in a thread.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        fault: none that could still be shown.
    """

    fault = ""

    def __init__(
        self,
        app: GuardedApp,
        host: str,
        port: int,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        import uvicorn

        self.host, self.port = host, port
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=protocol_with_deadline(),
            log_level="critical",
            lifespan="off",
            timeout_graceful_shutdown=1,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        self._server = PunctualServer(config)
        self._thread = threading.Thread(target=self._serve, name="status pages", daemon=True)

    def start(self) -> None:
        """Serve from now on.

        Raises:
            OSError: when the port cannot be listened on.
        """
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            self._thread.join(0.05)
        if not self._server.started:
            raise OSError(
                f"cannot listen on {self.host}:{self.port} for /healthz and /metrics; is the port "
                "taken? Choose another --health-port"
            )

    def stop(self) -> None:
        """Serve no longer."""
        self._server.should_exit = True

    def _serve(self) -> None:
        try:
            asyncio.run(self._server.serve())
        except SystemExit:  # uvicorn's word for a port that is taken
            return

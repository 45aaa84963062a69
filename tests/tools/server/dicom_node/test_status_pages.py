"""/healthz and /metrics of a node: its own parts, and those whom it depends on."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from cxrloc.tools.server.dicom_node.receiving.intake import Intake
from cxrloc.tools.server.dicom_node.status_pages import NodeMetrics, status_app


def test_pages_tell_health_and_figures(intake: Intake, image: Path) -> None:
    intake.take(image.read_bytes())
    faults: list[str] = []
    metrics = NodeMetrics(intake.queue)
    metrics.observe("networks", 0.3)
    token = "t" * 16
    others = {"sources": {"https://pacs": ""}, "destinations": {"ARCHIVE@h:1": ""}}
    metrics.watch(lambda: others)
    app = status_app(intake.queue, metrics, lambda: faults, lambda: others, token)
    client = TestClient(app, base_url="http://127.0.0.1")
    well = {"sources": {"https://pacs": "ok"}, "destinations": {"ARCHIVE@h:1": "ok"}}
    assert client.get("/healthz").json() == {"status": "ok", "images_waiting": 1, **well}
    others["destinations"]["ARCHIVE@h:1"] = "does not answer"
    answer = client.get("/healthz")  # a restart would not mend it
    assert (answer.status_code, answer.json()["status"]) == (200, "ARCHIVE@h:1: does not answer")
    assert answer.json()["destinations"] == {"ARCHIVE@h:1": "does not answer"}
    assert client.get("/metrics").status_code == 401
    text = client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).text
    assert 'cxrloc_node_images{state="received"} 1.0' in text
    assert 'cxrloc_node_events_total{event="received"} 1.0' in text
    assert 'cxrloc_image_seconds_count{stage="networks"} 1.0' in text
    assert 'cxrloc_node_failing{name="https://pacs",role="source"} 0.0' in text
    assert 'cxrloc_node_failing{name="ARCHIVE@h:1",role="destination"} 1.0' in text
    faults.append("the predictor fails: OSError")
    assert client.get("/healthz").status_code == 503

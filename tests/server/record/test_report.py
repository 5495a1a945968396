import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from random import Random

import numpy as np
import pytest
from poseloop.errors import InvalidInputError
from poseloop_server.loop.shapes import Circle, Polygon
from poseloop_server.outputs.base import Outcome, Status
from poseloop_server.record.encode import packed
from poseloop_server.record.header import Experiment
from poseloop_server.record.reader import Log
from poseloop_server.record.report.collect import NO_OUTCOME, collect
from poseloop_server.record.report.page import page_of
from poseloop_server.record.report.places import inside
from poseloop_server.record.report.write import write_report

from tests.server.record.logs import NAMES, begin, command, decision, keypoints, pose
from tests.server.record.sessions import Session, random_configuration

ZONES = {
    "left": {"rectangle": {"left": 0, "top": 0, "right": 100, "bottom": 200}},
    "all": {"circle": {"center": [0.5, 0.5], "radius": 1}, "unit": "fraction"},
}
CONFIGURATION = {
    "values": {
        "streams": {"*": {"zones": ZONES, "triggers": {"near": {"when": "snout in left"}, "far": {"when": "1"}}}}
    }
}


class _Page(HTMLParser):
    """What a page refers to, and whether each element ends."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "path", "use", "rect", "stop", "image"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        while self.open.pop() != tag:
            pass


def checked(text: str) -> str:
    """A page that needs nothing from elsewhere, and whose pictures are sound."""
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert all(link.startswith(("#", "data:image/png")) for link in page.links)
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    for picture in pictures:
        ElementTree.fromstring(picture.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    names = re.findall(r' id="([^"]+)"', text)
    assert len(names) == len(set(names))
    return text


def test_figures_of_a_log_are_those_that_were_put_in(tmp_path: Path) -> None:
    writer = begin(tmp_path, experiment=Experiment("<b>", {**CONFIGURATION, "text": "a: <i>"}))
    writer.stream_opened("cam0", "mouse", "ab" * 32, NAMES)
    for number in (1, 2, 5, 6, 7):
        at = keypoints((50 if number < 5 else 150, 100, 0.9), (10, 10, 0.4))
        writer.pose(pose(number, at=at), (decision(number, number),) if number in (1, 6) else ())
    writer.pose(pose(8), (decision(0, 8, False, "sham"), decision(0, 8, False, "unreliable: snout below 0.5", "far")))
    sent_ns = command(1, 1).captured_ns + 5_000_000
    writer.outcome(Outcome(command(1, 1), Status.ACKNOWLEDGED, sent_ns, sent_ns + 1_000_000))
    writer.outcome(Outcome(command(2, 2), Status.DROPPED_LATE, message="too late"))
    writer.problem("output laser", "<gone>")
    writer.close()
    found = collect(Log(writer.path))
    assert found.poses == 6
    assert found.streams["cam0"].missing == [(pose(5).captured_ns, 2)]
    near, far = found.triggers["cam0", "near"], found.triggers["cam0", "far"]
    assert (len(near.fired_ns), len(near.sham_ns), dict(far.reasons)) == (2, 1, {"unreliable": 1})
    assert near.commands == {"acknowledged": 1, "dropped_late": 1, NO_OUTCOME: 1}
    laser = found.outputs["laser"]
    assert list(laser.to_sent) == [5.0]
    assert list(laser.to_acknowledged) == [6.0]
    places = found.places["cam0"]
    assert places.shown == ("snout",)
    assert places.inside["left"]["snout"] == pytest.approx(0.04)  # frame 1 until 2, and 2 until 5
    assert places.inside["all"]["snout"] == places.seconds["snout"] == pytest.approx(0.07)
    assert places.maps["snout"].sum() == pytest.approx(0.07)
    assert places.entries["left"]["snout"] == 2
    assert places.fired["snout"] == [(50, 100), (150, 100)]
    text = checked(page_of(found, "log"))
    for words in ("&lt;b&gt;", "&lt;gone&gt;", "a: &lt;i&gt;", "no outcome in the log 1", "5.00", "left", "2 of 3"):
        assert words in text
    assert "<i>" not in text


def test_a_made_up_experiment_is_drawn_and_equal_logs_give_equal_pages(tmp_path: Path) -> None:
    random = Random(5)
    configuration = random_configuration(random, ("cam0",))
    fires = {"when": "speed(neck) > 20", "on_rise": {"laser": {"address": "/on"}}}
    configuration["streams"]["cam0"]["triggers"]["certain"] = fires
    session = Session(tmp_path, random, configuration)
    session.run(600)
    path = session.end()
    page = tmp_path / "a.html"
    summary = write_report(path, page)
    assert summary["poses"] == 600
    assert summary["closed"]
    assert summary["commands"] > 0
    text = checked(page.read_text(encoding="utf-8"))
    assert text.count("<svg") == 4
    write_report(path, tmp_path / "b.html")
    assert (tmp_path / "b.html").read_text(encoding="utf-8") == text
    path.write_bytes(path.read_bytes()[:-400])
    assert write_report(path, page)["torn"]
    assert "is not whole" in checked(page.read_text(encoding="utf-8"))


def test_a_log_of_nothing_is_a_page(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    writer.close()
    assert "There were no triggers" in checked(page_of(collect(Log(writer.path)), "log"))
    path = tmp_path / "header.jsonl"
    path.write_bytes(writer.path.read_bytes().splitlines(keepends=True)[0])
    assert "no closing line" in checked(page_of(collect(Log(path)), "log"))


def test_poses_without_triggers_outputs_or_a_known_configuration_are_a_page(tmp_path: Path) -> None:
    writer = begin(tmp_path, experiment=Experiment("x", {"values": {"streams": [1], "zones": 3}}))
    writer.stream_opened("cam0", "mouse", "ab", NAMES)
    writer.stream_opened("dark", "mouse", "ab", NAMES)
    writer.pose(pose(1))
    writer.pose(pose(2, at=keypoints((1, 2, 0.9), (3, 4, 0.9)), width=100))
    writer.pose(pose(1, "dark", np.full((1, 2, 3), np.nan, np.float32)))
    writer.pose(pose(2, "dark")._replace(keypoints=packed(np.empty((0, 2, 3), np.float32))))
    writer.close()
    text = checked(page_of(collect(Log(writer.path)), "log"))
    assert "No keypoint was seen" in text
    assert "There were no events" in text


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    writer.close()
    with pytest.raises(InvalidInputError, match=r"page .* can't be written: .*; name another"):
        write_report(writer.path, tmp_path / "none" / "page.html")


def places_at(tmp_path: Path, times_s: list[float]) -> tuple[float, float]:
    """Seconds that a keypoint which never moves was seen, and those that it was in a zone around it."""
    writer = begin(tmp_path, experiment=Experiment("x", CONFIGURATION))
    writer.stream_opened("cam0", "mouse", "ab" * 32, NAMES)
    for number, time_s in enumerate(times_s):
        writer.pose(pose(number, at=keypoints((50, 50, 0.9), (1, 1, 0.1)), captured_ns=round(time_s * 1e9)))
    writer.close()
    places = collect(Log(writer.path)).places["cam0"]
    return places.seconds["snout"], places.inside["left"]["snout"]


@pytest.mark.parametrize(
    ("times_s", "expected"),
    [
        (range(61), 60.0),  # one pose a second, each of which stands until the next
        ([*range(20), *range(119, 140)], 19 + 3 + 20),  # the time that the stream was away counts for three intervals
        ([*np.arange(0, 2, 0.01), 10, 10.01], 1.99 + 0.5 + 0.01),  # at 100 a second three intervals are too few
        ([*np.arange(0, 50, 0.01), *np.arange(60, 61, 0.01)], 49.99 + 0.5 + 0.99),  # beyond one block
        ([0, 3600, 3601], 1.0),  # too few to know what is usual: half a second at most
    ],
)
def test_a_pose_stands_for_a_time_that_suits_its_stream(tmp_path: Path, times_s: list[float], expected: float) -> None:
    assert places_at(tmp_path, list(times_s)) == pytest.approx((expected, expected))


@pytest.mark.parametrize(
    "shape", [Circle(10, 20, 7.5), Polygon([(0, 0), (30, 5), (12, 12), (25, 40), (-3, 31)])], ids=["circle", "polygon"]
)
def test_points_are_in_zones_as_triggers_see_it(shape: Circle | Polygon) -> None:
    x, y = np.random.default_rng(1).uniform(-10, 50, (2, 2000))
    expected = [shape.contains(*point) for point in zip(x.tolist(), y.tolist(), strict=True)]
    assert inside(shape, x, y).tolist() == expected

from __future__ import annotations

from fairlead.events.standing import BUS, STORE, Standing
from fairlead.model.events import EventType
from support.event_logs import Noted


def test_what_goes_and_comes_back_is_told_once() -> None:
    now, away, noted = [100.0], {STORE: "", BUS: ""}, Noted()
    standing = Standing({STORE: lambda: away[STORE], BUS: lambda: away[BUS]}, noted, now=lambda: now[0])
    standing.tick()
    assert standing.away() == {}
    away[STORE] = "unplugged"
    assert standing.away() == {STORE: "unplugged"}  # at once
    standing.tick()
    away[STORE] = "still unplugged"
    now[0] = 130.0
    standing.tick()
    away[BUS] = "cut"
    standing.tick()
    assert repr(standing) == "Standing({'store': 'still unplugged', 'bus': 'cut'})"
    away[STORE] = ""
    now[0] = 131.5
    standing.tick()
    standing.tick()
    assert noted.events == [
        (EventType.SERVICE_DEGRADED, STORE, {"part": STORE, "reason": "unplugged"}),
        (EventType.SERVICE_DEGRADED, BUS, {"part": BUS, "reason": "cut"}),
        (EventType.SERVICE_RECOVERED, STORE, {"part": STORE, "seconds": 31.5}),
    ]

from __future__ import annotations

from fairlead.buses import memory
from fairlead.buses.memory import MemoryBus


async def test_a_subscriber_that_lags_too_far_looks_for_itself(monkeypatch) -> None:
    monkeypatch.setattr(memory, "HELD", 3)
    bus = MemoryBus()
    messages = bus.subscribe("a")
    for number in range(4):
        await bus.publish("a", b"%d" % number)
    assert [await anext(messages) for _ in range(2)] == [b"", b"3"]  # all before is in what it looks at
    assert repr(bus) == "<MemoryBus {'a': 1}>"
    await messages.aclose()
    assert repr(bus) == "<MemoryBus {'a': 0}>"

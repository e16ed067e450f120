from __future__ import annotations

import re

import pytest

from fairlead.model.errors import SpecError
from fairlead.model.units import CORES, DURATION, SIZE, Unit


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        (DURATION, "30s", 30.0),
        (DURATION, "500ms", 0.5),
        (DURATION, "1.5 m", 90.0),
        (DURATION, "24h", 86400.0),
        (DURATION, "7d", 604800.0),
        (DURATION, "0.1s", 0.1),
        (SIZE, "512MiB", 512 * 2**20),
        (SIZE, "10MB", 10_000_000),
        (SIZE, "10 kB", 10_000),
        (SIZE, "10KB", 10_000),
        (SIZE, "1.5GiB", 1_610_612_736),
        (SIZE, "7B", 7),
        (CORES, "1 core", 1.0),
        (CORES, "0.5 cores", 0.5),
        (CORES, "250m", 0.25),
    ],
)
def test_a_written_unit_is_read(unit: Unit, text: str, value: float) -> None:
    parsed = unit.parse(text)
    assert parsed == value
    assert isinstance(parsed, type(value))
    assert re.search(unit.pattern, text), "the schema must accept what the loader accepts"


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [(DURATION, "30000", 30.0), (SIZE, "536870912", 512 * 2**20), (CORES, "1024", 1.0), (CORES, "512", 0.5)],
)
def test_a_number_without_a_unit_is_what_the_original_file_had(unit: Unit, text: str, value: float) -> None:
    assert unit.is_bare(text)
    assert unit.parse(text) == value
    assert not re.search(unit.pattern, text), "today's form has the unit written out"


@pytest.mark.parametrize("unit", [DURATION, SIZE, CORES])
@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "-1s", "+1s", "1e3s", "1,5s", "1s\n", "30 sec", "10mb", "inf", "nan", "0x10", "१s", ".5s"],
)
def test_anything_else_is_refused_with_an_example(unit: Unit, text: str) -> None:
    with pytest.raises(SpecError) as refused:
        unit.parse(text)
    assert unit.examples[0] in refused.value.hint
    assert not re.search(unit.pattern + r"(?!\n)", text)


def test_a_long_text_is_not_repeated_whole() -> None:
    with pytest.raises(SpecError) as refused:
        DURATION.parse("x" * 10_000)
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (DURATION, 30.0, "30s"),
        (DURATION, 0.5, "500ms"),
        (DURATION, 90.0, "90s"),
        (DURATION, 3600.0, "1h"),
        (DURATION, 604800.0, "7d"),
        (DURATION, 0.0015, "1.5ms"),
        (SIZE, 2**29, "512MiB"),
        (SIZE, 10**7, "10MB"),
        (SIZE, 1023, "1023B"),
        (CORES, 1.0, "1 core"),
        (CORES, 2.0, "2 cores"),
        (CORES, 0.001, "0.001 cores"),
    ],
)
def test_a_value_is_written_in_the_largest_unit_that_fits(unit: Unit, value: float, text: str) -> None:
    assert unit.format(value) == text

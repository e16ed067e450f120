import pytest
from bench.load import parse
from bench.processes import StartError

FAULTS = "wrong=2 refused=3 connect=1 read=4 write=0 timeout=5"
NO_FAULTS = "wrong=0 refused=0 connect=0 read=0 write=0 timeout=0"
OUTPUT = f"""Running 3s test @ http://127.0.0.1:4000/mcp
  1 threads and 32 connections
Requests/sec:  44710.33
bench: duration_us=3000500 p50_us=612 p99_us=2089 answered=134100 {FAULTS}
bench-example: HTTP 503: {{"title": "bench: too busy"}}
"""


def test_the_figures_of_wrk_are_read():
    load = parse(OUTPUT)
    assert (load.seconds, load.calls, load.p50_us, load.p99_us) == (3.0005, 134098, 612, 2089)
    assert (load.wrong, load.refused, load.lost) == (2, 3, 10)
    assert load.faults == 15
    assert load.example == 'HTTP 503: {"title": "bench: too busy"}'


def test_no_example_means_that_all_was_well():
    figures, _, _ = OUTPUT.replace(FAULTS, NO_FAULTS).partition("bench-example")
    load = parse(figures)
    assert (load.faults, load.example) == (0, "")


@pytest.mark.parametrize("output", ["", "unable to connect to 127.0.0.1:4000 Connection refused\n"])
def test_a_failed_wrk_is_an_error_with_its_words(output):
    with pytest.raises(StartError, match=output.strip() or "no output"):
        parse(output)

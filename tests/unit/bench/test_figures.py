import pytest
from bench.figures import paired_ratio, percentile
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("sample", "percent", "expected"),
    [
        ([7], 50, 7),
        ([7], 99, 7),
        ([3, 1, 2], 50, 2),
        ([1, 2, 3, 4], 50, 2),
        (range(1, 101), 99, 99),
        ([1, 2], 0, 1),
    ],
)
def test_a_percentile_is_the_nearest_rank(sample, percent, expected):
    assert percentile(sample, percent) == expected


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0.1, 100))
def test_at_least_so_many_percent_do_not_exceed_it(sample, percent):
    found = percentile(sample, percent)
    share = sum(value <= found for value in sample) / len(sample) * 100
    assert found in sample
    assert share >= percent - 1e-9


def test_a_percentile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_each_round_is_compared_with_the_yardstick_of_the_same_round():
    assert paired_ratio([50, 10, 90], [100, 10, 100]) == 0.9


@pytest.mark.parametrize(("values", "yardstick"), [([], []), ([1], []), ([1, 2], [1]), ([1], [0])])
def test_without_a_full_yardstick_there_is_no_ratio(values, yardstick):
    assert paired_ratio(values, yardstick) is None

"""The breaker as a state machine: what it admits, when it opens, and that it always finds back to closed.

The model knows every event by its time and says in the plainest way what the breaker must do. Times are
multiples of an eighth of a second and windows cut into ten exactly, so that no rounding blurs a boundary.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fairlead.core.breaker import Breaker, BreakerPolicy
from fairlead.model.status import BreakerState

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN

POLICIES = st.builds(
    BreakerPolicy,
    enabled=st.sampled_from([True, True, True, True, False]),
    window=st.sampled_from([1.25, 10.0, 30.0]),
    minimum_calls=st.integers(1, 12),
    failure_rate=st.sampled_from([0.1, 0.5, 1.0]),
    slow_call=st.just(60.0),
    slow_rate=st.sampled_from([0.2, 0.9, 1.0]),
    consecutive_failures=st.integers(1, 6),
    open_for=st.sampled_from([0.5, 1.0, 10.0]),
    trials=st.integers(1, 4),
)
PAUSES = st.sampled_from([0.125, 0.5, 1.0, 5.0, 12.0]) | st.integers(1, 400).map(lambda eighths: eighths / 8)


class Calls(RuleBasedStateMachine):
    """A pool that sends calls through a breaker, as far as it lets it."""

    @initialize(policy=POLICIES)
    def begin(self, policy):
        self.policy = policy
        self.breaker = Breaker(policy)
        self.now = 1000.0
        self.answers = 0
        self.told = 0  # answers that the breaker knows of
        self.in_flight = 0
        self.stragglers = 0  # those of them that were sent before it became half-open
        self.in_a_row = 0
        self.log = []  # (time, good, failed, slow) since the window was last cleared
        self.relapses = 0
        self.opened_at = 0.0
        self.opened = 0
        self.passed = 0

    # What the pool does. Each rule says what must have come of it.

    @rule(pause=PAUSES)
    def time_passes(self, pause):
        self.now += pause
        self.advance()

    @precondition(lambda self: self.breaker.state is OPEN)
    @rule(early=st.booleans())
    def the_pause_ends(self, early):
        due = self.opened_at + self.pause()
        self.now = max(self.now, due - 0.125 if early else due)
        self.advance()

    @rule(wanted=st.integers(1, 6))
    def calls_come_in(self, wanted):
        state, admitted = self.breaker.state, 0
        for _ in range(wanted):
            limit = self.breaker.limit
            if limit is None or self.in_flight - self.stragglers < limit:
                self.in_flight += 1
                admitted += 1
        if state is OPEN:
            assert admitted == 0
        elif state is HALF_OPEN:
            trials = self.in_flight - self.stragglers
            assert trials >= self.policy.trials or admitted == wanted
            assert admitted == 0 or trials <= self.policy.trials
        else:
            assert admitted == wanted

    @precondition(lambda self: self.in_flight)
    @rule(count=st.integers(1, 6))
    def calls_are_answered(self, count):
        for _ in range(min(count, self.in_flight - self.stragglers)):
            self.in_flight -= 1
            self.answers += 1
            if self.breaker.state is not CLOSED:
                self.advance()

    @precondition(lambda self: self.stragglers)
    @rule(count=st.integers(1, 6))
    def calls_from_before_are_answered(self, count):
        for _ in range(min(count, self.stragglers)):
            self.in_flight -= 1
            self.stragglers -= 1
            self.answers += 1
            if self.breaker.state is not CLOSED:
                self.advance(trial=False)

    @precondition(lambda self: self.stragglers)
    @rule(count=st.integers(1, 6))
    def calls_from_before_fail(self, count):
        """Which it is not told."""
        gone = min(count, self.stragglers)
        self.in_flight -= gone
        self.stragglers -= gone

    @precondition(lambda self: self.in_flight)
    @rule(count=st.integers(1, 6))
    def calls_fail(self, count):
        for _ in range(min(count, self.in_flight - self.stragglers)):
            self.in_flight -= 1
            before = self.breaker.state
            self.tell(failed=1)
            self.breaker.failed(self.now, self.answers, "broken")
            if before is HALF_OPEN:
                self.relapses += 1
                self.must_be(OPEN)
            elif before is OPEN:
                self.must_be(OPEN, since=self.opened_at)
            else:
                self.judged()

    @precondition(lambda self: self.in_flight)
    @rule(count=st.integers(1, 6))
    def calls_become_slow(self, count):
        before = self.breaker.state
        self.tell(slow=count)
        self.breaker.slow(self.now, self.answers, count)
        if before is HALF_OPEN:
            self.relapses += 1
            self.must_be(OPEN)
        elif before is CLOSED:
            self.judged()
        else:
            self.must_be(OPEN, since=self.opened_at)

    @rule()
    def a_person_resets_it(self):
        self.tell()
        self.breaker.reset(self.now, self.answers)
        self.cleared()
        self.must_be(CLOSED)

    @rule(policy=POLICIES)
    def a_person_changes_the_thresholds(self, policy):
        before, counts = self.breaker.state, self.breaker.counts()
        # The window stays: how old slots blend into those of another length is not promised.
        self.policy = replace(policy, window=self.policy.window)
        self.breaker.adopt(self.policy)
        assert self.breaker.counts() == counts
        self.must_be(before if policy.enabled else CLOSED, since=self.opened_at)

    # What is known of it from outside.

    def tell(self, *, failed=0, slow=0, trial=True):
        good, self.told = self.answers - self.told, self.answers
        if good:
            self.in_a_row = 0
        self.in_a_row += failed
        self.passed += good if trial else 0
        self.log.append((self.now, good, failed, slow))

    def advance(self, *, trial=True):
        before = self.breaker.state
        self.tell(trial=trial)
        changed = self.breaker.advance(self.now, self.answers, trial=trial)
        assert changed == (self.breaker.state is not before)
        if before is CLOSED:
            self.judged()
        elif before is OPEN:
            due = self.now >= self.opened_at + self.pause()
            self.must_be(HALF_OPEN if due else OPEN, since=self.opened_at)
            if due:
                self.passed = 0
                self.stragglers = self.in_flight
        else:
            if self.passed >= self.policy.trials:
                self.cleared()
            self.must_be(CLOSED if self.passed >= self.policy.trials else HALF_OPEN)

    def judged(self):
        """It was closed: it is open now if and only if it must be."""
        calls, failures, slow = self.breaker.counts()
        enough = calls >= self.policy.minimum_calls
        must = self.policy.enabled and (
            self.in_a_row >= self.policy.consecutive_failures
            or (enough and failures / calls >= self.policy.failure_rate)
            or (enough and slow / calls >= self.policy.slow_rate)
        )
        if must:
            self.relapses = 0
        self.must_be(OPEN if must else CLOSED)

    def must_be(self, state, *, since=None):
        assert self.breaker.state is state
        if state is OPEN and since is None:
            self.opened_at = self.now
            self.opened += 1
            assert self.breaker.reason

    def cleared(self):
        self.log.clear()
        self.in_a_row = 0

    def pause(self):
        return min(self.policy.open_for * 2.0**self.relapses, self.policy.open_for * 10)

    def sums(self, length):
        """What was logged in the last `length` seconds."""
        events = [event[1:] for event in self.log if event[0] > self.now - length]
        return [sum(column) for column in zip(*events, strict=True)] or [0, 0, 0]

    @invariant()
    def it_admits_what_its_state_allows(self):
        limits = {CLOSED: None, OPEN: 0, HALF_OPEN: self.policy.trials}
        assert self.breaker.limit == limits[self.breaker.state]
        after = self.breaker.retry_after(self.now)
        if self.breaker.state is OPEN:
            assert after == max(0.0, self.opened_at + self.pause() - self.now)
        else:
            assert after is None
        assert self.policy.enabled or self.breaker.state is CLOSED
        assert self.breaker.opened_total == self.opened

    @precondition(lambda self: self.log and self.log[-1][0] == self.now)
    @invariant()
    def it_counts_nine_to_ten_tenths_of_the_window(self):
        least, most = self.sums(self.policy.window * 0.9), self.sums(self.policy.window)
        calls, failures, slow = self.breaker.counts()
        assert least[1] <= failures <= most[1]
        assert least[2] <= slow <= most[2]
        assert max(least[0] + least[1], least[2]) <= calls <= max(most[0] + most[1], most[2])

    def teardown(self):
        """Whatever has happened: with good answers only, it closes and stays closed."""
        if not hasattr(self, "breaker"):
            return
        before = self.opened
        for _ in range(60):
            if self.breaker.state is OPEN:
                self.now += self.breaker.retry_after(self.now)
            else:
                self.now += self.policy.window / 20
                self.answers += 1
            self.advance()
        assert self.breaker.state is CLOSED
        assert self.breaker.counts()[1:] == (0, 0)
        assert self.opened <= before + 1  # old failures may outlive old successes, once


TestBreaker = Calls.TestCase
TestBreaker.settings = settings(max_examples=100, stateful_step_count=40)

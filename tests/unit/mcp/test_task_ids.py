"""Ids of tasks: found again by whom they were given to, and by nobody else."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.mcp.sealing import Sealer
from fairlead.mcp.task_ids import TaskHandle, open_task, seal_task

SEALER = Sealer(b"k" * 32)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(handle=st.builds(TaskHandle, TEXT, TEXT, TEXT, TEXT, TEXT), other=TEXT)
def test_only_its_own_principal_opens_an_id(handle, other):
    sealed = seal_task(SEALER, handle)
    assert open_task(SEALER, sealed, handle.principal) == handle
    assert (open_task(SEALER, sealed, other) == handle) is (other == handle.principal)
    assert sealed.isascii()
    assert "\n" not in sealed


@given(text=st.text(max_size=300))
def test_made_up_ids_are_no_ids(text):
    assert open_task(SEALER, text, "ada") is None


def test_what_is_sealed_for_something_else_is_no_task():
    assert open_task(SEALER, SEALER.seal("session", b'["ada","s","","","t"]'), "ada") is None
    assert open_task(SEALER, SEALER.seal("task", b"[1]"), "ada") is None
    assert open_task(Sealer(b"x" * 32), seal_task(SEALER, TaskHandle("ada", "s", "", "", "t")), "ada") is None

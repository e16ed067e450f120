"""The arguments of bubblewrap, read as it reads them: mount after mount, the last one on a path wins."""

from __future__ import annotations

from pathlib import PurePosixPath as P

from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.sandbox import Access, Bubblewrap, Layout, Place, bwrap_arguments

NAMES = ("a", "b", "c")
paths = st.lists(st.sampled_from(NAMES), max_size=4).map(lambda parts: P("/", *parts))
inner_paths = paths.filter(lambda path: path != P("/"))
places = st.lists(
    st.one_of(
        st.builds(Place, inner_paths, st.sampled_from(Access)),
        st.builds(Place, st.just(P("/")), st.sampled_from([Access.READ, Access.WRITE])),
    ),
    max_size=12,
)
hosts = st.builds(Bubblewrap, st.just("bwrap"), st.booleans(), st.booleans(), st.booleans())
TAKES = {"--ro-bind": 2, "--bind": 2, "--symlink": 2, "--dev": 1, "--proc": 1, "--tmpfs": 1, "--chdir": 1,
         "--perms": 1, "--size": 1, "--remount-ro": 1, "--cap-drop": 1, "--cap-add": 1}  # fmt: skip


def operations(arguments: list[str]) -> list[tuple[str, ...]]:
    found, rest = [], list(arguments)
    while rest:
        count = 1 + TAKES.get(rest[0], 0)
        assert rest[0].startswith("--")
        found.append(tuple(rest[:count]))
        rest = rest[count:]
    return found


def seen(arguments: list[str], path: P) -> str:
    """What shows at `path`, as bubblewrap has it: `host`, `host, read-only`, `empty` or `empty, closed`."""
    mounts: dict[P, str] = {}
    for operation, *words in operations(arguments):
        if operation in ("--bind", "--ro-bind"):
            source, target = words
            assert source in (target, "/dev/null")
            hide = {each for each in mounts if each != P("/") and each.is_relative_to(target)}
            assert not hide, "an outer mount must not come over an inner one"
            mounts[P(target)] = "host" if operation == "--bind" else "host, read-only"
        elif operation == "--tmpfs":
            mounts[P(words[0])] = "empty"
        elif operation == "--remount-ro":
            assert mounts[P(words[0])] == "empty"
            mounts[P(words[0])] = "empty, closed"
    return next(mounts[each] for each in (path, *path.parents) if each in mounts)


def meant(given_places: list[Place], path: P) -> str:
    """What should show there: of the places around it, the innermost; of those at one path, the strictest."""
    accesses: dict[P, Access] = {P("/"): Access.READ}
    for place in given_places:
        accesses[place.path] = max(accesses.get(place.path, place.access), place.access)
    innermost = next(accesses[each] for each in (path, *path.parents) if each in accesses)
    return {Access.WRITE: "host", Access.READ: "host, read-only"}.get(innermost, "empty, closed")


@given(
    places.filter(lambda given_places: all(place.access is not Access.PRIVATE for place in given_places)),
    inner_paths,
    hosts,
)
def test_what_shows_is_what_the_innermost_place_says(given_places, path, host):
    shown = seen(bwrap_arguments(Layout(tuple(given_places), P("/")), host), path)
    assert shown == meant(given_places, path)


@given(places, inner_paths, hosts)
def test_nothing_hidden_shows_and_nothing_is_writable_that_was_not_said(given_places, path, host):
    shown = seen(bwrap_arguments(Layout(tuple(given_places), P("/")), host), path)
    around = {place.path: place for place in given_places if path == place.path or place.path in path.parents}
    innermost = max(around, key=lambda each: len(each.parts), default=None)
    at_it = [place.access for place in given_places if place.path == innermost]
    if Access.HIDDEN in at_it:
        assert shown.startswith("empty")
    if shown == "host":
        assert any(place.access is Access.WRITE for place in given_places if place.path in around)


@given(places, hosts)
def test_what_is_hidden_in_something_hidden_has_not_even_a_name(given_places, host):
    arguments = bwrap_arguments(Layout(tuple(given_places), P("/")), host)
    closed = [P(words[1]) for words in operations(arguments) if words[0] == "--remount-ro"]
    assert not [path for path in closed if seen(arguments, path.parent).startswith("empty")]


@given(places, hosts, st.booleans())
def test_the_order_in_which_places_are_given_does_not_matter(given_places, host, network):
    layout = Layout(tuple(given_places), P("/"), network=network)
    turned = Layout(tuple(reversed(given_places)), P("/"), network=network)
    assert bwrap_arguments(layout, host) == bwrap_arguments(turned, host)


@given(places, hosts, st.booleans(), st.one_of(st.none(), st.integers(1, 2**40)))
def test_what_every_sandbox_has(given_places, host, network, memory):
    layout = Layout(tuple(given_places), P("/work"), network=network, memory=memory)
    found = operations(bwrap_arguments(layout, host))
    words = [each[0] for each in found]
    assert {"--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"} < set(words)
    assert ("--cap-drop", "ALL") in found
    assert ("--cap-add", "CAP_DAC_READ_SEARCH") not in found
    assert ("--cap-add", "CAP_SYS_ADMIN") not in found
    assert ("--unshare-user" in words) == (not host.root)
    assert ("--unshare-net" in words) == (not network and host.network)
    assert ("--size" in words) == (bool(memory) and host.sized)
    assert found[-1] == ("--chdir", "/work")
    assert "--setenv" not in words  # the environment holds secrets, and arguments are seen
    assert words.index("--proc") > words.index("--dev") > 0


@given(places, st.dictionaries(inner_paths, st.text("abc/.", min_size=1), max_size=4), hosts)
def test_links_are_made_anew_only_where_their_folder_does_not_show(given_places, links, host):
    layout = Layout(tuple(given_places), P("/"), tuple(links.items()))
    arguments = bwrap_arguments(layout, host)
    made = {words[2] for words in operations(arguments) if words[0] == "--symlink"}
    mounted = {words[-1] for words in operations(arguments) if words[0] in ("--bind", "--ro-bind", "--tmpfs")}
    for path in links:
        hidden = seen(arguments, path.parent).startswith("empty")
        assert (str(path) in made) == (hidden and str(path) not in mounted)

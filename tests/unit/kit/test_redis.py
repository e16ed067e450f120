"""How clients of Redis are opened."""

from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

import fairlead
from fairlead.buses.redis import RedisBus
from fairlead.core.accounts import Accounts
from fairlead.kit.redis import redis_client
from fairlead.limits.shared import SharedLimits
from fairlead.model.errors import ProblemError


async def test_a_client_tries_nothing_by_itself_and_has_its_limits():
    client = redis_client("redis://127.0.0.1:1/3", "fairlead-x", connect=1.0, answer=2.5)
    options = client.connection_pool.connection_kwargs
    assert (options["socket_connect_timeout"], options["socket_timeout"]) == (1.0, 2.5)
    assert (options["db"], options["client_name"], options["socket_keepalive"]) == (3, "fairlead-x", True)
    assert options["retry"].get_retries() == 0
    await client.aclose()


async def test_a_unix_socket(tmp_path):
    client = redis_client(f"unix://{tmp_path}/none?db=2", "x", connect=1.0, answer=1.0)
    with pytest.raises(RedisConnectionError, match="No such file"):
        await client.ping()
    await client.aclose()


@pytest.mark.parametrize("url", ["http://canary:canary@h", "redis://canary:canary@h:port", "canary"])
def test_what_is_no_url_is_said_without_repeating_it(url):
    for make in (
        lambda: redis_client(url, "x", connect=1.0, answer=1.0),
        lambda: RedisBus(url, "p"),
        lambda: SharedLimits(url, Accounts(), service="s", process="p"),
    ):
        with pytest.raises(ProblemError, match="not a URL") as caught:
            make()
        assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.problem}"


def test_there_is_one_place_where_they_are_opened():
    sources = [Path(folder) for folder in fairlead.__path__]
    opening = {
        file.name for root in sources for file in root.rglob("*.py") if ".from_url(" in file.read_text()
    }
    assert opening == {"redis.py"}

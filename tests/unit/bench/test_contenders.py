import json
import re

import pytest
from bench.connection import Reply
from bench.contenders import CONTENDERS, HERE, fleet, ready_instances
from bench.peers import PEERS, pinned_versions
from bench.processes import StartError


def test_the_fleet_has_every_limit_on_and_one_server():
    spec = json.loads(json.dumps(fleet({"command": "python"})))
    limits = spec["security"]["resourceLimits"]
    assert limits["rateLimiting"]["enabled"] is True
    assert list(spec["servers"]) == ["echo"]


@pytest.mark.parametrize("instances", [1, 4])
def test_a_pool_neither_grows_nor_shrinks(instances):
    [server] = fleet({"command": "python"}, instances)["servers"].values()
    assert server == {
        "command": "python",
        "scaling": {"minInstances": instances, "maxInstances": instances},
    }


def test_only_instances_that_are_ready_count():
    states = {"a": "ready", "b": "negotiating", "c": "failed"}
    body = json.dumps({"instances": [{"id": one, "state": state} for one, state in states.items()]})
    assert list(ready_instances(Reply(200, {}, body.encode()))) == ["a"]
    with pytest.raises(StartError, match="HTTP 401: b'no token'"):
        ready_instances(Reply(401, {}, b"no token"))


def test_names_are_unique_so_that_only_can_choose():
    names = [contender.name for contender in [*CONTENDERS, *PEERS]]
    assert len(names) == len(set(names))


def test_the_yardstick_has_one_worker_keepalive_and_no_log():
    config = (HERE / "nginx.conf.in").read_text()
    assert set(re.findall("@([a-z]+)@", config)) == {"folder", "backend", "port"}
    for line in ("worker_processes 1;", "access_log off;", "proxy_http_version 1.1;", "keepalive 64;"):
        assert line in config


def test_pins_have_hashes_and_name_no_host():
    pins = [*HERE.glob("requirements-*.txt"), HERE / "supergateway" / "package-lock.json"]
    assert len(pins) == 3
    for file in pins:
        text = file.read_text()
        assert "sha256:" in text or '"integrity": "sha512-' in text
        assert '"resolved"' not in text
        assert "index-url" not in text


def test_every_peer_is_pinned():
    versions = pinned_versions()
    assert set(versions) == {contender.name for contender in PEERS}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())

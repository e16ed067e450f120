from __future__ import annotations

from support.web_services import AUTHORIZED, MemoryConfig, client, services


async def test_the_spec_with_its_placeholders(http):
    assert (await http.get("/api/config")).json() == {
        "version": "1",
        "servers": {"magic": {"environment": {"KEY": "${KEY}"}}},
    }


async def test_reload_says_what_changed(http):
    answer = await http.post("/api/config/reload")
    assert answer.status_code == 200
    assert (answer.json()["generation"], answer.json()["adjusted"]) == (8, ["magic"])


async def test_a_bad_file_comes_back_with_all_problems():
    config = MemoryConfig()
    config.problems = ["x.yml:3:1: error: a", "x.yml:9:1: error: b"]
    async with client(services(config=config), **AUTHORIZED) as http:
        answer = await http.post("/api/config/reload")
    assert (answer.status_code, answer.json()["problems"]) == (422, config.problems)

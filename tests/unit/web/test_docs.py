from __future__ import annotations

import re
from importlib.resources import files

import pytest

from fairlead.core.admission import DOCS_ASSETS, PUBLIC

PATHS = sorted(path.decode() for _, path in PUBLIC if path not in (b"/health", b"/login"))


@pytest.mark.parametrize("path", PATHS)
async def test_the_shell_and_its_assets_are_public_and_strict(stranger, path):
    answer = await stranger.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    kinds = {"docs": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert answer.headers["content-type"].startswith(kinds[re.split(r"[./]", path)[-1]])


async def test_the_shell_names_only_what_is_served_here_and_has_nothing_inline(stranger):
    page = (await stranger.get("/docs")).text
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert set(named) == {f"/docs/assets/{name}" for name in DOCS_ASSETS}
    assert not re.search(r"<style|style=|\son\w+=|<script>|javascript:", page)


async def test_swagger_ui_is_served_as_it_was_packaged(stranger):
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        packaged = (files("fastapi_swagger") / "resources" / name).read_bytes()
        assert (await stranger.get(f"/docs/assets/{name}")).content == packaged


async def test_our_script_keeps_the_token_in_the_tab_and_sends_it_only_here(stranger):
    script = (await stranger.get("/docs/assets/docs.js")).text
    assert "localStorage" not in script
    assert "innerHTML" not in script
    assert "location.origin" in script
    assert not re.search(r"https?://", script)


@pytest.mark.parametrize(
    "path", ["/docs/assets/docs.html", "/docs/assets/", "/docs/assets/x.js", "/openapi.json"]
)
async def test_nothing_else_is(stranger, path):
    assert (await stranger.get(path)).status_code == 401


async def test_other_spellings_need_a_token_and_lead_nowhere_else(http, stranger):
    spelled = "/docs/assets/..%2f..%2fopenapi.json"
    assert (await stranger.get(spelled)).status_code == 401
    assert (await http.get(spelled)).status_code == 404

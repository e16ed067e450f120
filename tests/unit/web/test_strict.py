from __future__ import annotations

from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, ValidationError

from fairlead.web.problems import add_handlers
from fairlead.web.strict import QueryFlag, StrictBody, StrictRoute


class Body(StrictBody):
    min_calls: int = 0


class Seen(BaseModel):
    flag: bool
    key: list[str]
    word: str


@pytest.fixture
def app() -> FastAPI:
    router = APIRouter(route_class=StrictRoute)

    @router.get("/")
    async def look(
        key: Annotated[list[str], Query(default_factory=list)], flag: QueryFlag = False, word: str = ""
    ) -> Seen:
        return Seen(flag=flag, key=key, word=word)

    @router.get("/none")
    async def nothing() -> None:
        return None

    app = FastAPI()
    add_handlers(app)

    @app.middleware("http")
    async def named(request, go_on):
        request.state.request_id = "r"
        return await go_on(request)

    app.include_router(router)
    return app


async def get(app: FastAPI, target: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        return await http.get(target)


async def test_what_is_known_arrives(app):
    answer = await get(app, "/?key=a&flag=true&key=b&word=")
    assert answer.json() == {"flag": True, "key": ["a", "b"], "word": ""}
    assert (await get(app, "/?flag=false")).json()["flag"] is False
    assert (await get(app, "/none")).status_code == 200


@pytest.mark.parametrize(
    ("target", "where", "how"),
    [
        ("/?Flag=true", "query.Flag", "remove it; known: key, flag, word"),
        ("/?", None, ""),
        ("/?=1", "query.", "remove it"),
        ("/none?flag=true", "query.flag", "remove it; known: none"),
        ("/?word=a&word=a", "query.word", "give it once"),
        ("/?flag=true&flag=false", "query.flag", "give it once"),
        ("/?flag=1", "query.flag", "write true or false"),
        ("/?flag=yes", "query.flag", "write true or false"),
        ("/?flag=TRUE", "query.flag", "write true or false"),
        ("/?flag=", "query.flag", "write true or false"),
        ("/?" + "x" * 5000 + "=1", "query." + "x" * 64, "remove it"),
    ],
)
async def test_what_is_not_is_refused(app, target, where, how):
    answer = await get(app, target)
    if where is None:
        assert answer.status_code == 200
        return
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["where"] == where
    assert how in error["how"]


async def test_every_wrong_parameter_is_listed(app):
    errors = (await get(app, "/?a=1&word=x&b=2&word=y")).json()["errors"]
    assert [error["where"] for error in errors] == ["query.a", "query.word", "query.b"]


def test_a_flag_is_described_as_one(app):
    parameters = {p["name"]: p["schema"] for p in app.openapi()["paths"]["/"]["get"]["parameters"]}
    assert parameters["flag"]["type"] == "boolean"


@pytest.mark.parametrize(
    "members", [{"min_calls": 1}, {"minCalls": True}, {"minCalls": "1"}, {"minCalls": 1.5}]
)
def test_bodies_take_their_own_names_and_types_only(members):
    assert Body.model_validate({"minCalls": 2}).min_calls == 2
    with pytest.raises(ValidationError):
        Body.model_validate(members)

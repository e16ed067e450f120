from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from fairlead.web.services import Services
from support.web_services import AUTHORIZED, client, services


@pytest.fixture
def behind() -> Services:
    return services()


@pytest.fixture
async def http(behind: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a valid token."""
    async with client(behind, **AUTHORIZED) as connected:
        yield connected


@pytest.fixture
async def stranger(behind: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    async with client(behind) as connected:
        yield connected

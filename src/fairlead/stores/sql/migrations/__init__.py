"""How the tables came to be, a revision a file. A revision that was released is never changed."""

from __future__ import annotations

from typing import Final

HEAD: Final = "0002"
"""The latest one. Said here, too, so that Alembic is loaded only where there is something to do."""

"""A process of its own that mirrors `argv[1]` below `argv[2]`; it prints what that took, as JSON.

`own` is by how much the process grew, `git` the most that any git had: both in KiB.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

from fairlead.git.command import Git
from fairlead.git.source import RepositorySource, Workshop
from fairlead.model.errors import ProblemError
from fairlead.model.gitops import Source
from support.repositories import ENVIRON


def _peak(who: int) -> int:
    most = resource.getrusage(who).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


async def main(url: str, folder: Path) -> None:
    workshop = Workshop(folder, Git(ENVIRON), lambda text: text)
    source = RepositorySource("config", Source(url=url), workshop, lambda _: None)
    before = _peak(resource.RUSAGE_SELF)
    await source.refresh()
    assert source.head is not None, source.problem
    entries = {entry.path: entry for entry in await source.head.entries("")}
    refused = ""
    try:
        await source.head.read([entries["huge.bin"].blob])
    except ProblemError as error:
        refused = error.problem.detail
    await source.tidy()
    own = _peak(resource.RUSAGE_SELF) - before
    await source.close()
    problems = {path: entry.problem for path, entry in entries.items()}
    found = {"own": own, "git": _peak(resource.RUSAGE_CHILDREN), "problems": problems, "refused": refused}
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))

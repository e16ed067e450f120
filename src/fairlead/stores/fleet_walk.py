"""What is wrong in a fleet file beyond its model: keys without effect or not in force, secrets in sight."""

from __future__ import annotations

import re
from typing import Final

from fairlead.formats.model_walk import Report, Walk, is_null
from fairlead.formats.yaml_tree import Mapping, Node, Path, Position, Scalar
from fairlead.model import placeholders
from fairlead.model.not_in_force import NOT_IN_FORCE
from fairlead.model.spec_problem import Severity

# Words that other tools have for the same thing.
_FOREIGN: Final = {
    "env": "write `environment`",
    "cwd": "write `workingDirectory`",
    "mcpServers": "write `servers`",
    "disabled": "write `enabled: false`",
    "weight": "weights stand under `loadBalancing.weights`",
}
_WITHOUT_EFFECT: Final = {
    "url": ("args", "entry", "environment", "workingDirectory"),
    "command": ("entry", "headers", "transport"),
    "package": ("headers", "transport"),
}
_SECRET: Final = re.compile("KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)


class FleetWalk(Walk):
    """`place` is as `NOT_IN_FORCE` writes it: what stands in `defaults` counts as a server's."""

    def __init__(self, report: Report) -> None:
        super().__init__(report, _FOREIGN)

    def below(self, place: str) -> str:
        return "servers.*" if place == "defaults" else place

    def mapping(self, node: Mapping, path: Path, place: str) -> None:
        if place != "servers.*":
            return
        given = {name for name, entry in node.entries.items() if not is_null(entry.value)}
        for source in given & _WITHOUT_EFFECT.keys():
            for name in given & set(_WITHOUT_EFFECT[source]):
                position = node.entries[name].key.position
                message = f"has no effect on a server that is a {source}"
                self.report(Severity.WARNING, position, (*path, name), message, "remove it")

    def value(self, position: Position, node: Node, path: Path, place: str) -> None:
        known = NOT_IN_FORCE.get(place)
        if known and known.concerns(node.text if isinstance(node, Scalar) else None):
            self.report(Severity.WARNING, position, path, "not in force", known.why)

    def scalar(self, node: Scalar, path: Path, place: str) -> None:
        if place != "servers.*.args[]":
            return
        for name in filter(_SECRET.search, placeholders.names(node.text)):
            message = f"{name} would be seen by every user of the machine in the list of processes"
            self.report(Severity.WARNING, node.position, path, message, "hand it over in `environment`")

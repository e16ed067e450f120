"""Loading the settings from a file, the environment and options, each value with its origin."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fairlead.app.settings import KEYS, PREFIX, Settings, bad_settings, default_state_dir, show
from fairlead.kit.home import expanded

FILE_NAME = "fairlead.toml"
FILE_VARIABLE = "FAIRLEAD_SETTINGS"
DEFAULT = "default"
# Not settings, but ours: the settings file's name, and the mark that the process driver leaves on servers.
OTHER_VARIABLES = (FILE_VARIABLE, "FAIRLEAD_INSTANCE")
PATHS = ("config", "state_dir", "workspace", "secrets.file", "secrets.identity_file")

_BY_PATH = {key.path: key for key in KEYS}
_BY_VARIABLE = {key.variable: key for key in KEYS}


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """`origins` maps each key's path to `default`, the file, a variable's or an option's name."""

    settings: Settings
    origins: dict[str, str]
    warnings: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Every key with value (secrets masked), origin, unit and doc, in the model's order."""
        return [
            {
                "key": key.path,
                "value": show(key.value(self.settings)),
                "unit": key.unit,
                "origin": self.origins[key.path],
                "variable": key.variable,
                "doc": key.doc,
            }
            for key in KEYS
        ]


class _Merge:
    """Values by key path, the latest source on top, and what was wrong on the way."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def put(self, path: str, value: Any, origin: str) -> None:
        self.values[path] = value
        self.origins[path] = origin


def load_settings(
    options: Mapping[str, Any], *, environment: Mapping[str, str], folder: Path, file: Path | None = None
) -> LoadedSettings:
    """The settings out of all sources.

    `options` maps key paths to values given on the command line (None: not given); `file` is the value of
    --settings; `folder` is the current one: relative paths start there, those in the file at the file.
    Raises `ProblemError` that lists everything that is wrong, a line each.
    """
    merge = _Merge()
    merge.put("state_dir", default_state_dir(dict(environment)), DEFAULT)
    _take_file(merge, _settings_file(file, environment, folder))
    _take_environment(merge, environment, folder)
    for path, value in options.items():
        if value is not None:
            merge.put(path, _rooted(path, value, folder), "--" + path.replace("_", "-"))
    settings = _validated(merge, folder)
    if settings is None or merge.errors:
        raise bad_settings("the settings are not right", "\n".join(merge.errors))
    origins = {key.path: merge.origins.get(key.path, DEFAULT) for key in KEYS}
    return LoadedSettings(settings, origins, tuple(merge.warnings))


def _settings_file(option: Path | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    """The file to read: named ones must exist, `fairlead.toml` in the current folder may."""
    named = option or (Path(value) if (value := environment.get(FILE_VARIABLE)) else None)
    file = folder / (named or FILE_NAME)
    if file.is_file():
        return file
    if named is None:
        return None
    source = "--settings" if option else FILE_VARIABLE
    raise bad_settings("no settings file", f"{source} names {file}: there is no such file")


def _take_file(merge: _Merge, file: Path | None) -> None:
    if file is None:
        return
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise bad_settings("cannot read the settings file", f"{file}: {error}") from error
    for path, value in _leaves(document, ""):
        if (key := _BY_PATH.get(path)) is not None and key.secret:
            merge.errors.append(f"{file}: {path}: a secret does not belong here; set {key.variable}")
        elif key is not None:
            merge.put(path, _rooted(path, value, file.parent), str(file))
        elif inner := [known for known in _BY_PATH if known.startswith(f"{path}.")]:
            merge.errors.append(f"{file}: {path}: this is a table; its keys are {', '.join(inner)}")
        else:
            merge.errors.append(f"{file}: {path}: unknown key{_nearest(path, _BY_PATH)}")


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _take_environment(merge: _Merge, environment: Mapping[str, str], folder: Path) -> None:
    for variable, value in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        key = _BY_VARIABLE.get(variable)
        if key is None:
            hint = _nearest(variable, (*_BY_VARIABLE, *OTHER_VARIABLES), prefix=PREFIX)
            merge.warnings.append(f"{variable}: unknown variable, it has no effect{hint}")
        elif value == "":
            continue  # as Compose files write an unset one
        elif key.path in ("port", "gitops_port") and value.startswith("tcp://"):
            merge.errors.append(
                f"{variable}: {value} was set by Kubernetes for a Service of that name: "
                "set enableServiceLinks: false in the pod, or rename the Service"
            )
        else:
            merge.put(key.path, _rooted(key.path, value, folder), variable)


def _rooted(path: str, value: Any, folder: Path) -> Any:
    if path in PATHS and isinstance(value, str | Path):
        found = expanded(value)
        return found if str(found).startswith("~") else folder / found
    return value


def _nearest(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """A hint at the known word most like `word`; the common prefix does not count."""
    bare = [name.removeprefix(prefix) for name in known]
    near = get_close_matches(word.removeprefix(prefix), bare, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def _validated(merge: _Merge, folder: Path) -> Settings | None:
    tree: dict[str, Any] = {"config": folder / "config" / "mcp-servers.yml"}
    for path, value in merge.values.items():
        *sections, name = path.split(".")
        table = tree
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = value
    try:
        return Settings.model_validate(tree)
    except ValidationError as failed:
        for error in failed.errors(include_input=False, include_url=False):
            if error["type"] == "default_factory_not_called":
                continue  # a consequence of another error
            path = _known_path(error["loc"])
            source = merge.origins.get(path, DEFAULT)
            message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
            where = f"{source}: {path}" if source.endswith(".toml") else source
            merge.errors.append(f"{where}: {message}")
        return None


def _known_path(location: tuple[int | str, ...]) -> str:
    """The key that an error's location lies in (a list's item belongs to its list)."""
    parts = [str(part) for part in location]
    while parts and ".".join(parts) not in _BY_PATH:
        parts.pop()
    return ".".join(parts)

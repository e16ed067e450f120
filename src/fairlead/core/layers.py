"""Layers of a configuration: base, environment, team, project, user; the later one wins.

Mappings merge deeply, everything else (lists, texts, numbers) replaces what is there, and null keeps it: what
a layer sets to null, it leaves to those below. A null with nothing below it leaves the key out. Inside of
lists nothing is merged, so a null there is a value like others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.core.overrides import Document, Key


def merge(layers: Sequence[Mapping[str, Any]]) -> Document:
    """The layers as one document, the lowest first. They themselves stay as they are."""
    merged: Document = {}
    for layer in layers:
        merged = _over(merged, layer)
    return merged


def merge_with_origins(layers: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[Document, dict[Key, str]]:
    """As `merge`, of layers with their names; and which layer each leaf of the document is from.

    A leaf is whatever is no mapping, or an empty one. Where several say the same, the last one counts.
    """
    origins: dict[Key, str] = {}
    for name, layer in layers:
        for key in _said(layer, ()):
            origins[key] = name
    merged = merge([layer for _, layer in layers])
    return merged, {key: origins[key] for key in _leaves(merged, ())}


def _over(below: Document, layer: Mapping[str, Any]) -> Document:
    merged = dict(below)
    for name, value in layer.items():
        if isinstance(value, Mapping):
            under = below.get(name)
            merged[name] = _over(under if isinstance(under, dict) else {}, value)
        elif value is not None:
            merged[name] = value
    return merged


def _said(value: Any, key: Key) -> list[Key]:
    """Every key that a layer gives a value, mappings' own ones, too."""
    if not isinstance(value, Mapping):
        return [] if value is None else [key]
    below = [found for name, item in value.items() for found in _said(item, (*key, name))]
    return [key, *below]


def _leaves(value: Any, key: Key) -> list[Key]:
    if isinstance(value, dict) and (value or not key):
        return [leaf for name, item in value.items() for leaf in _leaves(item, (*key, name))]
    return [key]

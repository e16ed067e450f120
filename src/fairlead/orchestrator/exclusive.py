"""Instances that serve one client's calls at a time, as what they ask could not be told apart otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.mcp.profiles import Profile


@dataclass(frozen=True, slots=True)
class Need:
    """What a call's instance must be: told of this profile, and without other calls meanwhile."""

    profile: Profile
    alone: bool

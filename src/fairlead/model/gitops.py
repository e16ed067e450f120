"""What Git says about applications: an application joins a place in a repository to a target.

These are the documents below `applications/` of a configuration repository, and `config/gitops.yml`, which
names the repositories. Placeholders such as `${secret:NAME}` stay as they are written.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fairlead.model.errors import SpecError
from fairlead.model.fleet_values import ServerId
from fairlead.model.spec_model import SpecModel
from fairlead.model.units import DURATION, Duration

Name = ServerId  # applications and sources are named as servers are
Pause = Annotated[float, DURATION, Field(ge=0, le=3650 * 86400)]  # s; unlike a `Duration`, there may be none


class Environment(StrEnum):
    """In the order of promotion."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class Severity(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class DriftKind(StrEnum):
    """What differs from what Git says."""

    CONFIGURATION = "configuration"  # a key of a file, or of the fleet spec
    FILE = "file"  # a whole file
    ENVIRONMENT = "environment"  # an installed tool's version
    SERVICE = "service"  # how the fleet runs: generation, instances, contracts


class Mode(StrEnum):
    OBSERVE = "observe"  # tell what differs, change nothing
    ENFORCE = "enforce"


class Policy(StrEnum):
    """What is done where the target was changed by hand."""

    REMOTE = "remote"  # Git wins; the live version is kept in the history
    LOCAL = "local"  # the live version stays, and is proposed to Git
    MERGE = "merge"  # what was changed on one side only is taken; a conflict waits for a person
    MANUAL = "manual"  # a person decides
    IGNORE = "ignore"  # neither compared nor written
    CREATE_ONLY = "create-only"  # written where there is nothing, then left alone


class FleetTarget(SpecModel):
    """A running orchestrator."""

    url: str | None = None
    """Its base URL; without it, the orchestrator of this machine."""
    token: str | None = None
    """A bearer token, as a placeholder; without it, the one of this machine."""


class FilesTarget(SpecModel):
    """Files below a folder of the controller's host."""

    root: str
    """An absolute path; `${HOME}` may stand in it."""


class Target(SpecModel):
    """Exactly one of these."""

    fleet: FleetTarget | None = None
    files: FilesTarget | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.fleet is None) == (self.files is None):
            raise SpecError("a target is either `fleet` or `files`", "write one of them")
        return self


class LayerChoice(SpecModel):
    """Which layers lie above `base` and the environment's; the later one wins."""

    team: Name | None = None
    project: Name | None = None
    user: Name | None = None


class PathRule(SpecModel):
    """What holds at a path; where several fit, the most specific one does."""

    path: str
    """A pattern, see `core.patterns`: `servers.*.args`, `.mcp.json#mcpServers.**`, `.claude/**`."""
    policy: Policy | None = None
    severity: Severity | None = None
    wave: Annotated[int, Field(ge=-100, le=100)] | None = None
    """Lower ones are applied first, and must be healthy before the next."""
    merge_key: str | None = None
    """Of a list of mappings: the member that names each item. Without it a list is one value."""


class Prune(SpecModel):
    """How much may be removed that Git does not have any more."""

    enabled: bool = True
    max_count: Annotated[int, Field(ge=0)] = 10
    max_percent: Annotated[int, Field(ge=0, le=100)] = 50
    """Of what is there; of fewer than four things, any number up to `maxCount` may go."""
    grace: Pause = 0.0
    confirm: bool | None = None
    """Whether a person must agree; without it, in production only."""


class Window(SpecModel):
    """When changes may be applied. Any `deny` that is open wins; with an `allow`, only inside of one."""

    kind: Literal["allow", "deny"] = "allow"
    schedule: str
    """As in a crontab: minute, hour, day of the month, month, day of the week."""
    duration: Duration
    timezone: str = "UTC"


class HealthGate(SpecModel):
    """When a change counts as good."""

    timeout: Duration = 120.0
    """How long the target may take to become healthy; then the change is taken back."""
    stable_for: Pause = 0.0
    """For how long it must stay healthy."""


class SyncSpec(SpecModel):
    """How an application is kept as Git says."""

    mode: Mode = Mode.ENFORCE
    self_heal: bool = True
    """Whether drift is dealt with when it is seen; else only a new commit, or a person, starts a sync."""
    prune: Prune = Prune()
    windows: tuple[Window, ...] = ()
    health: HealthGate = HealthGate()
    approval: bool = False
    """Whether a person must approve each deployment."""
    approvals: Annotated[int, Field(ge=1, le=10)] = 1
    """How many persons, of whom none is the commit's author."""
    propose: bool = True
    """Whether live changes that win are proposed to Git."""


class Tools(SpecModel):
    """The declared versions of what must be installed on the host, as ranges of PEP 440."""

    node: str | None = None
    python: str | None = None
    claude: str | None = None
    superclaude: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    """`npm:NAME` or `pypi:NAME` -> range."""


class Application(SpecModel):
    """One document below `applications/`."""

    version: Literal["1"] = "1"
    name: Name
    environment: Environment = Environment.DEVELOPMENT
    target: Target
    path: str = "."
    """The folder with the layers, from the repository's root: `base/`, `environments/...` and so on."""
    render: str = "mcp-servers.yml"
    """What is taken from each layer: for a fleet the file, for files the folder (such as `files`)."""
    layers: LayerChoice = LayerChoice()
    policy: Policy | None = None
    """Without it: `remote` for a fleet, `manual` for files, whose live changes are proposed."""
    rules: tuple[PathRule, ...] = ()
    sync: SyncSpec = SyncSpec()
    tools: Tools = Tools()
    promoted_from: Name | None = None
    """The application whose deployed commit this one takes when somebody promotes it; Git's newest is then
    not taken by itself."""

    @property
    def default_policy(self) -> Policy:
        return self.policy or (Policy.REMOTE if self.target.fleet else Policy.MANUAL)


class Verify(SpecModel):
    """Which commits are taken."""

    signatures: Literal["off", "require"] = "off"
    allowed_signers: str | None = None
    """A file as of `ssh-keygen -Y`, on the controller's host."""
    gpg_keys: tuple[str, ...] = ()
    """Fingerprints of GPG keys that the host's keyring has."""


class ForgeSpec(SpecModel):
    """Where pull requests are opened."""

    kind: Literal["github", "gitlab", "gitea"]
    url: str | None = None
    """The API's base URL, for one's own installation."""
    project: str
    """`owner/name`."""
    token: str
    """As a placeholder."""


class Source(SpecModel):
    """A repository."""

    url: str
    """https://..., ssh://... or user@host:path; or a path of this machine; a checkout is only read."""
    branch: str = "main"
    applications: str = "applications"
    """The folder of the documents, from the repository's root."""
    poll: Duration = 60.0
    username: str | None = None
    token: str | None = None
    """Of HTTPS, as a placeholder."""
    ssh_key: str | None = None
    """A private key, as a placeholder such as `${file:/path}`."""
    known_hosts: str | None = None
    """A file of SSH host keys; without it, the user's own."""
    webhook_secret: str | None = None
    """As a placeholder; without it, webhooks of this repository are refused."""
    rewritten: Literal["accept", "hold"] = "hold"
    """What is done when the branch's history was rewritten."""
    verify: Verify = Verify()
    forge: ForgeSpec | None = None


class QuietHours(SpecModel):
    """When only what is critical is told at once; the rest comes in one message afterwards."""

    start: str
    """HH:MM"""
    end: str
    timezone: str = "UTC"


class Channel(SpecModel):
    """Somewhere that people are told."""

    url: str
    """As Apprise has it; a placeholder may stand in it."""
    events: tuple[str, ...] = ()
    """Types of events; without any, drift, conflicts, and deployments that ended."""
    severity: Severity = Severity.HIGH
    """The least severe drift that is told."""
    template: str | None = None
    """With `{type}`, `{subject}`, `{application}`, `{summary}` in it."""
    repeat: Duration = 3600.0
    """The same is told again after this long at the earliest."""
    quiet: QuietHours | None = None


class GitOpsFile(SpecModel):
    """`config/gitops.yml`."""

    version: Literal["1"] = "1"
    sources: dict[Name, Source] = Field(default_factory=dict)
    notifications: tuple[Channel, ...] = ()
    severities: tuple[PathRule, ...] = ()
    """For all applications; their own rules come first."""

"""The settings: one small frozen object, and one loader that says where each value came from.

A later source wins: the default, `fairlead.toml`, a FAIRLEAD_ variable, an option of the command. A key's
variable is its path in capitals: `edge.body_timeout` is FAIRLEAD_EDGE_BODY_TIMEOUT. What the servers of the
fleet are is not a setting: it stands in the fleet file, which the setting `config` names.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic.fields import FieldInfo

from fairlead.kit.fetch import check_url
from fairlead.kit.home import expanded
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet_values import ORIGIN

PREFIX = "FAIRLEAD_"
DAY = 86400.0  # s
MIN_TOKEN = 16  # characters; `fairlead token add` makes 47


def default_state_dir(environment: dict[str, str] | None = None) -> Path:
    """`$XDG_STATE_HOME/fairlead`, or `~/.local/state/fairlead`."""
    base = (os.environ if environment is None else environment).get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "fairlead"


def _absolute(path: Path) -> Path:
    path = expanded(path)
    if str(path).startswith("~"):
        msg = f"{path.parts[0]} is nobody's home: write the path out, or begin it with ~/ or ./"
        raise ValueError(msg)
    return Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow links


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.\-]+|[0-9A-Fa-f:.]+(%\w+)?", value):
        msg = "give a name or an address alone, without scheme, port or brackets"
        raise ValueError(msg)
    return value


def _strong(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < MIN_TOKEN or not re.fullmatch(r"[!-~]+", text):
        msg = f"use {MIN_TOKEN} or more printable ASCII characters without spaces (`openssl rand -hex 32`)"
        raise ValueError(msg)
    return value


def _public_url(value: str) -> str:
    origin = value.lower().removesuffix("/")
    if not ORIGIN.fullmatch(origin) or not origin.startswith(("http://", "https://")):
        msg = "give scheme, host and perhaps port alone, like https://fairlead.example.com"
        raise ValueError(msg)
    return origin


def _fetchable(value: str) -> str:
    check_url(value)
    return value


def _database(value: SecretStr) -> SecretStr:
    """As libpq has it. What is wrong is said without any part of it: a password may stand anywhere."""
    host = r"(\[[0-9A-Fa-f:.]+\]|[^:@/?#\[\],]*)(:[0-9]+)?"
    if not re.fullmatch(
        rf"postgres(ql)?://([^@/?#]*@)?{host}(,{host})*(/[^@/?#]*)?(\?[^@#]*)?", value.get_secret_value()
    ):
        msg = (
            "give a URL such as postgresql://user:password@host:5432/name; write `@ : / ? # %` in a password "
            "as %40 %3A %2F %3F %23 %25"
        )
        raise ValueError(msg)
    return value


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=7 * 86400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Token = Annotated[SecretStr, AfterValidator(_strong)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Url = Annotated[str, AfterValidator(_fetchable)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
Age = Annotated[float, Field(ge=3600, le=100 * 366 * 86400, allow_inf_nan=False)]
Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Hosts = Annotated[tuple[Host, ...], BeforeValidator(_listed)]


def _setting(doc: str, *, unit: str = "", shown: str = "", **field: Any) -> Any:
    """A field with its documentation; `shown` stands for a default that differs between machines."""
    return Field(description=doc, json_schema_extra={"unit": unit, "shown": shown}, **field)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = _setting(
        "The least severe level that is logged.", default="info"
    )
    format: Literal["auto", "json", "console"] = _setting(
        "`json`: a line of JSON each; `console`: for people; `auto`: console on a terminal, else JSON.",
        default="auto",
    )


class EdgeSettings(Section):
    """Bounds of the HTTP edge."""

    header_timeout: Seconds = _setting(
        "How long a client may take to send a request's head.", unit="s", default=10.0
    )
    body_timeout: Seconds = _setting(
        "How long a client may take to send a request's body.", unit="s", default=30.0
    )
    keep_alive_timeout: Seconds = _setting(
        "How long an idle connection is kept open.", unit="s", default=75.0
    )
    shutdown_timeout: Seconds = _setting(
        "How long requests in flight may take to finish when the service stops.", unit="s", default=4.0
    )
    max_connections: Count = _setting(
        "Open client connections at a time; further ones are refused.", unit="connections", default=12_000
    )


class SessionSettings(Section):
    """Bounds of MCP sessions (legacy era)."""

    idle_expiry: Seconds = _setting(
        "A session that was not used for this long ends; its client starts anew.", unit="s", default=3600.0
    )
    max_sessions: Count = _setting(
        "Live sessions at a time; further clients are asked to come again later.",
        unit="sessions",
        default=20_000,
    )
    max_per_principal: Count = _setting(
        "Of these, live ones of one principal.", unit="sessions", default=10_000
    )


class SecretSettings(Section):
    """The encrypted file that `${secret:NAME}` in a fleet file is read from."""

    file: AbsolutePath | None = _setting(
        "The encrypted file, which may be kept in Git.",
        shown="secrets.age beside the fleet file",
        default=None,
    )
    identity_file: AbsolutePath | None = _setting(
        "The file with the age secret key that can read it.",
        shown="secrets-identity in `state_dir`",
        default=None,
    )
    identity: Token | None = _setting("The age secret key itself. Only as a variable.", default=None)


class LiveSettings(Section):
    """Bounds of live readers: WebSockets, and event streams over HTTP."""

    max_connections: Count = _setting(
        "Live readers at a time, of which one principal may have a quarter; further ones are refused.",
        unit="readers",
        default=1000,
    )
    queue: Count = _setting(
        "How many events a reader may lag behind before it is sent away, with the number to resume from.",
        unit="events",
        default=1000,
    )


class OAuthSettings(Section):
    """Access tokens (JWT) of an OAuth 2.1 authorization server; without `issuer` none are taken."""

    issuer: Url | None = _setting("The authorization server, exactly as its tokens name it.", default=None)
    jwks: Url | None = _setting(
        "Where its signing keys are.", shown="as the issuer's own metadata says", default=None
    )
    audience: Words = _setting(
        "Audiences that tokens may be for, beside `public_url` and the URLs of the MCP endpoints below it "
        "(with commas between them in the variable).",
        default=(),
    )
    principal_claim: str = _setting(
        "The claim that names who it is; with dots, one inside of another.", default="sub"
    )
    role_claim: str | None = _setting(
        "The claim with the role: viewer, developer, operator or admin, or a list with such a word.",
        shown="none: the scopes fairlead:viewer to fairlead:admin say it",
        default=None,
    )
    default_role: Literal["viewer", "developer", "operator", "admin"] | None = _setting(
        "The role where a token gives none.", shown="none: such a token is refused", default=None
    )


class TlsSettings(Section):
    """TLS on every address that is listened on. The files are read at the start."""

    certificate: AbsolutePath | None = _setting(
        "The certificate (PEM), with those between it and its root; without it, plain HTTP is spoken.",
        default=None,
    )
    key: AbsolutePath | None = _setting("The certificate's private key (PEM).", default=None)

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            msg = "give both tls.certificate and tls.key, or neither"
            raise ValueError(msg)
        return self


class AdminSettings(Section):
    """An address of its own for REST, events and pages; `host` and `port` then serve MCP alone."""

    host: Host | None = _setting("The address.", shown="as `host`", default=None)
    port: Port | None = _setting(
        "The port; 0 takes any free one.", shown="none: everything is served at `port`", default=None
    )


class AuditSettings(Section):
    """What the audit keeps."""

    arguments: Literal["digest", "redacted", "none"] = _setting(
        "Of a call's arguments: `digest`, the SHA-256 of their bytes; `redacted`, the arguments without what "
        "looks like a secret; `none`.",
        default="digest",
    )


class RetentionSettings(Section):
    """How long what happened is kept; what is older is removed within the hour."""

    events: Age = _setting("Events, which clients can catch up on.", unit="s", default=30 * DAY)
    audit: Age = _setting("The audit.", unit="s", default=90 * DAY)
    specs: Age = _setting(
        "Accepted fleet specs, deployments, and what those overwrote. The latest spec and the last 20 "
        "deployments of each application stay.",
        unit="s",
        default=90 * DAY,
    )
    metrics: Age = _setting("Metric roll-ups, of which trends are made.", unit="s", default=90 * DAY)


class Settings(Section):
    """Everything that can be set, defaults filled in. Paths are absolute."""

    config: AbsolutePath = _setting(
        "The fleet file: which servers there are.",
        shown="config/mcp-servers.yml in the current folder",
        default_factory=lambda: _absolute(Path("config/mcp-servers.yml")),
    )
    state_dir: AbsolutePath = _setting(
        "The folder for what is kept between starts: tokens, packages, logs. Locked while the service runs.",
        shown="$XDG_STATE_HOME/fairlead, or ~/.local/state/fairlead",
        default_factory=default_state_dir,
    )
    workspace: AbsolutePath = _setting(
        "The folder that the filesystem server may work in.",
        shown="the folder `workspace` in `state_dir`",
        default_factory=lambda data: data["state_dir"] / "workspace",
    )
    host: Host = _setting(
        "The address that the services listen on; 0.0.0.0 opens them to the network.", default="127.0.0.1"
    )
    port: Port = _setting("The orchestrator's port; 0 takes any free one.", default=3002)
    gitops_port: Port = _setting("The GitOps controller's port; 0 takes any free one.", default=5000)
    token: Token | None = _setting(
        "A bearer token that is valid beside the stored ones, under the name `env`. Only as a variable.",
        default=None,
    )
    key: Token | None = _setting(
        "The secret of which keys for digests and for encryption are made; all processes on one database "
        "need the same. Only as a variable.",
        shown="the file `key` in `state_dir`",
        default=None,
    )
    allowed_hosts: Hosts = _setting(
        "Host names that requests may be addressed to, beside loopback and `host` (with commas between them "
        "in the variable).",
        default=(),
    )
    public_url: PublicUrl | None = _setting(
        "How clients reach the service, where that is another URL than `host` and `port`, as behind a proxy.",
        default=None,
    )
    database: DatabaseUrl | None = _setting(
        "The PostgreSQL where the services keep their state, each in its own schema. Only as a variable.",
        shown="SQLite files in `state_dir`",
        default=None,
    )
    bus: SecretStr | None = _setting(
        "A Redis or Valkey by which several processes on one database tell each other what is new: "
        "`redis://[user:password@]host[:port][/number]`. Only as a variable.",
        shown="none: one process",
        default=None,
    )
    log: LogSettings = LogSettings()
    edge: EdgeSettings = EdgeSettings()
    sessions: SessionSettings = SessionSettings()
    secrets: SecretSettings = SecretSettings()
    live: LiveSettings = LiveSettings()
    oauth: OAuthSettings = OAuthSettings()
    audit: AuditSettings = AuditSettings()
    tls: TlsSettings = TlsSettings()
    admin: AdminSettings = AdminSettings()
    retention: RetentionSettings = RetentionSettings()

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """What a request's Host may say, beside loopback."""
        public = [self.public_url.partition("://")[2]] if self.public_url else []
        return (*self.allowed_hosts, self.host, *public)

    @property
    def scheme(self) -> str:
        return "https" if self.tls.certificate else "http"

    @property
    def lock_file(self) -> Path:
        """Where the fleet's packages are pinned: beside the fleet file, committed with it."""
        return self.config.with_suffix(".lock")

    @property
    def secrets_file(self) -> Path:
        """The encrypted file of secrets, whether it is there or not."""
        return self.secrets.file or self.config.with_name("secrets.age")

    @property
    def identity_file(self) -> Path:
        """Where the key that reads it is, on this machine."""
        return self.secrets.identity_file or self.state_dir / "secrets-identity"

    def identities(self) -> list[str]:
        """The age secret keys that this machine has, as they are now."""
        given = [self.secrets.identity.get_secret_value()] if self.secrets.identity else []
        try:
            kept = self.identity_file.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            kept = []
        return given + [line.strip() for line in kept if line.strip() and not line.startswith("#")]

    def require_config(self) -> Path:
        """The fleet file's path. Raises `ProblemError` when there is no such file."""
        if self.config.is_file():
            return self.config
        what = "it is not a file" if self.config.exists() else "there is no such file"
        raise bad_settings(
            "no fleet file",
            f"{self.config}: {what}. Run the command in a folder with config/mcp-servers.yml, or name the "
            "file with --config or FAIRLEAD_CONFIG",
        )


def base_url(host: str, port: int, scheme: str = "http") -> str:
    """The URL under which a client on this machine reaches a service that listens there."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound, only read
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"


def bad_settings(title: str, detail: str) -> ProblemError:
    return ProblemError(
        Problem(code="bad-settings", title=title, detail=detail, status=400, fault=Fault.CLIENT)
    )


class Key:
    """One key of the settings: its dotted path and what the model says of it."""

    def __init__(self, path: str, field: FieldInfo) -> None:
        self.path = path
        self.variable = PREFIX + path.replace(".", "_").upper()
        self.doc = field.description or ""
        extra: Any = field.json_schema_extra
        self.unit: str = extra["unit"]
        self.shown: str = extra["shown"]
        self._field = field

    def __repr__(self) -> str:
        return f"Key({self.path!r})"

    @property
    def default(self) -> str:
        """The default as people read it."""
        return self.shown or show(self._field.default)

    @property
    def secret(self) -> bool:
        return self._field.annotation is not None and "SecretStr" in str(self._field.annotation)

    def value(self, settings: Settings) -> Any:
        value: Any = settings
        for part in self.path.split("."):
            value = getattr(value, part)
        return value


def _keys(model: type[BaseModel], prefix: str) -> list[Key]:
    keys: list[Key] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            keys += _keys(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(Key(prefix + name, field))
    return keys


KEYS: tuple[Key, ...] = tuple(_keys(Settings, ""))


def show(value: Any) -> str:
    """A value as people read it; secrets are masked."""
    match value:
        case None:
            return "not set"
        case SecretStr():
            return "********"
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case float():
            return f"{value:g}"
        case _:
            return str(value)

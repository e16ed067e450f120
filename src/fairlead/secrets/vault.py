"""Secrets in one encrypted file, which may be kept in Git: `fairlead secrets` writes it.

The file is age (age-encryption.org/v1), armored, for one or more recipients. Inside is a JSON object: the
secrets by name, and the recipients, so that whoever can read it can also write it anew for all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyrage
import structlog

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.placeholders import VAULT_NAME

LOG = structlog.get_logger("fairlead.secrets")
_FORMAT: Final = 1
_NAME: Final = re.compile(VAULT_NAME)
LARGEST: Final = 2**20  # bytes of the file


@dataclass(frozen=True, slots=True)
class Vault:
    """The file's content, decrypted. `recipients` are age public keys (`age1...`)."""

    recipients: tuple[str, ...]
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def opened(cls, content: bytes, identities: Sequence[str]) -> Vault:
        """Decrypt it with one of these age secret keys. Raises ProblemError, without a value in it."""
        if not identities:
            raise _problem("no-identity", "there is no key to read it: `fairlead secrets init` makes one")
        try:
            keys = [pyrage.x25519.Identity.from_str(each.strip()) for each in identities]
        except (pyrage.IdentityError, ValueError):
            raise _problem(
                "bad-identity", "the identity is not an age secret key (AGE-SECRET-KEY-1...)"
            ) from None
        try:
            document = json.loads(pyrage.decrypt(content, keys))
            return cls._of(document)
        except pyrage.DecryptError:
            detail = (
                "it cannot be decrypted with this machine's identity: ask somebody who can read it to run "
                "`fairlead secrets share` with the recipient that `fairlead secrets init` shows"
            )
            raise _problem("cannot-decrypt", detail) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _problem("damaged", "what is in it is not what `fairlead secrets` writes") from None

    @classmethod
    def _of(cls, document: Any) -> Vault:
        if document["version"] != _FORMAT:
            raise _problem("newer", f"it has version {document['version']!r}, this Fairlead reads {_FORMAT}")
        vault = cls(tuple(document["recipients"]), dict(document["secrets"]))
        if not all(
            isinstance(text, str) for text in (*vault.recipients, *vault.values, *vault.values.values())
        ):
            raise TypeError
        return vault

    def sealed(self) -> bytes:
        """Encrypt it for its recipients. Raises ProblemError when one of them is no age public key."""
        document = {"version": _FORMAT, "recipients": list(self.recipients), "secrets": dict(self.values)}
        keys = [pyrage.x25519.Recipient.from_str(require_recipient(each)) for each in self.recipients]
        sealed: bytes = pyrage.encrypt(json.dumps(document, sort_keys=True).encode(), keys, armored=True)
        return sealed

    def with_value(self, name: str, value: str) -> Vault:
        """Raises ProblemError when the name or the value cannot be."""
        if not _NAME.fullmatch(name):
            detail = "a name has letters, digits, `_`, `-` and `.`, and begins with a letter or `_`"
            raise _problem("bad-name", f"{name[:80]!r} cannot name a secret: {detail}")
        if not value or "\0" in value:
            raise _problem("bad-value", "a secret is neither empty nor holds a NUL character")
        return replace(self, values={**self.values, name: value})

    def without(self, name: str) -> Vault:
        """Raises ProblemError when there is no such secret."""
        if name not in self.values:
            known = ", ".join(sorted(self.values)) or "none"
            raise _problem("unknown-secret", f"there is no secret {name[:80]!r}; there are: {known}")
        return replace(self, values={key: value for key, value in self.values.items() if key != name})


def require_recipient(text: str) -> str:
    """Raises ProblemError when it is no age public key."""
    try:
        pyrage.x25519.Recipient.from_str(text)
    except (pyrage.RecipientError, ValueError):
        raise _problem("bad-recipient", f"{text[:80]!r} is not an age public key (age1...)") from None
    return text


def new_identity() -> tuple[str, str]:
    """A new age key: the secret one, and the public one for whoever encrypts."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def public_of(identity: str) -> str:
    """The public key of a secret one. Raises ProblemError."""
    try:
        return str(pyrage.x25519.Identity.from_str(identity.strip()).to_public())
    except (pyrage.IdentityError, ValueError):
        raise _problem(
            "bad-identity", "the identity is not an age secret key (AGE-SECRET-KEY-1...)"
        ) from None


class VaultSecrets:
    """Implements `ports.SecretSource` over the file, which is read anew when it has changed.

    `identities` gives the age secret keys; `on_read` gets each value that is handed out.
    """

    def __init__(
        self,
        path: Path,
        identities: Callable[[], Sequence[str]],
        *,
        on_read: Callable[[str], None] = lambda value: None,
    ) -> None:
        self._path = path
        self._identities = identities
        self._on_read = on_read
        self._seen: object = None
        self._values: Mapping[str, str] = {}
        self._told = ""  # why it cannot be read; said once, however often somebody asks

    def __repr__(self) -> str:
        return f"VaultSecrets({str(self._path)!r})"

    def get(self, name: str) -> str | None:
        """None for a secret that is not there or cannot be read, with the reason in the log."""
        try:
            status = self._path.stat()
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            if mark != self._seen:
                self._values = Vault.opened(read_bounded(self._path), self._identities()).values
                self._seen = mark
            self._told = ""
        except (OSError, ProblemError) as error:
            why = error.problem.detail if isinstance(error, ProblemError) else str(error.strerror)
            if why != self._told:
                LOG.warning("the file of secrets cannot be read", file=str(self._path), why=why)
            self._values, self._seen, self._told = {}, None, why
        value = self._values.get(name)
        if value:
            self._on_read(value)
        return value


def read_bounded(path: Path) -> bytes:
    """The file's content. Raises OSError, or ProblemError when it is far too large."""
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise _problem("too-large", f"{path} has more than {LARGEST} bytes")
    return content


def _problem(code: str, detail: str) -> ProblemError:
    return ProblemError(Problem(f"secrets-{code}", "The file of secrets", detail, 400, Fault.CLIENT))

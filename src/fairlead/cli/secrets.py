"""`fairlead secrets`: an encrypted file beside the fleet file, which may be kept in Git.

Values come from stdin or a hidden prompt and are never shown: a command line, a terminal's history and the
list of processes are no places for them.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from fairlead.app.settings import Settings
from fairlead.cli.options import config_option, json_option, load, state_options
from fairlead.cli.output import columns, print_json, problem, say
from fairlead.secrets.vault import Vault, new_identity, public_of, read_bounded, require_recipient
from fairlead.stores import files
from fairlead.stores.state import StateFolder

LONGEST = 64 * 2**10  # bytes of a value


@click.group("secrets")
def secrets_command() -> None:
    """Keep secrets in an encrypted file; `${secret:NAME}` in the fleet file stands for one."""


@secrets_command.command("init")
@json_option
@config_option
@state_options
def init(*, as_json: bool, **given: Any) -> None:
    """Make this machine's key and the file, unless they are there, and show the key's public half.

    The public half (age1...) may be given to anyone: who can read the file shares it with that.
    """
    settings = load(**given).settings
    StateFolder(settings.state_dir).prepare()
    identities = settings.identities()
    made_key = not identities
    if made_key:
        identity, _ = new_identity()
        identities = [files.create_once(settings.identity_file, f"{identity}\n".encode()).decode().strip()]
    recipient = public_of(identities[0])
    path = settings.secrets_file
    made_file = not path.exists()
    if made_file:
        _write(path, Vault((recipient,)))
    if as_json:
        print_json({"recipient": recipient, "file": str(path), "madeKey": made_key, "madeFile": made_file})
        return
    where = f"in {settings.identity_file}: copy it to a safe place, without it the secrets are lost"
    say(f"This machine's key is {where if made_key else 'there already'}")
    say(f"The secrets are in {path}" + ("" if made_file else ", which was there already"))
    say("Its public half:")
    click.echo(recipient)


@secrets_command.command("set")
@click.argument("name")
@json_option
@config_option
@state_options
def set_secret(name: str, *, as_json: bool, **given: Any) -> None:
    """Set the secret NAME to what is typed (hidden), or comes on stdin."""
    settings = load(**given).settings
    with _editing(settings) as edit:
        edit.vault = edit.vault.with_value(name, _value(name))
    _done(settings, as_json, {"name": name, "set": True}, f"{name} is set; write ${{secret:{name}}}")


@secrets_command.command("remove")
@click.argument("name")
@json_option
@config_option
@state_options
def remove(name: str, *, as_json: bool, **given: Any) -> None:
    """Take the secret NAME out of the file. Older versions of the file in Git still hold it."""
    settings = load(**given).settings
    with _editing(settings) as edit:
        edit.vault = edit.vault.without(name)
    _done(settings, as_json, {"name": name, "removed": True}, f"{name} is removed")


@secrets_command.command("list")
@json_option
@config_option
@state_options
def list_secrets(*, as_json: bool, **given: Any) -> None:
    """List the secrets' names and who can read them. Values are never shown."""
    settings = load(**given).settings
    vault = _read(settings)
    own = {public_of(identity) for identity in settings.identities()}
    if as_json:
        print_json({"secrets": sorted(vault.values), "recipients": list(vault.recipients)})
        return
    rows = [
        ("SECRET", "IN THE FLEET FILE"),
        *((name, f"${{secret:{name}}}") for name in sorted(vault.values)),
    ]
    for line in columns(rows):
        say(line)
    say()
    say("Can be read by:")
    for recipient in vault.recipients:
        say(f"  {recipient}" + ("  (this machine)" if recipient in own else ""))


@secrets_command.command("share")
@click.argument("recipient")
@json_option
@config_option
@state_options
def share(recipient: str, *, as_json: bool, **given: Any) -> None:
    """Let the owner of RECIPIENT (age1..., as `fairlead secrets init` shows it) read the file, too."""
    settings = load(**given).settings
    require_recipient(recipient)
    with _editing(settings) as edit:
        there = edit.vault.recipients
        edit.vault = Vault(there if recipient in there else (*there, recipient), edit.vault.values)
    _done(settings, as_json, {"recipient": recipient, "shared": True}, "they can read it from now on")


@secrets_command.command("unshare")
@click.argument("recipient")
@json_option
@config_option
@state_options
def unshare(recipient: str, *, as_json: bool, **given: Any) -> None:
    """Encrypt the file for RECIPIENT no more. What they have read they know: change those secrets."""
    settings = load(**given).settings
    with _editing(settings) as edit:
        rest = tuple(each for each in edit.vault.recipients if each != recipient)
        if len(rest) == len(edit.vault.recipients):
            raise problem("unknown-recipient", "no such recipient", "see `fairlead secrets list`", status=400)
        if not any(public_of(identity) in rest for identity in settings.identities()):
            detail = "it is this machine's: share the file first with another key that this machine has"
            raise problem("last-recipient", "you could not read the file any more", detail, status=400)
        edit.vault = Vault(rest, edit.vault.values)
    _done(settings, as_json, {"recipient": recipient, "shared": False}, "new versions are not for them")


class _Edit:
    def __init__(self, vault: Vault) -> None:
        self.vault = vault


@contextmanager
def _editing(settings: Settings) -> Iterator[_Edit]:
    """The file's content, written anew at the end of the block; one at a time on this machine."""
    state = StateFolder(settings.state_dir)
    state.prepare()
    with files.opened_lock(state.root / "secrets.lock") as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        edit = _Edit(_read(settings))
        before = edit.vault
        yield edit
        if edit.vault != before:  # an encryption of the same is another file, which Git would show
            _write(settings.secrets_file, edit.vault)


def _read(settings: Settings) -> Vault:
    path = settings.secrets_file
    try:
        content = read_bounded(path)
    except FileNotFoundError:
        detail = f"{path}: make it with `fairlead secrets init`"
        raise problem("no-secrets-file", "there is no file of secrets", detail, status=400) from None
    return Vault.opened(content, settings.identities())


def _write(path: Path, vault: Vault) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644  # it is encrypted, and goes into Git
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, vault.sealed())
    path.chmod(mode)


def _value(name: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True))
    given = sys.stdin.buffer.read(LONGEST + 1)
    if len(given) > LONGEST:
        raise problem(
            "bad-value", "the value is too long", f"a secret has at most {LONGEST} bytes", status=400
        )
    try:
        return given.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise problem("bad-value", "the value is not UTF-8 text", "encode it (base64)", status=400) from None


def _done(settings: Settings, as_json: bool, told: dict[str, Any], text: str) -> None:
    if as_json:
        print_json(told)
        return
    say(text)
    if StateFolder(settings.state_dir).holder() is not None:
        say("Servers that run keep what they were started with: `fairlead restart ID` gives them the new one")

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from fairlead.app import logs
from fairlead.app.logs import configure, on_stderr, register_secret
from fairlead.app.tracing import open_tracer


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, logging.raiseExceptions = handlers, raising
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logs._secrets.clear()


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_has_time_level_event_logger_and_fields(capsys: pytest.CaptureFixture[str]):
    configure("info", "json")
    structlog.get_logger("fairlead.x").warning("서버 ready", server="filesystem", tools=14)
    (record,) = written(capsys)
    assert list(record)[:4] == ["time", "level", "event", "logger"]
    assert record["time"].endswith("Z")
    del record["time"]
    assert record == {
        "level": "warning",
        "event": "서버 ready",
        "logger": "fairlead.x",
        "server": "filesystem",
        "tools": 14,
    }


def test_the_request_id_comes_from_the_context(capsys: pytest.CaptureFixture[str]):
    configure("info", "json")
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger("a").info("inside")
        logging.getLogger("b").info("inside too")
    structlog.get_logger("a").info("outside")
    assert [record.get("request_id") for record in written(capsys)] == ["r-1", "r-1", None]


def test_the_standard_library_goes_the_same_way(capsys: pytest.CaptureFixture[str]):
    configure("info", "json")
    logging.getLogger("uvicorn.error").info("listening on %s", "x")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    first, second = written(capsys)
    assert (first["logger"], first["event"]) == ("uvicorn.error", "listening on x")
    assert second["logger"] == "py.warnings"
    assert "careful" in second["event"]


class Touchy:
    """Fails the test when it is formatted."""

    def __repr__(self) -> str:
        raise AssertionError

    __str__ = __repr__


def test_what_is_off_is_not_formatted(capsys: pytest.CaptureFixture[str]):
    configure("warning", "json")
    log = structlog.get_logger("a")
    log.debug("no", what=Touchy())
    log.info("no %s", Touchy())
    logging.getLogger("b").info("no %s", Touchy())
    log.error("yes")
    assert [record["event"] for record in written(capsys)] == ["yes"]


def test_secrets_are_taken_out_by_the_name_of_their_key(capsys: pytest.CaptureFixture[str]):
    configure("info", "json")
    structlog.get_logger("a").info(
        "call",
        token="s3cret",
        Authorization="Bearer s3cret",
        access_token="s3cret",
        db_password="s3cret",
        client_secret=b"s3cret",
        headers={
            "X-Api-Key": "s3cret",
            "set-cookie": ["s3cret"],
            "accept": "ok",
            "inner": [{"apikey": "s3cret"}],
        },
        secrets={"A": "s3cret"},
        tokens=3,
        token_name="ci",
        password=None,
    )
    (line,) = capsys.readouterr().out.splitlines()
    assert "s3cret" not in line
    record = json.loads(line)
    assert record["token"] == "[redacted]"
    assert record["headers"]["accept"] == "ok"
    assert (record["tokens"], record["token_name"], record["password"]) == (3, "ci", None)


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "secret", ["plain-s3cret", 'quo"ted\\s3cret', "line\nbreak-s3cret", "geheim-ß-s3cret"]
)
def test_registered_values_are_taken_out_wherever_they_stand(
    capsys: pytest.CaptureFixture[str], form: Any, secret: str
):
    register_secret(secret)
    configure("info", form)
    log = structlog.get_logger("a")
    log.info(f"with {secret} inside", url=f"https://x/?k={secret}", deep={"a": [secret]})
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")
        logging.getLogger("b").exception("failed too: %r", {"x": secret})
    out = capsys.readouterr().out
    assert "s3cret" not in out
    assert out.count("[redacted]") >= 5


def test_values_too_short_to_be_told_apart_are_left(capsys: pytest.CaptureFixture[str]):
    register_secret("a")
    register_secret("")
    configure("info", "json")
    structlog.get_logger("a").info("banana")
    assert written(capsys)[0]["event"] == "banana"


def test_an_exception_is_one_line_of_json(capsys: pytest.CaptureFixture[str]):
    configure("info", "json")
    try:
        raise ValueError("boom")
    except ValueError:
        structlog.get_logger("a").exception("failed")
    (record,) = written(capsys)
    assert record["exception"].endswith("ValueError: boom")
    assert record["exception"].startswith("Traceback")


def test_half_a_surrogate_pair_does_not_lose_the_line(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    configure("info", "json", file=tmp_path / "log")
    structlog.get_logger("a").info("odd \ud800 text")
    assert "odd \\ud800 text" in (tmp_path / "log").read_text()


def test_the_console_form_has_no_colours_without_a_terminal(capsys: pytest.CaptureFixture[str]):
    configure("info", "console")
    structlog.get_logger("a").info("hello", server="x")
    out = capsys.readouterr().out
    assert "hello" in out
    assert "server=x" in out
    assert "\x1b" not in out


def test_auto_is_json_without_a_terminal(capsys: pytest.CaptureFixture[str]):
    configure("info", "auto")
    structlog.get_logger("a").info("hello")
    assert written(capsys)[0]["event"] == "hello"


def test_configuring_again_replaces_what_was(capsys: pytest.CaptureFixture[str]):
    configure("info", "json")
    configure("error", "json")
    structlog.get_logger("a").info("no")
    structlog.get_logger("a").error("once")
    assert [record["event"] for record in written(capsys)] == ["once"]


def test_a_file_is_rotated_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logs, "MAX_FILE", 2000)
    configure("info", "auto", file=tmp_path / "o.log")
    for number in range(200):
        structlog.get_logger("a").info("line", number=number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["o.log", "o.log.1", "o.log.2", "o.log.3"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    assert json.loads((tmp_path / "o.log").read_text().splitlines()[-1])["number"] == 199


ROTATES = """
import sys, pathlib, structlog
from fairlead.app import logs
logs.MAX_FILE = 1000
logs.configure("info", "json", file=pathlib.Path(sys.argv[1]))
for number in range(30):
    structlog.get_logger("a").info("line", number=number)
print("last words", file=sys.stderr)
"""


def test_what_a_process_writes_by_itself_follows_the_rotation(tmp_path: Path):
    path = tmp_path / "o.log"
    with path.open("ab") as log:
        subprocess.run([sys.executable, "-c", ROTATES, path], stdout=log, stderr=log, check=True, timeout=60)
    assert (tmp_path / "o.log.1").exists()
    assert path.read_text().endswith("last words\n")


@pytest.mark.parametrize(
    "headers", ["Authorization: Bearer s3cr3t", "a=1, s3cr3t", "authorization=Bearer%20s3cr3t"]
)
def test_a_collectors_credentials_do_not_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], headers: str
):
    configure("debug", "json")
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_HEADERS": headers,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracer = open_tracer(environment, "x")
    assert tracer is not None
    tracer.close()
    logging.getLogger("x").warning("sent: %s", headers.rpartition("=")[2])
    told = capsys.readouterr().out
    assert logs.REDACTED in told
    assert "s3cr3t" not in told


def test_a_commands_logs_are_on_stderr_and_conceal_as_well(capsys: pytest.CaptureFixture[str]):
    register_secret("hush-hush")
    log = structlog.get_logger("fairlead.x")
    with on_stderr():
        log.debug("too small")
        log.info("the tables are being brought up to date", place="db?hush-hush", token="abc")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "[info     ] the tables are being brought up to date place=db?[redacted] token=[redacted]\n"
    )
    log.info("as before")
    assert "as before" in capsys.readouterr().out

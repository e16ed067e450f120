"""The process that sends one message by Apprise: see `by_apprise`. It says nothing but by its exit code."""

from __future__ import annotations

import json
import sys

import apprise

UNKNOWN_URL = 3
NOT_TAKEN = 4


def main() -> int:
    url, title, body = json.load(sys.stdin)
    service = apprise.Apprise()
    if not service.add(url):
        return UNKNOWN_URL
    return 0 if service.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT) else NOT_TAKEN


if __name__ == "__main__":
    sys.exit(main())

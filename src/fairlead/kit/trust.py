"""Trusting the service of this machine over TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

_END: Final = "-----END CERTIFICATE-----\n"


def pinned(certificate: Path | None) -> ssl.SSLContext:
    """Trusts the first certificate of the file alone, the service's own: not those that signed it."""
    if certificate is None:
        return ssl.create_default_context()
    own = certificate.read_text(encoding="ascii", errors="replace").partition(_END)
    context = ssl.create_default_context(cadata=own[0] + own[1])
    if own[1]:
        context.check_hostname = False  # it is this very certificate, by whatever name we come
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context

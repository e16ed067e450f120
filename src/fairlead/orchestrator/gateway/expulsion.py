"""The end of what was opened by a credential that is good no more.

New requests are refused from the moment on in which the policy changes, since then no head is known any
more. What is open already ends here: sessions and subscriptions at once, streams and calls when their
connections are looked at next, within a second.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fairlead.model.access import Caller

if TYPE_CHECKING:
    from fairlead.core.access import Identities
    from fairlead.orchestrator.gateway.exchange import Exchange
    from fairlead.orchestrator.gateway.gateway import Gateway


def is_revoked(caller: Caller, identities: Identities, *, now: float | None = None) -> bool:
    """Whether a credential was taken back, and has not just come to its end. `now` is Unix time, s.

    A client whose access token ends brings a new one, and goes on with its session.
    """
    over = caller.expires is not None and caller.expires <= (time.time() if now is None else now)
    return not over and not identities.is_valid(caller)


def expel_invalid(gateway: Gateway, exchange: Exchange) -> None:
    """End an exchange whose caller may not be here any more."""
    head, session = exchange.head, exchange.head.session
    if exchange.ended or gateway.policy.identities.is_valid(head.caller):
        return
    if exchange.method != "GET":
        gateway.subscriptions.end(exchange)
        exchange.cancel("its credential is good no more")
    elif head.over_sse and session is not None:
        gateway.close_session(session)
    else:
        exchange.hang_up()

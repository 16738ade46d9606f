"""How many connections a process may have at once: each is an open file, and what starts a process allows it few.

containerd 2 gives containers a soft limit of 1,024 (systemd's, kept low for programs that use select()) and a hard one of half a million.
At the soft one nothing is accepted any more, from nobody. Ours wait with epoll, for which a descriptor may have any number.
"""

from __future__ import annotations

import logging
import resource

log = logging.getLogger(__name__)


def raise_limit() -> None:
    """Have the hard limit of open files hold for this process, as it may by itself. Where the system says no, that is logged."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # macOS tells of a hard limit that it doesn't grant
        log.warning("No more than %d files and connections can be open: %s", soft, error)

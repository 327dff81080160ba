"""Several daemons under one command, as members of one group: for a machine with more than one core."""

from daemon.workers.count import count
from daemon.workers.supervisor import Plan, supervise

__all__ = ["Plan", "count", "supervise"]

"""Who asks, and how much they may ask.

The order is always the same:

1. identity: the credential holds, or the request is refused with 401; it is never taken for an anonymous one instead.
2. queue: where no slot is free the request takes one of the places to wait in; where none is left, 429 at once.
3. slot: the first of an identity goes first, and identities that wait for the same slots take turns.
4. rate: taken last, when the request can start. So a request that was refused for its slot, gave up while it waited, or
   was refused by another rate has not been counted; one that would have to wait while its rate is used up is refused
   at once.

addresses.py  whose address is whose, behind proxies
callers.py    the caller of a request
keys.py       API keys: a file of their hashes
tokens.py     JSON Web Tokens, and the key set that they are checked with
watched.py    a file that is read again when it changes
locks.py      bytes of files, locked: the slots of all processes
limiter.py    waiting for a slot
rates.py      requests a period, in SQLite or Redis
sqlite.py     the storage that counts them for all processes of a machine
controller.py the order above
audit.py      who asked what, when, and how much it cost
"""

from motet.serving.admission.addresses import client_address
from motet.serving.admission.audit import AuditEntry, audit_log
from motet.serving.admission.callers import Caller
from motet.serving.admission.controller import Admission, Ticket, reason_of
from motet.serving.config.admission import AdmissionConfig, AuditConfig, ClassLimits, Rate, TokenConfig

__all__ = [
    "Admission",
    "AdmissionConfig",
    "AuditConfig",
    "AuditEntry",
    "Caller",
    "ClassLimits",
    "Rate",
    "Ticket",
    "TokenConfig",
    "audit_log",
    "client_address",
    "reason_of",
]

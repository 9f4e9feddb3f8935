"""Who does a deed: a person at the console, a machine with a token, or a process of the product."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Actor:
    """`str(actor)` is what entries, payments and the audit log keep: an id, never a name."""

    #: user | api_token | system | resident.
    kind: str
    #: Id of the user, token or party; name of the process.
    ref: int | str
    #: Name for receipts; '' for machines.
    name: str = ""
    #: Network address of the request; None for processes.
    address: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.ref}"

    @classmethod
    def user(cls, user_id: int, *, name: str = "", address: str | None = None) -> Self:
        """A signed-in operator."""
        return cls("user", user_id, name, address)

    @classmethod
    def api_token(cls, token_id: int, *, name: str = "", address: str | None = None) -> Self:
        """A machine that showed an API token."""
        return cls("api_token", token_id, name, address)

    @classmethod
    def system(cls, process: str) -> Self:
        """A process of the product itself: `worker`, `headend`, `operator-cli`."""
        return cls("system", process)

"""How the processes of one run reach each other, and nobody else does.

Whoever may speak to a Dask process runs code as its user, and the loopback interface is open to
every user of the machine. So each run makes a certificate of its own, which both ends of every
connection must show; its key goes from process to process by pipes alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Security

HOST = "127.0.0.1"
"""Where all of them listen."""


@dataclass(frozen=True)
class Contact:
    """What a process must have to take part in the run.

    Attributes:
        address: The Dask scheduler's.
        certificate: The run's, which is its own authority (PEM).
        key: The certificate's private key (PEM).
    """

    address: str
    certificate: str
    key: str

    def to_line(self) -> bytes:
        """Return it as one line for a pipe."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Contact:
        """Return what `to_line` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(str(error)) from error

    def security(self) -> Security:
        """Return what Dask needs to show the certificate and to ask for it."""
        from distributed import Security

        ends = ("client", "scheduler", "worker")
        return Security(
            require_encryption=True,
            tls_ca_file=self.certificate,
            **{f"tls_{end}_cert": self.certificate for end in ends},
            **{f"tls_{end}_key": self.key for end in ends},
        )


def new_contact() -> Contact:
    """Make a certificate; the address is any free port."""
    from distributed import Security

    made = Security.temporary()
    return Contact(f"tls://{HOST}:0", made.tls_client_cert, made.tls_client_key)

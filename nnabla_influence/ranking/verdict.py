"""How far a ranking can be trusted, in a word."""

from __future__ import annotations

from dataclasses import dataclass

RELIABLE, ROUGH = "reliable", "rough"
FORBIDDEN = frozenset(",:;\r\n")
"""What may not stand in the header cell that holds the words."""


@dataclass(frozen=True)
class Verdict:
    """How far a ranking can be trusted; one that cannot be at all is not written.

    Attributes:
        word: ``reliable``: it agrees with what the scores stand for. ``rough``: it may not; look
            at the reason.
        reason: In a few words, without a comma, colon, semicolon or ``/``
            between spaces.

    Raises:
        ValueError: It is another word, or the reason has one of these.
    """

    word: str
    reason: str = ""

    def __post_init__(self) -> None:
        if self.word not in (RELIABLE, ROUGH) or FORBIDDEN & set(self.reason):
            raise ValueError(f"verdict {self.word!r}, {self.reason!r}")

    @property
    def is_rough(self) -> bool:
        """Whether the reader must be warned."""
        return self.word == ROUGH

    @property
    def sentence(self) -> str:
        """What a reader of the ranking must know."""
        if not self.is_rough:
            return "The ranking is reliable: its checks found nothing against it."
        because = f" ({self.reason})" if self.reason else ""
        return (
            f"The ranking is rough{because}: what retraining without a row does may differ much"
            " from its score. Look at the rows themselves, and measure before you remove."
        )

    def __str__(self) -> str:
        return f"{self.word} - {self.reason}" if self.reason else self.word


def parsed_verdict(text: str) -> Verdict | None:
    """Return the verdict that a header cell holds; None where it is none."""
    word, _, reason = text.partition(" - ")
    if word not in (RELIABLE, ROUGH) or FORBIDDEN & set(reason):
        return None
    return Verdict(word, reason)

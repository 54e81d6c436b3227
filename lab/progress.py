"""Progress lines on stderr, each with the seconds since the start."""

import sys
import time


class Progress:
    """Say what was reached and when: ``lab  3.2s hv1 answers over TLS``."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def __call__(self, message: str) -> None:
        """Print ``message``, unless quiet."""
        if not self.quiet:
            print(f"lab {self.seconds:5.1f}s {message}", file=sys.stderr, flush=True)

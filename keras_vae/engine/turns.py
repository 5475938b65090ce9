"""Which thread runs steps that change a model's metrics or weights: one at a time."""

import contextlib
import threading


class Turns:
    """Lets one thread at a time be at `fit`, `evaluate` or `adapt` of a model; within one it may call another."""

    def __init__(self):
        self._changed = threading.Condition()
        self._thread = self._method = None

    @property
    def is_training(self):
        """Whether some thread is at a `fit`."""
        return self._method == "fit"

    @contextlib.contextmanager
    def alone(self, method):
        """Within, no other thread changes the model. One `evaluate` waits for another.

        Raises:
            RuntimeError: another thread is at something else, which may take long.
        """
        me = threading.get_ident()
        with self._changed:
            while self._thread not in (None, me):
                if not method == self._method == "evaluate":
                    raise RuntimeError(
                        f"{method}: expected no other thread to change this model meanwhile; received one that is at "
                        f"`{self._method}`. Let one thread train a model. Beside it others may ask for log_likelihood "
                        "and predict."
                    )
                self._changed.wait()
            before = self._thread, self._method
            self._thread, self._method = me, self._method or method
        try:
            yield
        finally:
            with self._changed:
                self._thread, self._method = before
                self._changed.notify_all()

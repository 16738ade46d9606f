"""What leadership means to the controller: the queue is open while this replica leads and knows enough."""

from __future__ import annotations

from roadstead.controller.controller import Controller


class Leadership:
    """Opens the queue while this replica leads *and* its caches are filled; on gaining the Lease everything is looked at once."""

    def __init__(self) -> None:
        self._leading = False
        self._controller: Controller | None = None

    def gained(self) -> None:
        """The Lease is ours."""
        self._leading = True
        if self._controller is not None:
            self._controller.new_term()
            self._controller.queue.open()

    def lost(self) -> None:
        """The Lease is ours no more."""
        self._leading = False
        if self._controller is not None:
            self._controller.queue.close()

    def filled(self, controller: Controller) -> None:
        """The caches are filled: from now on leadership alone decides."""
        self._controller = controller
        if self._leading:
            self.gained()

# Written by client/make_sync.py: change the file of the same name in _async instead.
"""The calls that explore what a generator draws."""

from typing import Unpack

from acgan_client._sync.transport import Transport
from acgan_client.calls import get
from acgan_client.exploration import (
    DrawnNeighbours,
    DrawnTraversal,
    NeighboursQuery,
    TraversalQuery,
    exploration_path,
)


class Exploration(Transport):
    """The part of the client that compares digits with training images, and draws what is around an address."""

    def neighbours(self, label: int, **query: Unpack[NeighboursQuery]) -> DrawnNeighbours:
        """Draw a digit, and return it with the nearest training images of its checkpoint."""
        return self._send(get(exploration_path("neighbours", label), DrawnNeighbours.of, query))

    def image_neighbours(self, dataset: str, label: str | int, **query: Unpack[NeighboursQuery]) -> DrawnNeighbours:
        """Draw an image of any training data, and return it with the nearest training images of its checkpoint."""
        return self._send(get(exploration_path("neighbours", label, dataset), DrawnNeighbours.of, query))

    def traversal(self, label: int, **query: Unpack[TraversalQuery]) -> DrawnTraversal:
        """Draw a grid of digits at points around an address, in a plane of latents."""
        return self._send(get(exploration_path("traversal", label), DrawnTraversal.of, query))

    def image_traversal(self, dataset: str, label: str | int, **query: Unpack[TraversalQuery]) -> DrawnTraversal:
        """Draw a grid of images of any training data at points around an address, in a plane of latents."""
        return self._send(get(exploration_path("traversal", label, dataset), DrawnTraversal.of, query))

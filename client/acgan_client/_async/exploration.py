"""The calls that explore what a generator draws."""

from typing import Unpack

from acgan_client._async.transport import AsyncTransport
from acgan_client.calls import get
from acgan_client.exploration import (
    DrawnNeighbours,
    DrawnTraversal,
    NeighboursQuery,
    TraversalQuery,
    exploration_path,
)


class AsyncExploration(AsyncTransport):
    """The part of the client that compares digits with training images, and draws what is around an address."""

    async def neighbours(self, label: int, **query: Unpack[NeighboursQuery]) -> DrawnNeighbours:
        """Draw a digit, and return it with the nearest training images of its checkpoint."""
        return await self._send(get(exploration_path("neighbours", label), DrawnNeighbours.of, query))

    async def image_neighbours(
        self, dataset: str, label: str | int, **query: Unpack[NeighboursQuery]
    ) -> DrawnNeighbours:
        """Draw an image of any training data, and return it with the nearest training images of its checkpoint."""
        return await self._send(get(exploration_path("neighbours", label, dataset), DrawnNeighbours.of, query))

    async def traversal(self, label: int, **query: Unpack[TraversalQuery]) -> DrawnTraversal:
        """Draw a grid of digits at points around an address, in a plane of latents."""
        return await self._send(get(exploration_path("traversal", label), DrawnTraversal.of, query))

    async def image_traversal(self, dataset: str, label: str | int, **query: Unpack[TraversalQuery]) -> DrawnTraversal:
        """Draw a grid of images of any training data at points around an address, in a plane of latents."""
        return await self._send(get(exploration_path("traversal", label, dataset), DrawnTraversal.of, query))

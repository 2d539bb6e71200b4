"""Resolves the host of a receiver. Only public addresses, and those that the operator lists, are accepted.

So a name that points into the network of the service reaches nothing there (server-side request forgery).
"""

import ipaddress
import socket
import threading
from collections.abc import Callable, Collection
from queue import Empty, SimpleQueue

from models.host_names import Address
from worker.webhook_url import Endpoint, allows

Resolve = Callable[[str, int], list[str]]

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
OF_ONE_NETWORK = ipaddress.IPv6Network("64:ff9b:1::/48")  # NAT64 with the prefix of a network, RFC 8215


class AddressRefused(Exception):
    """The host has an address that is neither public nor listed. The message does not contain the address."""


def is_public(address: Address) -> bool:
    """Return whether an address is public, and also each IPv4 address that it contains."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None or address in OF_ONE_NETWORK:
            return False
        if contained := contained_in(address):
            return all(map(is_public, contained))
        if address.is_reserved or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast


def contained_in(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses to which packets for this address may be forwarded."""
    contained = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64:
        contained.append(ipaddress.IPv4Address(int(address) % 2**32))
    return [each for each in contained if each is not None]


def look_up(host: str, port: int) -> list[str]:
    """Resolve a name with the resolver of the system. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def find_addresses(
    host: str, port: int, receivers: Collection[Endpoint], seconds: float, resolve: Resolve = look_up
) -> list[str]:
    """Resolve a host once, and check every address. `receivers` may have addresses that need not be public.

    The resolver of the system has no time limit; therefore it runs on a thread. Raises AddressRefused, TimeoutError,
    and OSError.
    """
    answers: SimpleQueue[list[str] | OSError] = SimpleQueue()

    def run() -> None:
        try:
            answers.put(resolve(host, port))
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=run, name="name resolution", daemon=True).start()
    try:
        found = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if isinstance(found, OSError):
        raise found
    for text in found:
        address = ipaddress.ip_address(text)
        if not allows(receivers, str(address), port) and not is_public(address):
            raise AddressRefused("its host has an address that is not public")
    return found

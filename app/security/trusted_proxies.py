"""The trusted proxies of the API. Imports no web framework, because every command validates the settings."""

import ipaddress

from models.host_names import Address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """The addresses whose `X-Forwarded-*` headers are trusted."""

    def __init__(self, networks: list[Network] | None) -> None:
        self.networks = networks  # None: every address

    @classmethod
    def parse(cls, text: str) -> "Proxies":
        """Parse addresses and networks separated by commas or spaces, or `*`. Raises ValueError."""
        words = text.replace(",", " ").split()
        if "*" in words:
            return cls(None)
        try:
            return cls([ipaddress.ip_network(word, strict=False) for word in words])
        except ValueError:
            raise ValueError(
                "should be addresses or networks like 10.0.0.0/8, separated by spaces or commas, or *"
            ) from None

    def __contains__(self, address: Address | None) -> bool:
        if self.networks is None:
            return True
        return address is not None and any(address in network for network in self.networks)

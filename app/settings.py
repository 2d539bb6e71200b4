"""Everything the HTTP face and the command line can be told from outside, on top of what the worker can."""

from typing import TYPE_CHECKING, Self

from pydantic import AliasChoices, ByteSize, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from app.edge.frequency import read_frequency
from app.edge.hosts import read_names
from app.edge.keys import Keyring
from worker.settings import WorkerSettings

if TYPE_CHECKING:  # takes a while to load, and only the API needs it
    from limits import RateLimitItem

    from app.edge.connections import Bounds
    from app.edge.hosts import AllowedHosts
    from app.edge.proxies import Proxies


class AppSettings(WorkerSettings):
    model_config = SettingsConfigDict(validate_by_name=True, validate_by_alias=True)

    url: str = Field("http://127.0.0.1:8000", description="Where commands that ask a running service find it.")
    key: SecretStr | None = Field(None, description="The key that they show it, where it wants one.")
    host: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0` for all of this machine's.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    workers: int = Field(
        0, ge=0, description="Workers that `acgan up` starts; 0 for one a GPU, and one where there is none."
    )
    allowed_hosts: str = Field(
        "",
        description="Host names that the API answers to, beside IP addresses and localhost, separated by spaces or "
        "commas; `*.example.com` is every name below. With keys, every name is allowed while this is empty.",
    )
    forwarded_allow_ips: str = Field(
        "",
        validation_alias=AliasChoices("ACGAN_FORWARDED_ALLOW_IPS", "FORWARDED_ALLOW_IPS"),
        description="Addresses or networks of proxies whose `X-Forwarded-For`, `-Proto` and `-Host` headers count, "
        "separated by commas; `*` for every address. Without any, these headers are ignored.",
    )
    max_body_bytes: int = Field(65536, ge=1024, description="The longest request body that is read.")
    max_header_bytes: int = Field(16384, ge=1024, description="The longest request line and headers that are read.")
    max_headers: int = Field(100, ge=10, description="Headers that a request may have.")
    request_seconds: float = Field(
        10.0, gt=0, description="How long a request's head may take to arrive, and again its body."
    )
    send_seconds: float = Field(
        30.0,
        gt=0,
        description="How long whoever asked may take none of an answer before being dropped.",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="How long `acgan serve` goes on serving after SIGTERM, no longer ready, before it ends.",
    )
    connections: int = Field(1000, ge=10, description="Connections that one process keeps at a time.")
    cached_checkpoints: int = Field(4, ge=1, description="Generators kept in memory beside the one being served.")
    queue_limit: int = Field(100, ge=1, description="Jobs that may wait; more are refused with 429.")
    drawing_threads: int = Field(0, ge=0, description="Threads that draw; 0 for one a processor, and one on a GPU.")
    drawing_wait_seconds: float = Field(
        1.0,
        gt=0,
        description="How long digits may wait to be drawn: where it would be longer, 503.",
    )
    pretrained: bool = Field(
        True, description="Whether the package's own generator is served until a run has published one."
    )
    stock: int = Field(
        8192, ge=0, description="Digits of each class kept ready, at most, for requests without a seed: 784 bytes each."
    )
    file_cache: ByteSize = Field(
        ByteSize(32_000_000), description="Bytes of files drawn lately to keep, for whoever asks for the same address."
    )
    event_streams: int = Field(100, ge=1, description="Followers of jobs' events that one process streams to.")
    api_keys: SecretStr | None = Field(
        None, description="Whose keys open the API, as `acgan key` prints them; without any, it is open to everybody."
    )
    read_needs_key: bool | None = Field(
        None,
        description="Whether reading needs a key too; if unset, it does if there are keys. Probes never need one.",
    )
    read_rate: str = Field("off", description="How often one caller may read, as in `600/minute`, of each process.")
    work_rate: str = Field("120/minute", description="How often one caller may start, retry or resume runs, in all.")

    @field_validator("url")
    @classmethod
    def complete_url(cls, url: str) -> str:
        return url if "://" in url else f"http://{url}"

    @field_validator("allowed_hosts")
    @classmethod
    def check_names(cls, names: str) -> str:
        read_names(names)
        return names

    @field_validator("forwarded_allow_ips")
    @classmethod
    def check_proxies(cls, addresses: str) -> str:
        from app.edge.proxies import Proxies

        Proxies.parse(addresses)
        return addresses

    @field_validator("api_keys")
    @classmethod
    def check_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            Keyring.parse(keys.get_secret_value())
        return keys

    @field_validator("read_rate", "work_rate")
    @classmethod
    def check_rate(cls, rate: str) -> str:
        read_frequency(rate)
        return rate

    @model_validator(mode="after")
    def check_reading(self) -> Self:
        if self.read_needs_key and self.api_keys is None:
            raise ValueError("ACGAN_READ_NEEDS_KEY asks for keys, and ACGAN_API_KEYS names none: `acgan key` makes one")
        return self

    @property
    def reading_needs_key(self) -> bool:
        return self.api_keys is not None if self.read_needs_key is None else self.read_needs_key

    @property
    def keyring(self) -> Keyring | None:
        return Keyring.parse(self.api_keys.get_secret_value()) if self.api_keys else None

    @property
    def hosts(self) -> "AllowedHosts | None":
        """The host names that the API answers to; None if every name is allowed."""
        from app.edge.hosts import AllowedHosts

        names = read_names(self.allowed_hosts)
        return AllowedHosts(names) if names or self.api_keys is None else None

    @property
    def proxies(self) -> "Proxies":
        from app.edge.proxies import Proxies

        return Proxies.parse(self.forwarded_allow_ips)

    @property
    def bounds(self) -> "Bounds":
        from app.edge.connections import Bounds

        return Bounds(
            header_bytes=self.max_header_bytes,
            headers=self.max_headers,
            body_bytes=self.max_body_bytes,
            request_seconds=self.request_seconds,
            send_seconds=self.send_seconds,
            connections=self.connections,
        )

    @property
    def reads(self) -> "RateLimitItem | None":
        from app.edge.rates import read_rate

        return read_rate(self.read_rate)

    @property
    def works(self) -> "RateLimitItem | None":
        from app.edge.rates import read_rate

        return read_rate(self.work_rate)

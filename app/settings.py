"""Settings of the API and the command line, in addition to those of the worker."""

from typing import TYPE_CHECKING, Annotated, NamedTuple, Self

from pydantic import AfterValidator, AliasChoices, ByteSize, Field, SecretStr, field_validator, model_validator

from app.schemas.links import read_root_path
from app.security.api_keys import Keyring
from app.security.frequency import read_frequency
from app.security.host_names import read_names, read_origins
from worker.settings import MOST_SECONDS, Seconds, WorkerSettings, readable_by

if TYPE_CHECKING:  # slow imports that only the API needs
    from limits import RateLimitItem

    from app.security.host_names import AllowedHosts
    from app.security.trusted_proxies import Proxies


Rate = Annotated[str, readable_by(read_frequency)]


class Bounds(NamedTuple):
    header_bytes: int  # of the request line and the headers together
    headers: int
    body_bytes: int
    upload_bytes: int  # of a body that is a file
    request_seconds: float  # for the headers of a request to arrive, and again for its body
    send_seconds: float  # for a client to read anything of a response
    connections: int


class AppSettings(WorkerSettings):
    url: str = Field("http://127.0.0.1:8000", description="URL of the service that client commands use.")
    key: SecretStr | None = Field(None, description="API key that client commands send.")
    host: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0` for all interfaces.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    workers: int = Field(
        0, ge=0, description="Workers that `acgan up` starts; 0 for one per GPU, or one without a GPU."
    )
    allowed_hosts: Annotated[str, readable_by(read_names)] = Field(
        "",
        description="Host names that requests may use, besides IP addresses and localhost, separated by spaces or "
        "commas; `*.example.com` allows all subdomains. If this is empty and API keys are set, every name is allowed.",
    )
    forwarded_allow_ips: str = Field(
        "",
        validation_alias=AliasChoices("ACGAN_FORWARDED_ALLOW_IPS", "FORWARDED_ALLOW_IPS"),
        description="Addresses or networks of trusted proxies, separated by spaces or commas; `*` for every address. "
        "The API reads `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` only in requests from them.",
    )
    root_path: Annotated[str, AfterValidator(read_root_path)] = Field(
        "",
        description="Path under which a proxy serves the API, such as `/acgan`. The proxy may remove or keep it.",
    )
    cors_origins: Annotated[str, readable_by(read_origins)] = Field(
        "",
        description="Origins of web pages that may call the API from a browser, separated by spaces or commas, as in "
        "`https://example.com`. Browsers send no credentials but the API key that the page adds.",
    )
    max_body_bytes: int = Field(65536, ge=1024, description="Maximum size of a request body, in bytes.")
    upload_limit: ByteSize = Field(
        ByteSize(64 << 20), ge=1024, description="Maximum size of an uploaded file, in bytes, as in `64MiB`."
    )
    upload_stall_seconds: Seconds = Field(
        10.0, description="Seconds without a byte of an uploaded file after which the upload fails."
    )
    max_header_bytes: int = Field(
        16384, ge=1024, description="Maximum size of the request line and headers together, in bytes."
    )
    max_headers: int = Field(100, ge=10, description="Maximum number of headers in a request.")
    request_seconds: Seconds = Field(
        10.0, description="Seconds in which the headers of a request must arrive, and again its body."
    )
    send_seconds: Seconds = Field(
        30.0,
        description="Seconds a client may read nothing of a response before the connection is closed.",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        le=MOST_SECONDS,
        description="Seconds that `acgan serve` serves requests after SIGTERM while it reports not to be ready.",
    )
    connections: int = Field(1000, ge=10, description="Maximum number of open connections per process.")
    cached_checkpoints: int = Field(4, ge=1, description="Generators kept in memory besides the one being served.")
    queue_limit: int = Field(100, ge=1, description="Maximum number of waiting jobs; further ones get 429.")
    drawing_threads: int = Field(0, ge=0, description="Threads that draw; 0 for one per processor, or one on a GPU.")
    drawing_wait_seconds: Seconds = Field(
        1.0,
        description="Seconds that a request may wait for digits. If it would wait longer, the API returns 503.",
    )
    pretrained: bool = Field(
        True, description="Whether the bundled generator is served until a run has published a checkpoint."
    )
    stock: int = Field(
        8192,
        ge=0,
        description="Maximum number of pre-generated digits per class, for requests without a seed; 784 bytes each.",
    )
    file_cache: ByteSize = Field(ByteSize(32_000_000), description="Size of the cache of drawn files, in bytes.")
    event_streams: int = Field(100, ge=1, description="Maximum number of event streams per process.")
    api_keys: SecretStr | None = Field(
        None, description="Entries of API keys, as `acgan key` prints them. If unset, the API needs no keys."
    )
    read_needs_key: bool | None = Field(
        None,
        description="Whether read requests need a key; probes never do. Default: yes if `ACGAN_API_KEYS` is set.",
    )
    read_rate: Rate = Field("off", description="Read requests allowed per caller and process, as in `600/minute`.")
    work_rate: Rate = Field(
        "120/minute", description="Requests to start, retry or resume jobs allowed per caller, over all processes."
    )

    @field_validator("url")
    @classmethod
    def complete_url(cls, url: str) -> str:
        return url if "://" in url else f"http://{url}"

    @field_validator("forwarded_allow_ips")
    @classmethod
    def check_proxies(cls, addresses: str) -> str:
        from app.security.trusted_proxies import Proxies

        Proxies.parse(addresses)
        return addresses

    @field_validator("api_keys")
    @classmethod
    def check_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            Keyring.parse(keys.get_secret_value())
        return keys

    @model_validator(mode="after")
    def check_reading(self) -> Self:
        if self.read_needs_key and self.api_keys is None:
            raise ValueError("ACGAN_READ_NEEDS_KEY requires ACGAN_API_KEYS, which is not set: `acgan key` makes a key")
        return self

    @property
    def reading_needs_key(self) -> bool:
        return self.api_keys is not None if self.read_needs_key is None else self.read_needs_key

    @property
    def keyring(self) -> Keyring | None:
        return Keyring.parse(self.api_keys.get_secret_value()) if self.api_keys else None

    @property
    def hosts(self) -> "AllowedHosts | None":
        """The allowed host names; None if every name is allowed."""
        from app.security.host_names import AllowedHosts

        names = read_names(self.allowed_hosts)
        return AllowedHosts(names) if names or self.api_keys is None else None

    @property
    def trusted_origins(self) -> list[str]:
        return read_origins(self.cors_origins)

    @property
    def proxies(self) -> "Proxies":
        from app.security.trusted_proxies import Proxies

        return Proxies.parse(self.forwarded_allow_ips)

    @property
    def bounds(self) -> Bounds:
        return Bounds(
            header_bytes=self.max_header_bytes,
            headers=self.max_headers,
            body_bytes=self.max_body_bytes,
            upload_bytes=self.upload_limit,
            request_seconds=self.request_seconds,
            send_seconds=self.send_seconds,
            connections=self.connections,
        )

    @property
    def reads(self) -> "RateLimitItem | None":
        from app.security.rate_limit import read_rate

        return read_rate(self.read_rate)

    @property
    def works(self) -> "RateLimitItem | None":
        from app.security.rate_limit import read_rate

        return read_rate(self.work_rate)

"""Which addresses a message may be sent to, and which URLs and settings are valid."""

import ipaddress
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.webhook_receiver import SECRET
from worker.settings import WorkerSettings
from worker.webhook_url import Endpoint, WebhookUrl, read_webhook_hosts, read_webhook_secrets, read_webhook_url
from worker.webhooks.addresses import AddressRefused, find_addresses, is_public

PUBLIC = [
    "93.184.215.14",
    "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
    "::ffff:93.184.215.14",
    "64:ff9b::5db8:d70e",
    "2002:5db8:d70e::1",
]
NOT_PUBLIC = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104
    "224.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::5db8:d70e",
    "2002:7f00:1::",
    "2001:0:5db8:d70e:0:0:80ff:fffe",  # teredo of 127.0.0.1
    "fe80::1",
    "fe80::1%eth0",
    "2606:2800:21f::1%eth0",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_every_address_of_a_name_must_be_public_or_listed() -> None:
    answers = ["93.184.215.14", "10.0.0.1"]
    with pytest.raises(AddressRefused) as refused:
        find_addresses("hooks.test", 443, {Endpoint("hooks.test")}, 5.0, lambda *_: answers)
    assert "10.0.0.1" not in str(refused.value)
    listed = {Endpoint("hooks.test"), Endpoint("10.0.0.1")}
    assert find_addresses("hooks.test", 443, listed, 5.0, lambda *_: answers) == answers
    with pytest.raises(AddressRefused):  # listed with another port
        find_addresses(
            "hooks.test", 8443, {Endpoint("hooks.test", 8443), Endpoint("10.0.0.1")}, 5.0, lambda *_: answers
        )


VALID = {
    "https://hooks.example.com": WebhookUrl("hooks.example.com", 443, "/"),
    "https://Hooks.Example.COM.:443/a/b?token=x&y=": WebhookUrl("hooks.example.com", 443, "/a/b?token=x&y="),
    "https://hooks.example.com:8443?x": WebhookUrl("hooks.example.com", 8443, "/?x"),
    "https://[2001:DB8::1]:8443/": WebhookUrl("2001:db8::1", 8443, "/"),
    "https://127.0.0.1/": WebhookUrl("127.0.0.1", 443, "/"),
}
INVALID = [
    "",
    "http://hooks.example.com/secret",
    "hooks.example.com/secret",
    "https:///secret",
    "https://user:secret@hooks.example.com/",
    "https://hooks.example.com\\@secret/",
    "https://hooks.example.com/secret#part",
    "https://hooks.example.com/secret two",
    "https://hooks.example.com/secret\r\nX-Header: 1",
    "https://hooks.example.com:0/secret",
    "https://hooks.example.com:99999/secret",
    "https://hooks.example.com:secret/",
    "https://[::1/secret",
    "https://h\u00f6oks.example.com/secret",
    f"https://hooks.example.com/secret{'x' * 2000}",
]


@pytest.mark.parametrize("text", VALID)
def test_valid_urls(text: str) -> None:
    assert read_webhook_url(text) == VALID[text]


@pytest.mark.parametrize("text", INVALID)
def test_invalid_urls_are_refused_in_a_sentence_without_the_url(text: str) -> None:
    with pytest.raises(ValueError, match=r"^should be an address") as refused:
        read_webhook_url(text)
    assert "secret" not in str(refused.value)


def test_the_host_header_has_the_port_if_it_is_another() -> None:
    authorities = [read_webhook_url(text).authority for text in VALID]
    assert authorities == ["hooks.example.com"] * 2 + ["hooks.example.com:8443", "[2001:db8::1]:8443", "127.0.0.1"]


def test_hosts_in_the_settings() -> None:
    found = read_webhook_hosts("Hooks.Example.com, 127.0.0.1 ::1 [2001:DB8::1]")
    assert found == {("hooks.example.com", 443), ("127.0.0.1", 443), ("::1", 443), ("2001:db8::1", 443)}
    found = read_webhook_hosts("hooks.example.com:8443 127.0.0.1:1, [::1]:8443 other.test:443")
    assert found == {("hooks.example.com", 8443), ("127.0.0.1", 1), ("::1", 8443), ("other.test", 443)}
    for entry in (
        "*.example.com",
        "hooks.example.com:0",
        "hooks.example.com:99999",
        "https://hooks.example.com",
        "a/b",
    ):
        with pytest.raises(ValueError, match="should be host names or IP addresses, each with its port"):
            read_webhook_hosts(entry)


@pytest.mark.parametrize("secret", ["whsec_c2hvcnQ=", "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "whsec_&&&&"])
def test_an_invalid_secret_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(ValidationError) as refused:
        WorkerSettings(webhook_secret=secret)
    assert "should be `whsec_`" in str(refused.value)
    assert secret.removeprefix("whsec_") not in str(refused.value)


def test_a_blank_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGAN_WEBHOOK_SECRET", "  ")
    with pytest.raises(ValidationError, match="should be one secret or more"):
        WorkerSettings(webhook_hosts="hooks.example.com")


def test_several_secrets_are_read() -> None:
    assert len(read_webhook_secrets(f"{SECRET} {SECRET}")) == 2


def test_hosts_need_a_secret() -> None:
    with pytest.raises(ValidationError, match="ACGAN_WEBHOOK_HOSTS requires ACGAN_WEBHOOK_SECRET"):
        WorkerSettings(webhook_hosts="hooks.example.com")
    settings = WorkerSettings(webhook_hosts="hooks.example.com", webhook_secret=SECRET)
    assert settings.webhook_receivers == {("hooks.example.com", 443)}
    assert SECRET not in repr(settings)


def test_a_file_that_holds_no_certificates_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    for make in (lambda: None, lambda: path.write_text("no certificate")):
        make()
        with pytest.raises(ValidationError, match=r"should be a file with certificates in the form PEM \(\w.*\)"):
            WorkerSettings(webhook_ca=path)

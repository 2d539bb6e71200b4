"""Malformed requests: too deep, too long, too many, no numbers, no JSON, no HTTP, or to unknown paths."""

import random
from collections.abc import Callable
from urllib.parse import quote

Make = Callable[[random.Random], bytes]

HOST = b"Host: localhost\r\nConnection: close\r\n"
NUMBERS = ["0", "-1", "1001", "1e9", str(2**63), str(2**200), "40 x", "0x28", "", "NaN", "4.5", "1&n=2&n=x", "true"]
LABELS = ["10", "-1", "x", "7.5", "\u0667x", str(10**400)]
ASTRAY = ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "....//x", "/etc/passwd", "~root", "%c0%ae%c0%ae", "%5c"]
PLACES = ["/jobs/{}", "/jobs/{}/epochs/1/samples.png", "/checkpoints/{}", "/digits/{}", "/digits/7?checkpoint={}"]
EPOCHS = [b"1e400", b"-5", b"0", 4000 * b"9", b"1.5", b'"x"', b"null", b"[]"]
CHUNKS = [b"zz\r\n", b"-1\r\n", b"1\r\n{}\r\n", b"fffffffffffffffffff\r\n", b"\r\n\r\n", b"2\r\n{}xx"]
SHORT_OF_UTF8 = [b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00", b'\\ud800"']

JSONS: list[Make] = [
    lambda chance: chance.randint(1000, 60_000) * b"[",
    lambda chance: chance.randint(1000, 10_000) * b'{"a":',
    lambda chance: (depth := chance.randint(1000, 30_000)) * b"[" + depth * b"]",
    lambda chance: b'{"adam_lr": %s}' % chance.choice([b"NaN", b"Infinity", b"-Infinity", b"1e400", b"1e-"]),
    lambda chance: b'{"epochs": %s}' % chance.choice(EPOCHS),
    lambda chance: b'{"epochs": 1, "epochs": "x"}',
    lambda chance: b'{"name": "%s"}' % chance.choice(SHORT_OF_UTF8),
    lambda chance: chance.randbytes(chance.randint(1, 2000)),
    lambda chance: b"{" + b",".join(b'"k%d": 1' % number for number in range(3000)) + b"}",
    lambda chance: 65_537 * b" ",
]


def get(path: str, *headers: bytes) -> bytes:
    return b"GET %s HTTP/1.1\r\n" % path.encode() + HOST + b"".join(line + b"\r\n" for line in headers) + b"\r\n"


def train(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"POST /train HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST + lines + b"\r\n" + body


def declared(body: bytes) -> bytes:
    return train(body, b"Content-Length: %d" % len(body))


def chunked(body: bytes) -> bytes:
    return train(body, b"Transfer-Encoding: chunked")


def question(chance: random.Random) -> bytes:
    name = chance.choice(["n", "index", "seed", "scale", "columns", "count"])
    return get(f"/digits/7?{name}={quote(chance.choice(['-1', 'x', '1.5', '0b1']))}")


KINDS: list[Make] = [
    *(lambda chance, make=make: declared(make(chance)) for make in JSONS),
    question,
    lambda chance: get(f"/digits/7?n={quote(chance.choice(NUMBERS), safe='&=')}"),
    lambda chance: get(f"/digits/{quote(chance.choice(LABELS))}"),
    lambda chance: get(chance.choice(PLACES).format(chance.choice(ASTRAY))),
    lambda chance: get("/livez", b"X-Long: " + 65_536 * b"x"),
    lambda chance: get("/livez?" + 65_536 * "x"),
    lambda chance: get("/livez", *(b"X-%d: x" % number for number in range(1000))),
    lambda chance: get("/livez", b"X-Bad: " + chance.choice([b"\x00", b"\r", b"a\x7f\x01"])),
    lambda chance: train(b"0\r\n\r\n", b"Content-Length: 4", b"Transfer-Encoding: chunked"),
    lambda chance: train(b"{}}", b"Content-Length: 2", b"Content-Length: 3"),
    lambda chance: train(100 * b" ", b"Content-Length: 100000000"),
    lambda chance: train(b"{", b"Content-Length: 1", b"Idempotency-Key: " + chance.randbytes(5).hex().encode() * 40),
    lambda chance: chunked(chance.choice(CHUNKS)),
    lambda chance: chunked(40 * (b"1000\r\n" + 4096 * b" " + b"\r\n")),
    lambda chance: chance.randbytes(chance.randint(1, 500)) + b"\r\n\r\n",
    lambda chance: b"GET /" + chance.randbytes(20) + b"\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
]

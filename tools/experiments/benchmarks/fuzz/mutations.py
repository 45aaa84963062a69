"""Damage the bytes of a file, or put absurd values into what it says."""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

ABSURD: tuple[Any, ...] = (
    *(float("nan"), float("inf"), -float("inf"), 1e308, -1e308, -1, -5, 2**31, 2**63, 10**400),
    *(0, 7.5, True, None, "", "\0", "nan", "1e999", "-1", "x" * 1500, [], {}, [1], {"a": 1}),
    *(["a", "b"], [[]], "../../etc", "ä\u2028\n", 1e9, -1e9, [float("nan")]),
)
_WORDS = (
    *(
        "nan",
        "inf",
        "-inf",
        "1e308",
        "-1",
        "-5",
        "2147483648",
        "9" * 400,
        "7.5",
        "",
        "true",
        "null",
    ),
    *(
        "[1]",
        "{}",
        "x" * 1500,
        '"',
        "'",
        "\ufeff",
        "ä",
        "[" * 300,
        "- - -",
        "*",
        "&a",
        "2024-13-45",
    ),
    *("!!float x", "!!bool x", "!!timestamp x", "!!python/object:os.system", "0x10", "1_000", "~"),
)
_TOKEN = re.compile(r"[^\s,:;\[\]{}\"']+")


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut off, left out, doubled, or put in."""
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 1, 2, 8, 64, 4096)))
    noise = rng.randbytes(max(end - start, 1))
    return rng.choice(
        (
            data[:start] + bytes(b ^ (1 << rng.randrange(8)) for b in data[start:end]) + data[end:],
            data[:start],
            data[:start] + data[end:],
            data[:end] + data[start:],
            data[:start] + noise + data[start:],
            data[:start] + noise[: end - start] + data[end:],
            data[:start] + bytes(end - start) + data[end:],
        )
    )


def absurd_json(data: bytes, rng: random.Random) -> bytes:
    """A value of a JSON document replaced, taken out, doubled, renamed, or nested."""
    document = json.loads(data)
    kind = rng.randrange(12)
    if kind == 0:
        return data.replace(b'"', rng.choice((b'"\\u0000', b'"\\ud800', b"'", b'"\xff')), 1)
    if kind == 1:
        depth = rng.choice((150, 300, 100_000))
        return b'{"a":' * depth + b"1" + b"}" * depth
    holder, key = _place(document, rng)
    if holder is None:
        return json.dumps(rng.choice(ABSURD)).encode()
    if kind == 2:
        del holder[key]
    elif kind == 3 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif kind == 3:
        holder[f"{key}x"] = holder.pop(key)
    elif kind == 4:
        nested: Any = holder[key]
        for _ in range(rng.choice((1, 2, 100, 240))):
            nested = [nested]
        holder[key] = nested
    else:
        holder[key] = rng.choice(ABSURD)
    return json.dumps(document).encode()


def _place(document: Any, rng: random.Random) -> tuple[Any, Any]:
    """A container somewhere in a document and a key in it; (None, None) for a bare value."""
    holder, key = None, None
    value = document
    while isinstance(value, dict | list) and value:
        holder, key = (
            value,
            rng.choice(list(value) if isinstance(value, dict) else range(len(value))),
        )
        value = holder[key]
        if rng.random() < 0.1:
            break
    return holder, key


def absurd_text(data: bytes, rng: random.Random) -> bytes:
    """A word of a text replaced, or a line taken out, doubled or moved."""
    text = data.decode()
    tokens = list(_TOKEN.finditer(text))
    if tokens and rng.random() < 0.7:
        token = rng.choice(tokens)
        return (text[: token.start()] + rng.choice(_WORDS) + text[token.end() :]).encode()
    lines = text.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(rng.randrange(len(lines)), lines[place])
    else:
        lines[place] = rng.choice((",", "\t", "\0", "a: &a [*a]\n", "\x1e")) + lines[place]
    return "".join(lines).encode()


def absurd_tensors(data: bytes, rng: random.Random) -> bytes:
    """A value of a .safetensors file that is no number, or an absurd value in its metadata."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    if rng.random() < 0.4 and len(body) >= 4:
        at = rng.randrange(len(body) // 4) * 4
        value = rng.choice((float("nan"), float("inf"), -float("inf"), 3e38))
        return data[: 8 + length] + body[:at] + struct.pack("<f", value) + body[at + 4 :]
    metadata = header["__metadata__"]
    key = rng.choice(list(metadata))
    if metadata[key].startswith("{"):
        metadata[key] = absurd_json(metadata[key].encode(), rng).decode("utf-8", "replace")
    else:
        metadata[key] = rng.choice(_WORDS)
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + body


JSON: tuple[Mutation, ...] = (absurd_json, absurd_json, absurd_json, damaged)
TEXT: tuple[Mutation, ...] = (absurd_text, absurd_text, absurd_text, damaged)
TENSORS: tuple[Mutation, ...] = (absurd_tensors, damaged)

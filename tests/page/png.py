"""A smaller PNG of the same picture: reduced to its 256 most frequent colours."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

_HEAD = b"\x89PNG\r\n\x1a\n"
Pixel = tuple[int, ...]


def smaller(png: bytes) -> bytes:
    """The picture with at most 256 colours; a rarer colour becomes the nearest of those."""
    chunks = dict(_chunks(png))
    width, height, depth, kind = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, kind) in ((8, 2), (8, 6)), "not 8 bit RGB or RGBA"
    rows = list(_rows(zlib.decompress(chunks[b"IDAT"]), width, 3 if kind == 2 else 4))
    assert len(rows) == height
    counts = Counter(pixel for row in rows for pixel in row)
    palette = [colour for colour, _ in counts.most_common(256)]
    index = {colour: palette.index(_nearest(colour, palette)) for colour in counts}
    data = b"".join(b"\0" + bytes(index[pixel] for pixel in row) for row in rows)
    return _HEAD + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", b"".join(bytes(colour) for colour in palette)),
            (b"IDAT", zlib.compress(data, 9)),
            (b"IEND", b""),
        )
    )


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Data by kind of chunk; several IDAT are joined."""
    at, data = len(_HEAD), b""
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at : at + 8])
        content = png[at + 8 : at + 8 + length]
        data += content if name == b"IDAT" else b""
        yield name, data if name == b"IDAT" else content
        at += length + 12


def _rows(data: bytes, width: int, step: int) -> Iterator[list[Pixel]]:
    """Pixels by row, with PNG's row filters undone."""
    size = width * step
    above = bytearray(size)
    for start in range(0, len(data), size + 1):
        line = bytearray(data[start + 1 : start + 1 + size])
        _unfilter(data[start], line, above, step)
        yield [(line[at], line[at + 1], line[at + 2]) for at in range(0, size, step)]
        above = line


def _unfilter(filter_: int, line: bytearray, above: bytearray, step: int) -> None:
    if filter_ == 0:
        return
    for at in range(len(line)):
        left = line[at - step] if at >= step else 0
        corner = above[at - step] if at >= step else 0
        up = above[at]
        guess = (0, left, up, (left + up) // 2, _paeth(left, up, corner))[filter_]
        line[at] = (line[at] + guess) & 255


def _paeth(left: int, up: int, corner: int) -> int:
    return min((left, up, corner), key=lambda one: abs(left + up - corner - one))


def _nearest(colour: Pixel, palette: list[Pixel]) -> Pixel:
    return min(palette, key=lambda one: sum((a - b) ** 2 for a, b in zip(colour, one, strict=True)))

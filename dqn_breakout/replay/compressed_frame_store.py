"""Frames in host memory, LZ4-compressed against an earlier frame and packed into chunks."""

from __future__ import annotations

import lz4.block
import numpy as np

_CHUNK_BYTES = 2**20
# Breakout's frames take 538 bytes each by themselves, 213 with every 32nd for a key, 268 with every
# 128th. A shorter period saves little more, and there are more keys to read.
_KEY_PERIOD = 32
# Before a key: its compressed length.
_HEADER_BYTES = 4
_NO_KEY = -1


class CompressedFrameStore:
    """A fixed number of places for frames, written over and over, without TensorFlow.

    Compressed frames lie one after the other in chunks of 1 MiB. A chunk whose frames were all
    overwritten is filled again. A replay buffer overwrites in the order in which it wrote, so that
    at most two chunks are only partly in use, however often it wraps: memory stays flat. The index
    takes 16 bytes a place; Python's own objects would take about 50.

    Neighbouring places are taken for neighbours in time, as in a replay buffer. A frame is
    compressed with a key as LZ4's dictionary: the key of the place before it, if that lies in the
    same chunk, which then lives as long as both. Every 32nd place, and any whose neighbour lies
    elsewhere, is a key itself and compressed alone.

    One thread writes at a time. Others may read meanwhile, but only places that are not written
    until they have been read: a chunk is filled again only when all its frames were overwritten,
    so that the frame of any other place stays where it is. What is read of a place that is written
    at the same time may be anything, or a ValueError.
    """

    # Beside a compressed frame: where it lies (int64), how long it is, and where in its chunk its
    # key lies (int32 each).
    INDEX_BYTES = 16

    def __init__(self, frame_shape: tuple[int, ...], capacity: int):
        """Makes `capacity` empty places for uint8 frames of a shape."""
        self._frame_shape = tuple(frame_shape)
        self._frame_bytes = int(np.prod(frame_shape, dtype=np.int64))
        # LZ4's own bound of what bytes that do not compress grow to.
        bound = self._frame_bytes + self._frame_bytes // 255 + 16
        self._chunk_bytes = max(_CHUNK_BYTES, bound + _HEADER_BYTES)
        # Zeros from the system: memory is taken as places are written. Length 0: nothing there.
        self._starts = np.zeros(capacity, np.int64)
        self._lengths = np.zeros(capacity, np.int32)
        self._keys = np.zeros(capacity, np.int32)
        # Those of the chunk that is being filled, by where they lie in it.
        self._key_frames: dict[int, bytes] = {}
        self._chunks: list[memoryview] = []
        self._frames_in_chunk: list[int] = []
        self._empty_chunks: list[int] = []
        self._chunk = 0  # The chunk that is being filled, none so far, and how full it is.
        self._filled = self._chunk_bytes

    def write(self, places: np.ndarray, frames: np.ndarray) -> None:
        """Compresses frames into places; of a place named twice, the last frame stays.

        Args:
            places: int64 `(count,)`.
            frames: uint8 `(count, *frame_shape)`.
        """
        size = self._frame_bytes
        source = np.ascontiguousarray(frames).reshape(-1).data
        for number, place in enumerate(places.tolist()):
            frame = source[number * size : (number + 1) * size]
            key = self._key_for(place)
            content = self._compress(frame, key)
            if self._filled + len(content) > self._chunk_bytes:
                self._next_chunk()
                key = _NO_KEY
                content = self._compress(frame, key)
            if self._lengths[place]:
                self._forget(int(self._starts[place]) // self._chunk_bytes)
            begin, end = self._filled, self._filled + len(content)
            self._chunks[self._chunk][begin:end] = content
            self._filled = end
            if key == _NO_KEY:
                self._key_frames[begin] = bytes(frame)
                begin += _HEADER_BYTES
            self._frames_in_chunk[self._chunk] += 1
            self._starts[place] = self._chunk * self._chunk_bytes + begin
            self._lengths[place] = end - begin
            self._keys[place] = key

    def read(self, places: np.ndarray) -> np.ndarray:
        """Decompresses frames.

        Args:
            places: int64 of any shape.

        Returns:
            uint8 `(*places.shape, *frame_shape)`, an array of the caller's own.

        Raises:
            ValueError: Nothing was written into one of the places, or it was just being written.
        """
        wanted = places.reshape(-1)
        lengths = self._lengths[wanted]
        if not lengths.all():
            raise ValueError(f"Nothing was written into row {wanted[lengths == 0][0]} yet")
        chunks, begins = np.divmod(self._starts[wanted], self._chunk_bytes)
        fields = (chunks, begins, begins + lengths, self._keys[wanted])
        size, decompress = self._frame_bytes, lz4.block.decompress
        frames = np.empty((*places.shape, *self._frame_shape), np.uint8)
        output = frames.reshape(-1).data
        keys: dict[tuple[int, int], bytes] = {}
        try:
            for number, (chunk, begin, end, key) in enumerate(np.stack(fields, -1).tolist()):
                content = self._chunks[chunk][begin:end]
                if key == _NO_KEY:
                    frame = decompress(content, size)
                else:
                    if (chunk, key) not in keys:
                        keys[chunk, key] = decompress(self._key_content(chunk, key), size)
                    frame = decompress(content, size, dict=keys[chunk, key])
                output[number * size : (number + 1) * size] = frame
        except lz4.block.LZ4BlockError as error:
            raise ValueError("A frame was overwritten while it was read") from error
        return frames

    def _key_for(self, place: int) -> int:
        """Where in the chunk that is being filled a place's key lies; `_NO_KEY` for a new one."""
        before = place - 1  # Of place 0, which is always a key, another one.
        chunk, start = divmod(int(self._starts[before]), self._chunk_bytes)
        if place % _KEY_PERIOD == 0 or not self._lengths[before] or chunk != self._chunk:
            return _NO_KEY
        key = int(self._keys[before])
        return start - _HEADER_BYTES if key == _NO_KEY else key

    def _compress(self, frame: memoryview, key: int) -> bytes:
        if key == _NO_KEY:
            compressed = lz4.block.compress(frame, store_size=False)
            return len(compressed).to_bytes(_HEADER_BYTES, "little") + compressed
        return bytes(lz4.block.compress(frame, store_size=False, dict=self._key_frames[key]))

    def _key_content(self, chunk: int, key: int) -> memoryview:
        """A compressed key, wherever it lies; its own place may long have another frame."""
        begin = key + _HEADER_BYTES
        length = int.from_bytes(self._chunks[chunk][key:begin], "little")
        return self._chunks[chunk][begin : begin + length]

    def _next_chunk(self) -> None:
        """Goes on in a chunk without frames: the one just filled, an older one, or a new one."""
        self._filled, self._key_frames = 0, {}
        if self._chunks and not self._frames_in_chunk[self._chunk]:
            return
        if not self._empty_chunks:
            self._empty_chunks.append(len(self._chunks))
            self._chunks.append(memoryview(bytearray(self._chunk_bytes)))
            self._frames_in_chunk.append(0)
        self._chunk = self._empty_chunks.pop()

    def _forget(self, chunk: int) -> None:
        """Counts a frame of a chunk as overwritten."""
        self._frames_in_chunk[chunk] -= 1
        if not self._frames_in_chunk[chunk] and chunk != self._chunk:
            self._empty_chunks.append(chunk)

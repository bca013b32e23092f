"""Frames in host memory, LZ4-compressed one by one and packed into chunks."""

from __future__ import annotations

import lz4.block
import numpy as np

_CHUNK_BYTES = 2**20


class CompressedFrameStore:
    """A fixed number of places for frames, written over and over, without TensorFlow.

    Compressed frames lie one after the other in chunks of 1 MiB. A chunk whose frames were all
    overwritten is filled again. A replay buffer overwrites in the order in which it wrote, so that
    at most two chunks are only partly in use, however often it wraps: memory stays flat. The index
    takes 12 bytes a place; Python's own objects would take about 50.

    One thread writes at a time. Others may read meanwhile, but only places that are not written
    until they have been read: a chunk is filled again only when all its frames were overwritten,
    so that the frame of any other place stays where it is. What is read of a place that is written
    at the same time may be anything, or a ValueError.
    """

    # Beside a compressed frame: where it lies (int64) and how long it is (int32).
    INDEX_BYTES = 12

    def __init__(self, frame_shape: tuple[int, ...], capacity: int):
        """Makes `capacity` empty places for uint8 frames of a shape."""
        self._frame_shape = tuple(frame_shape)
        self._frame_bytes = int(np.prod(frame_shape, dtype=np.int64))
        # LZ4's own bound of what bytes that do not compress grow to.
        self._chunk_bytes = max(_CHUNK_BYTES, self._frame_bytes + self._frame_bytes // 255 + 16)
        # Zeros from the system: memory is taken as places are written. Length 0: nothing there.
        self._starts = np.zeros(capacity, np.int64)
        self._lengths = np.zeros(capacity, np.int32)
        self._chunks: list[memoryview] = []
        self._frames_in_chunk: list[int] = []
        self._empty_chunks: list[int] = []
        self._chunk = -1  # The chunk that is being filled, and how far it is.
        self._filled = self._chunk_bytes

    @property
    def compressed_bytes(self) -> int:
        """Bytes of the frames that are stored now."""
        return int(self._lengths.sum(dtype=np.int64))

    @property
    def allocated_bytes(self) -> int:
        """Bytes of all chunks, those between stored frames included."""
        return len(self._chunks) * self._chunk_bytes

    def write(self, places: np.ndarray, frames: np.ndarray) -> None:
        """Compresses frames into places; of a place named twice, the last frame stays.

        Args:
            places: int64 `(count,)`.
            frames: uint8 `(count, *frame_shape)`.
        """
        size = self._frame_bytes
        source = np.ascontiguousarray(frames).reshape(-1).data
        for number, place in enumerate(places.tolist()):
            compressed = lz4.block.compress(
                source[number * size : (number + 1) * size], store_size=False
            )
            if self._lengths[place]:
                self._forget(int(self._starts[place]) // self._chunk_bytes)
            self._starts[place] = self._append(compressed)
            self._lengths[place] = len(compressed)

    def read(self, places: np.ndarray) -> np.ndarray:
        """Decompresses frames, each distinct place once.

        Args:
            places: int64 of any shape.

        Returns:
            uint8 `(*places.shape, *frame_shape)`, an array of the caller's own.

        Raises:
            ValueError: Nothing was written into one of the places, or it was just being written.
        """
        wanted, first, inverse = np.unique(
            places.reshape(-1), return_index=True, return_inverse=True
        )
        lengths = self._lengths[wanted]
        if not lengths.all():
            raise ValueError(f"Nothing was written into row {wanted[lengths == 0][0]} yet")
        chunks, begins = np.divmod(self._starts[wanted], self._chunk_bytes)
        size, memory, decompress = self._frame_bytes, self._chunks, lz4.block.decompress
        frames = np.empty((places.size, size), np.uint8)
        output = frames.reshape(-1).data
        try:
            for number, chunk, begin, end in zip(
                first.tolist(),
                chunks.tolist(),
                begins.tolist(),
                (begins + lengths).tolist(),
                strict=True,
            ):
                start = number * size
                output[start : start + size] = decompress(memory[chunk][begin:end], size)
        except lz4.block.LZ4BlockError as error:
            raise ValueError("A frame was overwritten while it was read") from error
        repeated = np.ones(places.size, bool)
        repeated[first] = False
        frames[repeated] = frames[first[inverse[repeated]]]
        return frames.reshape(*places.shape, *self._frame_shape)

    def _append(self, compressed: bytes) -> int:
        """Puts bytes behind the newest; returns where they begin, counted over all chunks."""
        length = len(compressed)
        if self._filled + length > self._chunk_bytes:
            self._next_chunk()
        start = self._filled
        self._chunks[self._chunk][start : start + length] = compressed
        self._frames_in_chunk[self._chunk] += 1
        self._filled += length
        return self._chunk * self._chunk_bytes + start

    def _next_chunk(self) -> None:
        """Goes on in a chunk without frames: the one just filled, an older one, or a new one."""
        self._filled = 0
        if self._chunk >= 0 and not self._frames_in_chunk[self._chunk]:
            return
        if self._empty_chunks:
            self._chunk = self._empty_chunks.pop()
            return
        self._chunk = len(self._chunks)
        self._chunks.append(memoryview(bytearray(self._chunk_bytes)))
        self._frames_in_chunk.append(0)

    def _forget(self, chunk: int) -> None:
        """Counts a frame of a chunk as overwritten."""
        self._frames_in_chunk[chunk] -= 1
        if not self._frames_in_chunk[chunk] and chunk != self._chunk:
            self._empty_chunks.append(chunk)

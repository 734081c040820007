"""Random numbers during training: a counter-based generator in plain xp integer arithmetic.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
turns a key and a counter into four random words, with no state in between. The key comes from the
network's seed and the purpose, the counter is (element, step, layer, high bits of the step), whose last
word is 0 below 2^32 steps. So a mask depends only on (seed, purpose, step, layer, element): a network gets
the same one on every backend, alone or among a thousand, and after a resume, and no step waits for the
host.

    one round:  hi0, lo0 = M0 * c0;  hi1, lo1 = M1 * c2
                c  <-  (hi1 ^ c1 ^ k0,  lo1,  hi0 ^ c3 ^ k1,  lo0)
                k0 += 0x9E3779B9;  k1 += 0xBB67AE85           (ten rounds)
"""

from collections.abc import Sequence

from tinydiv import randomness
from tinydiv.backend import Array, fuse, in_pieces, to_device, xp

M0, M1 = 0xD2511F53, 0xCD9E8D57
WEYL0, WEYL1 = 0x9E3779B9, 0xBB67AE85
LOW = 0xFFFFFFFF


@fuse
def ten_rounds(c0: Array, c1: Array, c2: Array, c3: Array, k0: Array, k1: Array) -> Array:
    """Philox4x32-10 on uint64 arrays that hold 32-bit words; returns four arrays of words."""
    for _ in range(10):
        p0, p1 = c0 * M0, c2 * M1  # 32 x 32 bits fit in 64: the high and low words are both exact
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & LOW, (p0 >> 32) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + WEYL0) & LOW, (k1 + WEYL1) & LOW
    return c0, c1, c2, c3


class Draws:
    """The random numbers of one network, or of R networks with a seed each, for one purpose.

    Every method takes the shape for *one* network and returns (R, *shape), or shape where there is one
    network without a replica axis. `step` and `layer` choose the counter: equal arguments give equal
    numbers.
    """

    def __init__(self, seeds: Sequence[int], purpose: str, replicated: bool) -> None:
        words = [randomness.seed_sequence(s, purpose).generate_state(2) for s in seeds]
        keys = to_device([[int(w) for w in pair] for pair in words], dtype="uint64")
        self.key0, self.key1 = keys[:, :1], keys[:, 1:]  # (R, 1): one key per network
        self.replicated = replicated
        self.first = 0  # steps of earlier trainings: these numbers follow theirs

    def bits(self, shape: tuple[int, ...], step: int, layer: int = 0) -> Array:
        """Random 32-bit words (as uint32)."""
        size = 1
        for n in shape:
            size *= n
        blocks, step = -(-size // 4), self.first + step
        words = xp.empty((len(self.key0), blocks, 4), dtype="uint32")
        for piece in in_pieces(words[..., 0], [(0, blocks)]):
            rows, columns = piece
            element = xp.arange(columns.start, columns.stop, dtype="uint64")[None, :]
            zero = element * 0
            beyond = zero + (step >> 32) if step > LOW else zero
            counter = element, zero + (step & LOW), zero + layer, beyond
            four = ten_rounds(*counter, self.key0[rows], self.key1[rows])
            words[piece] = xp.stack(four, axis=-1).astype("uint32")
        flat = words.reshape(len(words), 4 * blocks)[:, :size]
        return flat.reshape((len(words), *shape) if self.replicated else shape)

    def uniform(self, shape: tuple[int, ...], step: int, layer: int, dtype: str) -> Array:
        """Uniform on [0, 1): the top 24 bits times 2^-24, exact in float32 and float64 alike."""
        return (self.bits(shape, step, layer) >> 8).astype(dtype) * 2.0**-24

    def symmetric(self, shape: tuple[int, ...], step: int, layer: int, dtype: str) -> Array:
        """Uniform on (-1, 1) times sqrt(3): mean 0, variance 1, without a logarithm or a cosine,
        whose last bits would differ between backends. The cheap stand-in for a normal draw."""
        return (self.uniform(shape, step, layer, dtype) * 2.0 - (1.0 - 2.0**-24)) * 3.0**0.5

    def keep(self, probability: float, shape: tuple[int, ...], step: int, layer: int) -> Array:
        """A boolean mask, True with the given probability (to a resolution of 2^-24)."""
        return (self.bits(shape, step, layer) >> 8) < int(probability * 2**24)

"""Build the embedded set fashion-mini from the full Fashion-MNIST, the same bytes on every machine.

The rule: the first 600 training images and the first 100 test images of each class, in the order in
which they lie in the full set. No random choice, so no generator has to stay the same for ever; the
full set is already shuffled, so the first ones are as good a sample as any.

The files are plain IDX, not compressed: two versions of zlib may compress the same bytes differently,
and then two builds would differ. Git and the wheel compress them anyway (5.5 MB to about 3 MB).
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that a fresh clone works before it is installed

try:
    import numpy as np
    import numpy.typing as npt

    from tinydiv.command import cli
    from tinydiv.data.catalogue import DATASETS_FOLDER, FASHION_MINI, FASHION_MNIST, ImageSet
    from tinydiv.data.files import find, read_image_set, read_payload
    from tinydiv.data.idx import idx_bytes
    from tinydiv.errors import RunError, UsageError
    from tinydiv.files import atomic
except ImportError as error:
    sys.exit(f"error: {error}; install tinydiv first: python -m pip install -e .")

PROG = "data_scripts/build_fashion_mini.py"
WHAT = """\
Build the embedded set fashion-mini (the first 600 training and 100 test images of each class of
Fashion-MNIST) and verify it byte by byte."""
EXAMPLES = """examples:
  python data_scripts/build_fashion_mini.py --check
      build in memory and compare with the embedded files, write nothing
  python data_scripts/build_fashion_mini.py --from ~/data --to /tmp/mini
      build from the full set in ~/data (or ~/data/fashion-mnist) into the folder /tmp/mini

The full set comes from `python data_scripts/download.py fashion-mnist`.
exit codes: 0 built and verified, 1 could not be built or differs, 2 wrong usage, 130 interrupted
"""


def first_of_each_class(labels: npt.NDArray[np.int64], per_class: int) -> npt.NDArray[np.int64]:
    """Indices of the first per_class samples of every class, in their original order.

    Raises RunError if a class has fewer.
    """
    chosen = []
    for k in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == k)
        if len(members) < per_class:
            raise RunError(f"class {k} has {len(members)} samples, {per_class} are needed")
        chosen.append(members[:per_class])
    return np.sort(np.concatenate(chosen))


def build(full: ImageSet, full_folder: Path, mini: ImageSet) -> dict[str, bytes]:
    """The payload of each file of the small set, by file name, from the full set in a folder.

    Raises RunError if the rule gives other bytes than the package expects.
    """
    train_x, train_y, test_x, test_y, _ = read_image_set(full, full_folder)
    payloads = []
    for images, labels, file in (
        (train_x, train_y, mini.files[0]),
        (test_x, test_y, mini.files[2]),
    ):
        chosen = first_of_each_class(labels, file.shape[0] // len(mini.classes))
        payloads += [
            idx_bytes(images[chosen].reshape(file.shape)),
            idx_bytes(labels[chosen].astype(np.uint8)),
        ]
    for file, payload in zip(mini.files, payloads, strict=True):
        checksum = hashlib.sha256(payload).hexdigest()
        if checksum != file.sha256:
            raise RunError(
                f"the rule builds a {file.name} whose SHA-256 is {checksum}, but "
                f"tinydiv/data/catalogue.py expects {file.sha256}; nothing was written"
            )
    return {file.name: payload for file, payload in zip(mini.files, payloads, strict=True)}


@cli.main(PROG)
def main(argv: Sequence[str]) -> None:
    """Build, write unless --check, and read back with the package's own checks."""
    flags = cli.Parser(PROG, WHAT, EXAMPLES)
    flags.prog = f"python {PROG}"
    flags.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        help="folder of the full set (default: TINYDIV_DATA_DIR, your cache folder, "
        "/usr/share/datasets, in this order)",
    )
    flags.add_argument(
        "--to",
        metavar="DIR",
        default=DATASETS_FOLDER / FASHION_MINI.name,
        help="folder to write into, or to compare with (default: %(default)s)",
    )
    flags.add_argument("--check", action="store_true", help="compare only, write nothing")
    options = flags.parse(argv)
    folder, source = Path(options.to), options.source
    if source is not None and not Path(source).is_dir():
        raise UsageError(f"--from takes a folder, and {source} is none")
    full_folder = find(FASHION_MNIST, None if source is None else [Path(source)])
    payloads = build(FASHION_MNIST, full_folder, FASHION_MINI)
    if not options.check:
        folder.mkdir(parents=True, exist_ok=True)
        for name, payload in payloads.items():
            atomic.write_bytes(folder / name, payload)
    for file in FASHION_MINI.files:
        read_payload(folder / file.name, file)  # raises if a byte differs
    done = "are what the rule builds," if options.check else "were built and verified,"
    cli.print_result(
        f"{FASHION_MINI.name}: {len(payloads)} files in {folder} {done} from {full_folder}"
    )


if __name__ == "__main__":
    sys.exit(main())

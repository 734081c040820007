"""Fetch the full image sets from their mirrors.

A file gets its name only after its every byte was checked, so whatever carries a file's name is right:
an interrupted, truncated or wrong download leaves nothing behind. A mirror that fails in any way costs
one sentence, and the next one is tried.
"""

import http.client
import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that a fresh clone works before it is installed

try:
    from tinydiv.command import cli
    from tinydiv.data.catalogue import FASHION_MINI, FULL_SETS, IdxFile, ImageSet, cache_folder
    from tinydiv.data.files import GZIP_MAGIC, decompressed, existing, read_payload
    from tinydiv.errors import RunError, UsageError, check_known
    from tinydiv.files import atomic
except ImportError as error:
    sys.exit(f"error: {error}; install tinydiv first: python -m pip install -e .")

PROG = "data_scripts/download.py"
SILENCE = 30  # seconds without a byte, after which a mirror is given up
EXAMPLES = """examples:
  python data_scripts/download.py fashion-mnist
      fetch Fashion-MNIST into your cache folder, where tinydiv finds it (31 MB)
  python data_scripts/download.py fashion-mnist mnist --to ~/data
      fetch both into ~/data; then set TINYDIV_DATA_DIR=~/data

Files that are already there and right are not fetched again. Without a network: put copies into a folder
and set TINYDIV_DATA_DIR to it; they are checked when they are read.
exit codes: 0 all is there, 1 something could not be had, 2 wrong usage, 130 interrupted
"""


def content_of(address: str, most: int) -> bytes:
    """The bytes at an address. Raises ValueError if there are more than `most`, or it fails in any way."""
    request = urllib.request.Request(address, headers={"User-Agent": "tinydiv"})
    try:
        with urllib.request.urlopen(request, timeout=SILENCE) as stream:
            content: bytes = stream.read(most + 1)
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"cannot be read: {error or type(error).__name__}") from None
    if len(content) > most:
        raise ValueError(f"has more than {most} bytes")
    return content


def fetch(image_set: ImageSet, file: IdxFile, folder: Path) -> None:
    """Bring one file into a folder from the first mirror that has it right.

    Raises RunError, after a sentence on stderr per failed try, if there is none.
    """
    for mirror in image_set.mirrors:
        address = f"{mirror}{file.name}.gz"
        try:
            # gzip adds less than a thousandth, and a header
            content = content_of(address, file.n_bytes + file.n_bytes // 1000 + 1024)
            decompressed(content, file)
        except ValueError as error:
            cli.print_message(PROG, f"{address} {error}; given up")
            continue
        final = folder / (file.name + ".gz" * content.startswith(GZIP_MAGIC))
        atomic.write_bytes(final, content)
        while (other := existing(folder, file)) not in (final, None):
            other.unlink()  # a damaged file that stood in the way
        cli.print_message(PROG, f"{address}: checked and taken")
        return
    advice = "if you have a copy elsewhere, set TINYDIV_DATA_DIR to its folder"
    raise RunError(f"{image_set.name}: no mirror could give {file.name}; {advice}")


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Make a folder, before the network is tried; what stays empty of it is removed at the end.

    Raises RunError if it cannot be made, or written into.
    """
    new = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise RunError(f"cannot write into {folder}: {atomic.reason(error)}") from error
        yield
    finally:
        for place in new:
            with suppress(OSError):
                place.rmdir()


def is_right(path: Path | None, file: IdxFile) -> bool:
    """Whether a file is there and each of its bytes is right."""
    with suppress(RunError):
        return path is not None and bool(read_payload(path, file))
    return False


@cli.main(PROG)
def main(argv: Sequence[str]) -> None:
    """Fetch what is asked for. Raises RunError at the first file that cannot be had."""
    flags = cli.Parser(PROG, "Fetch full image sets, check every byte, store them.", EXAMPLES)
    flags.prog = f"python {PROG}"
    flags.add_argument("names", nargs="+", metavar="NAME", help=" or ".join(FULL_SETS))
    cli.add_read(flags, "--to", cli.folder, "DIR", "store in DIR/NAME (default: your cache folder)")
    options = flags.parse(argv)
    for name in options.names:
        if name == FASHION_MINI.name:
            raise UsageError(f"{name} comes with tinydiv: there is nothing to download")
        check_known("set to download", name, FULL_SETS)
    base = cache_folder() if options.to is None else Path(options.to).absolute()
    for image_set in [FULL_SETS[name] for name in dict.fromkeys(options.names)]:
        folder = base / image_set.name
        missing = [f for f in image_set.files if not is_right(existing(folder, f), f)]
        with writable(folder) if missing else nullcontext():
            for file in missing:
                fetch(image_set, file, folder)
        done = f"complete in {folder} ({len(missing)} new files); {image_set.licence}"
        cli.print_result(f"{image_set.name}: {done}")
    if options.to is not None:
        cli.print_result(f"tell tinydiv where they are: set TINYDIV_DATA_DIR={base}")


if __name__ == "__main__":
    sys.exit(main())

"""Fetch the full image sets from their mirrors, or check in copies from a folder.

A file gets its final name only after its every byte was checked, so whatever carries a file's name
is right: an interrupted, truncated or wrong download leaves nothing behind. A mirror that fails in
any way is given up with one sentence, and the next one is tried.
"""

import argparse
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urljoin, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that a fresh clone works before it is installed

try:
    from tqdm import tqdm

    from tinydiv.data.catalogue import FASHION_MINI, FULL_SETS, IdxFile, ImageSet, cache_folder
    from tinydiv.data.files import GZIP_MAGIC, DamagedFileError, existing, read_payload
    from tinydiv.errors import RunError, UsageError, unknown
except ImportError as error:
    sys.exit(f"error: {error}; install tinydiv first: python -m pip install -e .")

REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 5
CHUNK = 64 * 1024
FEWEST_BYTES = 1024  # a mirror that sends less than this in one timeout has stalled

EXAMPLES = """examples:
  python data_scripts/download.py fashion-mnist
      fetch Fashion-MNIST into your cache folder, where tinydiv finds it (31 MB)
  python data_scripts/download.py fashion-mnist mnist --to ~/data
      fetch both into ~/data; then set TINYDIV_DATA_DIR=~/data
  python data_scripts/download.py mnist --from /media/usb
      no network: check and copy files that lie in /media/usb or /media/usb/mnist

Files that are already there and right are not fetched again.
exit codes: 0 all is there, 1 something could not be had, 2 wrong usage, 130 interrupted
"""


class MirrorError(RunError):
    """A mirror or an offline copy that cannot give a file: the next one may."""


def in_words(error: object) -> str:
    """What the system says went wrong: no error number, no control characters that a server sent."""
    words = str(getattr(error, "strerror", None) or error or type(error).__name__)
    return "".join(c if c.isprintable() else "?" for c in words[:200])


def largest_body(file: IdxFile) -> int:
    """The most bytes that a copy of a file may have: gzip adds less than a thousandth, and a header."""
    return file.n_bytes + file.n_bytes // 1000 + 1024


def check_address(url: str) -> None:
    """Raises MirrorError unless an address is http or https and names a host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MirrorError(f"{url!r} is no http or https address")


def opened(url: str, timeout: float) -> http.client.HTTPResponse:
    """The answer of a server, after at most MOST_REDIRECTS redirects to http or https addresses.

    The redirects are followed here and not by urllib, which would read their bodies whole, however
    long. Raises MirrorError for every refusal.
    """
    opener = urllib.request.OpenerDirector()  # bare: no ftp, no file, no redirects of its own
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    for _ in range(MOST_REDIRECTS + 1):
        check_address(url)
        request = urllib.request.Request(
            url, headers={"User-Agent": "tinydiv", "Accept-Encoding": "identity"}
        )
        try:
            response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
            return response
        except urllib.error.HTTPError as refusal:
            with closing(refusal):
                target = refusal.headers.get("Location")
                if refusal.code not in REDIRECTS or not target:
                    answer = f"{refusal.code} {http.client.responses.get(refusal.code, '')}"
                    raise MirrorError(f"the server answers {answer.strip()}") from None
                url = urljoin(url, target)
    raise MirrorError(f"the server redirects more than {MOST_REDIRECTS} times")


def downloaded(url: str, most: int, timeout: float, bar: "tqdm[None]") -> Iterator[bytes]:
    """The body behind an address, chunk by chunk, never more than `most` bytes.

    Raises MirrorError if the server refuses, stalls, breaks off or sends too much.
    """
    try:
        with opened(url, timeout) as response:
            promised = response.length
            if promised is not None and promised > most:
                raise MirrorError(
                    f"the server wants to send {promised} bytes, {most} at most can be right"
                )
            bar.reset(promised)
            received, received_before = 0, 0
            window_ends = time.monotonic() + timeout
            while chunk := response.read1(CHUNK):
                received += len(chunk)
                bar.update(len(chunk))
                if received > most:
                    raise MirrorError(f"the server sends more than {most} bytes")
                if time.monotonic() > window_ends:
                    if received - received_before < FEWEST_BYTES:
                        raise TimeoutError
                    received_before, window_ends = received, time.monotonic() + timeout
                yield chunk
            if promised is not None and received < promised:
                raise MirrorError(f"the server broke off after {received} of {promised} bytes")
    except TimeoutError:
        raise MirrorError(f"the server sent next to nothing for {timeout:g} seconds") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise MirrorError(f"the server did not answer within {timeout:g} seconds") from None
        raise MirrorError(f"the server cannot be reached ({in_words(error.reason)})") from None
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise MirrorError(f"the connection failed ({in_words(error)})") from None


def copied(path: Path, most: int) -> Iterator[bytes]:
    """The bytes of an offline copy, chunk by chunk. Raises MirrorError if it cannot be right."""
    try:
        if path.stat().st_size > most:
            raise MirrorError(f"it has more than {most} bytes")
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise MirrorError(in_words(error)) from None


def take_in(file: IdxFile, chunks: Iterator[bytes], folder: Path) -> Path:
    """Write chunks under a temporary name, check every byte, and only then give the file its name.

    The name ends in .gz if the bytes are gzip's (some mirrors send plain files). A damaged file of
    the same set that stood in the way is replaced. Raises RunError; then nothing is left behind.
    """
    part = folder / f".{file.name}.{os.getpid()}.part"
    try:
        with part.open("wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
        try:
            read_payload(part, file)
        except DamagedFileError as error:  # speak of what was sent, not of the temporary file
            raise MirrorError("the file from there" + str(error).removeprefix(str(part))) from None
        with part.open("rb") as stream:
            compressed = stream.read(2) == GZIP_MAGIC
        final = folder / (f"{file.name}.gz" if compressed else file.name)
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)
    for other in (folder / file.name, folder / f"{file.name}.gz"):
        if other != final:
            other.unlink(missing_ok=True)
    return final


def is_right(path: Path | None, file: IdxFile) -> bool:
    """Whether a file is there and each of its bytes is right."""
    if path is None:
        return False
    try:
        read_payload(path, file)
    except RunError:
        return False
    return True


def obtain(image_set: ImageSet, folder: Path, options: argparse.Namespace) -> int:
    """Bring all four files of a set into a folder; returns how many were not there before.

    Raises RunError, after a sentence on stderr per failed try, if one cannot be had anywhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [f for f in image_set.files if not is_right(existing(folder, f), f)]
    for file in missing:
        fetch(image_set, file, folder, options)
    return len(missing)


def fetch(image_set: ImageSet, file: IdxFile, folder: Path, options: argparse.Namespace) -> None:
    """Bring one file into a folder from the first place that has it right."""
    hidden = True if options.quiet else None  # None: shown only where there is a screen
    with tqdm(desc=file.name, unit="B", unit_scale=True, leave=False, disable=hidden) as bar:
        for origin, chunks in origins(image_set, file, options, bar):
            try:
                take_in(file, chunks, folder)
            except RunError as error:
                tqdm.write(f"{origin}: {error}; given up", file=sys.stderr)
            else:
                if not options.quiet:
                    tqdm.write(f"{origin}: checked and taken", file=sys.stderr)
                return
    if options.source is not None:
        raise RunError(f"{image_set.name}: {options.source} holds no right {file.name}")
    raise RunError(
        f"{image_set.name}: no mirror could give {file.name}; `--from DIR` takes in a copy that you "
        "have elsewhere"
    )


def origins(
    image_set: ImageSet, file: IdxFile, options: argparse.Namespace, bar: "tqdm[None]"
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Each place that a file may come from: its name and its chunks (nothing is read yet)."""
    most = largest_body(file)
    if options.source is None:
        for mirror in options.mirror or image_set.mirrors:
            url = f"{mirror.rstrip('/')}/{file.name}.gz"
            yield url, downloaded(url, most, options.timeout, bar)
        return
    for folder in (options.source / image_set.name, options.source):
        path = existing(folder, file)
        if path is not None:
            yield str(path), copied(path, most)


def checked_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options. Raises UsageError for values that cannot be right."""
    parser = argparse.ArgumentParser(
        prog="download.py",
        description="Fetch full image sets, check every byte, and put them where tinydiv looks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help=" or ".join(FULL_SETS))
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        help=f"put the files into DIR/NAME (default: your cache folder, {cache_folder()})".replace(
            "%", "%%"
        ),
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        type=Path,
        help="take the files from DIR/NAME or DIR, .gz or plain, and use no network",
    )
    parser.add_argument(
        "--mirror",
        metavar="URL",
        action="append",
        default=[],
        help="fetch URL/train-images-idx3-ubyte.gz and so on, instead of from the built-in mirrors; "
        "repeatable, tried in order; for one NAME at a time",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=30.0,
        help="give a mirror up when it sends nothing for so long (default: 30)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, only failures")
    options = parser.parse_args(argv)
    if FASHION_MINI.name in options.names:
        raise UsageError(f"{FASHION_MINI.name} comes with tinydiv: there is nothing to download")
    for name in options.names:
        if name not in FULL_SETS:
            raise unknown("set to download", name, FULL_SETS)
    if not 0.1 <= options.timeout <= 3600:  # written so that nan fails, too
        raise UsageError(f"--timeout is a number from 0.1 to 3600, got {options.timeout:g}")
    if options.mirror and (options.source is not None or len(set(options.names)) > 1):
        raise UsageError("--mirror goes with one NAME and without --from")
    for mirror in options.mirror:
        try:
            check_address(mirror)
        except (MirrorError, ValueError):
            raise UsageError(f"--mirror takes http or https addresses, not {mirror}") from None
    if options.source is not None and not options.source.is_dir():
        raise UsageError(f"--from takes a folder, and {options.source} is none")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    try:
        options = checked_options(argv)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    base = cache_folder() if options.to is None else options.to
    exit_code = 0
    for image_set in [FULL_SETS[name] for name in dict.fromkeys(options.names)]:
        folder = base / image_set.name
        try:
            new = obtain(image_set, folder, options)
        except RunError as error:
            print(f"error: {error}", file=sys.stderr)
            exit_code = 1
            with suppress(OSError):
                folder.rmdir()  # only if it is empty
        except OSError as error:  # the disk, not the network: full, read-only, no folder
            print(f"error: {error.filename or folder}: {in_words(error)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("interrupted; no file was left half written", file=sys.stderr)
            return 130
        else:
            print(f"{image_set.name}: complete in {folder} ({new} new files); {image_set.licence}")
    if options.to is not None and exit_code == 0:
        print(f"tell tinydiv where they are: set TINYDIV_DATA_DIR={base.absolute()}")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())

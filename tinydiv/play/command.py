"""python -m tinydiv.play: a page in which two networks train side by side, one of them kept diverse."""

import webbrowser
from collections.abc import Sequence

from tinydiv.command import cli
from tinydiv.errors import RunError
from tinydiv.settings import choice, text, whole

PROG = "tinydiv.play"

WHAT = """\
Serve one page on this machine and open it in the browser: two networks from the same seed train side by
side, plain on the left, on the right with the start, technique and strength that you choose. Nothing is
written to the disk. Ctrl-C ends it.
"""
EXAMPLES = """\
examples:
  python -m tinydiv.play                        the page opens in your browser
  python -m tinydiv.play --data moons           starts with points in a plane
  python -m tinydiv.play --no-browser           only prints the address
  python -m tinydiv.play --port 8123            a fixed port; the token in the address is new each time
"""


def parser() -> cli.Parser:
    """The flags."""
    flags = cli.Parser(PROG, WHAT, EXAMPLES)
    cli.add_read(flags, "--data", text, "NAME", "data set (default: fashion-mini)", "fashion-mini")
    cli.add_read(
        flags, "--backend", choice("numpy", "cupy", "auto"), "NAME", "(default: numpy)", "numpy"
    )
    cli.add_read(flags, "--port", whole(0, 65_535), "N", "(default: any free port)", 0)
    flags.add_argument(
        "--no-browser", action="store_true", help="print the address, open no browser"
    )
    return flags


@cli.main(PROG)
def main(argv: Sequence[str]) -> None:
    """Serve until Ctrl-C."""
    options = parser().parse(argv)
    port, data = options.port, options.data
    from tinydiv import backend
    from tinydiv.play.networks import read_setup, refuse_numbers
    from tinydiv.play.server import Server
    from tinydiv.runs.build import load_data

    backend.use(options.backend)
    # A data set that cannot be shown is refused here, before the page opens.
    refuse_numbers(load_data(read_setup({}, data).data, "raw"))
    try:
        server = Server(port, data)
    except OSError as error:
        raise RunError(
            f"port {port} cannot be used ({error.strerror}): choose another --port, or leave it out"
        ) from None
    cli.print_result(f"{PROG}: {server.address}\nCtrl-C ends it")
    if not options.no_browser:
        webbrowser.open(server.address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped") from None
    finally:
        server.server_close()

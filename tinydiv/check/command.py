"""Check whether every gradient is right, and describe what is wrong: python -m tinydiv.check

Every gradient of the network, of each activation, loss and technique is compared with numerical
derivatives in float64. judge.py defines the verdicts, numeric.py measures the derivatives.
"""

import json
import sys
from collections.abc import Sequence

from tinydiv import __version__
from tinydiv.command import cli
from tinydiv.settings import text, whole

PROG = "tinydiv.check"

EXAMPLES = """\
examples:
  python -m tinydiv.check                        everything that tinydiv differentiates
  python -m tinydiv.check --only decov           one technique, activation or loss, or the network
  python -m tinydiv.check --only penalties       a group: network, activations, losses, penalties,
                                                 layers, interventions
  python -m tinydiv.check mine.py                everything in the file that has a gradient
  python -m tinydiv.check mine.py:Mine --json    one class in it, as JSON on stdout
  python -m tinydiv.check mine.py:Mine:form=b,power=3
                                                 with these settings only; without any, all choices are
                                                 checked, and every number at a second value

what a file may define (any number of these; what it imports is not checked):
  class Mine(ActivationPenalty)        a technique of any kind (tinydiv/techniques/base.py)
  class Mine(Activation)               f in __call__, f' in derivative
  class Mine(MLP), or class MLP        a network with a backward of its own, or an edited copy of mlp.py
  def backward(net, trace, dlogits, dA=None)
                                       an edited copy of MLP.backward: fills net.dW[l] and net.db[l];
                                       the keywords accumulate and to_inputs are checked if it has them
  def loss(outputs, targets)           returns (value, doutputs)

exit code 0: all gradients are right; 1: some are not, or nothing could be proven (all zeros, all at a
kink); 2: no such name, or a file that cannot be imported; 130: Ctrl-C.
"""


def parser() -> cli.Parser:
    """The flags."""
    found = cli.Parser(PROG, "Compare every gradient with numerical derivatives.", EXAMPLES)
    found.add_argument("file", nargs="?", metavar="FILE.py[:NAME]", help="a file of your own")
    several = "a name or a group; may be given several times"
    found.add_argument("--only", action="append", default=[], metavar="NAME", help=several)
    cli.add_read(found, "--seed", whole(0, 2**31), "N", "of the points (default: 0)", 0)
    cli.add_read(found, "--backend", text, "NAME", "numpy, cupy or auto (default: numpy)", "numpy")
    found.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return found


@cli.main(PROG)
def main(argv: Sequence[str]) -> int:
    """Run the check that the flags select and show it. NumPy is loaded only here."""
    options = parser().parse(argv)
    from tinydiv import backend
    from tinydiv.check import suite
    from tinydiv.check.own import check_file
    from tinydiv.check.report import HEADER, Report, interventions_text, rows_text, summary
    from tinydiv.errors import UsageError

    if options.file and options.only:
        raise UsageError(
            "--only chooses among what tinydiv offers: for one name in a file, write FILE.py:NAME"
        )
    suite.chosen(options.only)  # an unknown name is refused before the first check
    backend.use(options.backend)

    heading = [HEADER]  # printed above the first result, so not before an error

    def show(subject: str, report: Report) -> None:
        if options.json:
            print(f"{subject} ({report.seconds:.1f} s)", file=sys.stderr)
        elif rows := report.of(subject):
            cli.print_result("\n".join([*heading, rows_text(rows)]))
            heading.clear()

    what, seed = options.file, options.seed
    report = check_file(what, seed, show) if what else suite.run(options.only, seed, show)
    if options.json:
        request = {"tinydiv": __version__, "file": options.file, "only": options.only}
        cli.print_result(json.dumps({**request, **report.data()}, allow_nan=False))
    else:
        found = report.interventions
        last = [interventions_text(found)] if found else []
        for paragraph in [*last, *report.notes, summary(report)]:
            cli.print_result(paragraph)
    return 0 if report.right else 1

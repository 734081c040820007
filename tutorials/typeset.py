"""The plain formulas of docstrings as LaTeX: on the site `dW = A' dZ` becomes an equation.

A docstring stays plain text for those who read code. Lines that are code or words are left as they are:
`latex` returns None for them, and the page shows them in a box.
"""

import re

NAMES = "alpha beta gamma delta eta theta kappa lambda mu pi rho sigma tau phi chi Gamma Phi"
GREEK = {"eps": r"\varepsilon"} | {name: "\\" + name for name in NAMES.split()}
WORDS = (
    "Cov E Var atanh cos det diag exp floor log logdet logits max mean min off polar sigmoid sign sin "
    "softmax std sum sym tanh tr"
)
FUNCTIONS = set(WORDS.split())
SIGNS = {
    "<=>": r"\Leftrightarrow ",
    "<-": r"\leftarrow ",
    "->": r"\to ",
    "<=": r"\le ",
    ">=": r"\ge ",
    "!=": r"\ne ",
    "+=": r"\mathrel{+}=",
    "-=": r"\mathrel{-}=",
    "...": r"\ldots ",
    "~": r"\approx ",
    "&": r"\&",
    "%": r"\%",
    ":": r"\mathord{:}",
    "{": r"\{",
    "}": r"\}",
    "\u27e8": r"\langle ",
    "\u27e9": r"\rangle ",
}
CODE = re.compile(
    r"[\"`#@]|\^ |0x|://|\w\.\w+\(|\w=\w+[,)]|\[\.\.\.|"
    r"\b(def \w|class [A-Z]|import |with \w+[.(]|print\(|self\b)|\.(py|npz|csv|json)\b"
)
RELATION = re.compile(r"[=~]|<-|->|\^|\bsum_")
TOKEN = re.compile(
    r"(?P<word>[A-Za-z]{3,}(-[A-Za-z]{2,})+|[A-Za-z]+'s\b|[a-z]-th\b|[A-Za-z]{3,}_[a-z]{4,}|[A-Za-z]{3,}\.\w+"
    r"|sum(?= over)|a(?= [a-z]{4,} ))"  # a sum in words; the article
    r"|(?P<gap> {2,})|(?P<space> )|(?P<number>\d*\.?\d+(e-?\d+)?)|(?P<average>\b[a-z]-(?=[ )]))"
    r"|(?P<name>[A-Za-z]+\d*)|(?P<sign><=>|<-|->|<=|>=|!=|\+=|-=|\.\.\.|.)"
)
RELATIONS = re.compile(
    r"(?:\\quad |\\ )*([=+<>]|\\(?:leftarrow|to|le|ge|ne|approx|Leftrightarrow) )(?:\\quad |\\ )*"
)
SCRIPT = re.compile(r"-?\d+/\d+|-?[A-Za-z0-9.]+")


def latex(paragraph: str) -> str | None:
    """An indented paragraph of a docstring as an array, a row per line; None where it is code or words."""
    lines = paragraph.splitlines()
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    words = [w for w in re.findall(r"(?<![\w^_{])[A-Za-z]{3,}(?![\w(\[])", paragraph) if is_word(w)]
    relations = sum(RELATION.search(line) is not None for line in lines)
    if CODE.search(paragraph) or not margin:
        return None
    if 2 * relations < len(lines) or 5 * len(words) > 3 * len(paragraph.split()):
        return None
    rows = []
    for line in lines:
        deeper = min((len(line) - len(line.lstrip()) - margin) // 4, 3)
        rows.append(r"\qquad " * deeper + formula(line.strip()))
    if any(re.search(r"\^\{\\top\}'?\^", row) for row in rows):
        return None  # a name with a prime, and no transpose
    return "\\begin{array}{l}\n" + " \\\\\n".join(rows) + "\n\\end{array}"


def is_word(name: str) -> bool:
    """Whether a name is plain English and no part of a formula."""
    return symbol(name).startswith(r"\text{")


def formula(text: str) -> str:
    """One line of plain maths as LaTeX. Raises nothing: a sign that it does not know stays as it is."""
    text = re.sub(r"<([^<>=]+, [^<>=]+)>", "\u27e8\\1\u27e9", text)  # <A, B> is a product
    pieces: list[str] = []
    place = 0
    while place < len(text):
        found = TOKEN.match(text, place)
        assert found is not None  # the last choice takes any sign
        kind, token, place = found.lastgroup, found[0], found.end()
        if kind == "name" and token == "sqrt" and text[place : place + 1] == "(":
            inner, place = bracketed(text, place)
            pieces.append(rf"\sqrt{{{formula(inner)}}}")
        elif kind == "name":
            pieces.append(symbol(token))
        elif kind == "word" or (token == "'" and pieces[-1].startswith(r"\text{")):
            pieces.append(rf"\text{{{token}}}".replace("_", r"\_"))
        elif kind == "average":
            pieces.append(rf"\bar {token[0]}")
        elif kind == "gap":
            pieces.append(r"\quad ")
        elif kind == "space":
            pieces.append(r"\ ")
        elif kind == "number":
            digits, _, power = token.partition("e")
            factor = "" if digits == "1" else rf"{digits}\cdot "
            pieces.append(rf"{factor}10^{{{power}}}" if power else digits)
        elif token == "'":
            derivative = pieces[-1].strip() in ("f", "g", "h", r"\theta")
            derivative &= text[place : place + 1] in ("(", "_")
            pieces.append("'" if derivative else r"^{\top}")
        elif token in "^_":
            script, place = scripted(text, place)
            digit = re.search(r"_\{(\d+)\}$", pieces[-1]) if token == "_" and pieces else None
            if digit:  # w1_h has two indices
                pieces[-1], script = pieces[-1][: digit.start()], f"{digit[1]}{script}"
            pieces.append(f"{token}{{{script}}}")
        else:
            pieces.append(SIGNS.get(token, token))
    return RELATIONS.sub(r"\1", "".join(pieces))


def bracketed(text: str, place: int) -> tuple[str, int]:
    """What stands in the brackets that open at a place, and the place behind them."""
    depth = 0
    for end in range(place, len(text)):
        depth += (text[end] in "({") - (text[end] in ")}")
        if depth == 0:
            return text[place + 1 : end], end + 1
    return text[place + 1 :], len(text)


def scripted(text: str, place: int) -> tuple[str, int]:
    """A sub- or superscript as LaTeX, and the place behind it."""
    minus = "-" if text.startswith("-(", place) else ""
    if text[place + len(minus) : place + len(minus) + 1] in ("(", "{"):
        inner, end = bracketed(text, place + len(minus))
        return (f"-({formula(inner)})" if minus else formula(inner)), end
    found = SCRIPT.match(text, place)
    if found is None:
        return "", place
    short = len(found[0]) <= 3 and found[0] not in FUNCTIONS
    return (found[0] if short or not found[0].isalpha() else symbol(found[0])), found.end()


def symbol(name: str) -> str:
    """A name: Greek, a function, the gradient `d` + name, an estimate, a letter with a number, a word."""
    found = re.fullmatch(r"([A-Za-z]+)(\d*)", name)
    assert found is not None
    letters, digits = found.groups()
    index = f"_{{{digits}}}" if digits else ""
    if letters in GREEK:
        return GREEK[letters] + (index or " ")
    if letters == "sum":
        return r"\sum "
    if letters in FUNCTIONS and len(letters) > 1:
        return rf"\operatorname{{{letters}}}{index}"
    if len(letters) == 1:
        return letters + index
    if letters.isupper() and len(letters) == 2:
        return r"\ ".join(letters) + index
    if re.fullmatch("[A-Zmvy]hat", letters):
        return rf"\hat {letters[0]}{index}"
    of = letters.removeprefix("d")
    if of not in (letters, "o") and (of in GREEK or len(of) == 1 or re.fullmatch("[A-Z]hat", of)):
        return r"\mathrm{d}" + symbol(of + digits)
    return r"\mathrm{dlogits}" if name == "dlogits" else rf"\text{{{name}}}"

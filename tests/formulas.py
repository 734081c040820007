"""Works out the formulas of tinydiv.trace as they are written: A[0] W[0] + b[0], dA[1] * relu'(Z[0]).

    sum       term { (+|-) term }                      term      power { [*|/] power }
    power     atom { ' } [ ^ power ]                   atom      number | name | function atom | (sum)

Two things side by side are a matrix product, or a multiple where one of them is a number. It shares
no line with the project: the functions here are written anew, their derivatives come from complex steps.
"""

import re

import numpy as np

TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:e[+-]?\d+)?)|(?P<name>[A-Za-z](?:[\w.#]|-(?=[a-z]))*(?:\[[\w.-]+\])?)"
    r"|(?P<mark>[-+*/^()']))"
)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def gelu(z):
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


ACTIVATIONS = {
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "leaky-relu": lambda z: np.where(z.real > 0, z, 0.01 * z),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "gelu": gelu,
    "identity": lambda z: z,
}


def derivative(f):
    return lambda z: np.imag(f(z + 1e-20j)) / 1e-20


def softmax(z):
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


FUNCTIONS = {
    **ACTIVATIONS,
    **{f"{name}'": derivative(f) for name, f in ACTIVATIONS.items()},
    "softmax": softmax,
    "sum": np.sum,
    "sum_n": lambda a: a.sum(axis=0, keepdims=True),
    "sum_k": lambda a: a.sum(axis=1, keepdims=True),
    "sqrt": np.sqrt,
    "log": np.log,
}


def side_by_side(a, b):
    return a * b if np.ndim(a) == 0 or np.ndim(b) == 0 else a @ b


class Reader:
    """One formula, read from left to right. `known` maps names to arrays, and to more functions."""

    def __init__(self, text, known):
        self.known, self.tokens, place = known, [], 0
        while place < len(text.rstrip()):
            found = TOKEN.match(text, place)
            assert found, f"cannot read {text[place:]!r} in {text!r}"
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            place = found.end()

    def next(self):
        return self.tokens[0] if self.tokens else (None, None)

    def take(self):
        return self.tokens.pop(0)[1]

    def eat(self, mark):
        if self.next() == ("mark", mark):
            self.take()
            return True
        return False

    def whole(self):
        value = self.sum()
        assert not self.tokens, f"left over: {self.tokens}"
        return value

    def sum(self):
        value = -self.term() if self.eat("-") else self.term()
        while self.next() in (("mark", "+"), ("mark", "-")):
            value = value + self.term() if self.take() == "+" else value - self.term()
        return value

    def term(self):
        value = self.power()
        while True:
            kind, text = self.next()
            if self.eat("*"):
                value = value * self.power()
            elif self.eat("/"):
                value = value / self.power()
            elif kind in ("number", "name") or text == "(":
                value = side_by_side(value, self.power())
            else:
                return value

    def power(self):
        value = self.atom()
        while self.eat("'"):
            value = value.T
        return value ** self.power() if self.eat("^") else value

    def atom(self):
        if self.eat("("):
            value = self.sum()
            assert self.eat(")")
            return value
        kind, text = self.next()
        self.take()
        if kind == "number":
            return float(text)
        assert kind == "name", f"{text!r} stands where a value should"
        if text in self.known and not callable(self.known[text]):
            return self.known[text]
        if self.next() == ("mark", "'"):
            text += self.take()
        function = self.known.get(text) or FUNCTIONS[text]
        return function(self.atom())


def evaluate(text, known):
    """The value of a formula, given the arrays that it names."""
    return Reader(text, known).whole()

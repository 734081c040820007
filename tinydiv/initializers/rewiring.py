"""Rewiring: the weights of a draw keep their values and change places."""

from dataclasses import dataclass

import numpy as np

from tinydiv.initializers.scheme import LayerInfo, Scheme


@dataclass(frozen=True)
class PreferentialAttachment(Scheme):
    """Weights of each neuron reordered so that inputs are used evenly (Scabini, De Baets and Bruno,
    Neurocomputing 599, 2024 (arXiv 2022)).

        s_i = sum over the neurons before h of W_ih          strength of input i
        p_i proportional to s_i - min s + 1
        inputs are drawn one after the other by p, without replacement; the first one drawn gets the
        smallest weight of neuron h, the last one its largest

    Inputs with much weight so far tend to get a small one next, so the strengths of the inputs differ
    less. Each neuron keeps its weights, only their order changes, so norms and biases stay. Neurons are
    visited in order. With no base named, its base is `orthogonal` and the output layer is rewired too. The
    definition follows the paper's abstract and its authors' published code; the code here is our own.
    """

    name = "preferential-attachment"
    base = "orthogonal"

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        return rewired(W, at.rngs), b

    def output(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        return (rewired(W, at.rngs) if at.bare else W), b


def rewired(W: np.ndarray, rngs: list[np.random.Generator]) -> np.ndarray:
    """W (R, n_in, n_out) with the entries of each column in a new order."""
    new = W.copy()
    for network, rng in zip(new, rngs, strict=True):
        strength = np.zeros(network.shape[0])
        for h in range(network.shape[1]):
            if h:  # the first neuron stays as it was drawn
                # Adding Gumbel noise to log p and sorting draws by p without replacement.
                p = strength - strength.min() + 1
                drawn = np.argsort(-(np.log(p) + rng.gumbel(size=len(p))))
                network[drawn, h] = np.sort(network[:, h])
            strength += network[:, h]
    return new

"""Operations for cross-checking: how one is registered, with the mistakes known of it and the cases that show them.

An operation is one function with keyword inputs, named as other implementations are to name it. Beside it
stand its known mistakes, each with the same inputs and the wrong output, and one function that yields its
cases. The modules of `vime_check.cases` define them, `vime_check.prove` writes them down.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

import bnn_ref as bnn
import vime_ref as vime
from bnn_ref import Array, Noise

# ---------------------------------------------------------------- constants

BOTH = ("f64", "f32")
OWN = "found by thought, not in the wild"


# ---------------------------------------------------------------- types

Function = Callable[
    ..., Any
]  # keyword inputs; gives an array, a number, or named arrays
Error = Literal[
    "elementwise", "arraywise"
]  # relative to each element, or to the largest one
Inputs = dict[str, Any]
Arrays = dict[str, Array]


class Note(NamedTuple):
    """What a mistake is, what it does, and where it was seen."""

    what: str
    effect: str
    seen_in: str


NOTES = {
    "MissingHalf": Note(
        "the ½ of the Taylor form is left out",
        "twice the exact gain; dividing by the median hides it",
        "openai/vime, mazpie/vime-pytorch, DIRECT, imle",
    ),
    "FudgedDenominator": Note(
        "1e-8 is added to a denominator of the KL, or inside its logarithm as well",
        "0.5 % too low at σ = 1e-3, a third too low at 1e-4, negative at 1e-5",
        "all codes of VIME",
    ),
    "NaiveNearIdentity": Note(
        "the textbook sum is used where both distributions almost agree",
        "its terms cancel: 26 % off for a move of 1e-4 σ in float32",
        "everywhere",
    ),
    "SoftplusOverflow": Note(
        "log(1 + exp ρ), or log(exp σ − 1), is computed as it is written",
        "infinite from ρ = 89 in float32 and ρ = 710 in float64; 0 far below 0",
        "many codes",
    ),
    "SwappedKL": Note(
        "KL[old‖new] stands for KL[new‖old]",
        "the Taylor form stays, the exact value changes",
        "imle, PyTorch-BayesianCNN #28",
    ),
    "DroppedConstant": Note(
        "the −½ a dimension of the KL is left out",
        "the KL of equal distributions is D/2",
        "the lecture's slide",
    ),
    "KLMean": Note(
        "the KL is the mean over dimensions, not their sum",
        "D times too small: 80 times on a layer of 4 × 32",
        "bayesian-torch #36, torchbnn's default",
    ),
    "VarianceAsSigma": Note(
        "a variance stands where a standard deviation is meant, or the other way round",
        "297.5 becomes 198.7",
        "bayesian-torch (prior_variance)",
    ),
    "PriorFloor": Note(
        "the prior's density is raised by 1e-6 before its logarithm",
        "a weight far from the prior does not feel it: gradient 0 where it is 100",
        "blitz",
    ),
    "NoKLScale": Note(
        "n/B is left out: the sum over the minibatch stands beside the full KL",
        "the prior weighs n/B times too much",
        "matthewlujp, deligentfool, issues of TensorFlow Probability",
    ),
    "PerBatchKL": Note(
        "the mean over the minibatch stands beside the full KL",
        "the prior weighs n times too much",
        "matthewlujp, deligentfool, issues of TensorFlow Probability",
    ),
    "UnnormalisedLogDensity": Note(
        "a log density lacks the ½ of its square, or −log σ",
        "wrong evidence; without the ½ its gradient is doubled",
        "HIPS/autograd's BNN example, blitz",
    ),
    "SharedRowNoise": Note(
        "all rows see the noise of row 0",
        "local reparameterization in name only: the rows' gradients are correlated",
        "openai/vime and its ports",
    ),
    "SameLayerNoise": Note("every layer sees the noise of layer 0", "layers are correlated", "openai/vime"),
    "AveragedPrediction": Note(
        "the density of the mean prediction stands for the mean over samples",
        "the uncertainty of the weights is lost",
        "justheuristic, rejax",
    ),
    "LeakyOptimiser": Note(
        "an optimiser's state survives from one transition to the next",
        "a gain depends on the rows before it",
        "openai/vime (first-order path), alec-tschantz",
    ),
    "CrossEpisode": Note(
        "the last step of an episode is paired with the first observation of the next",
        "the model learns jumps that never happen",
        "openai/vime's pool and its copies",
    ),
    "ActionShift": Note(
        "the observation after an action is paired with it as the one before",
        "the model sees effects as causes",
        "mazpie",
    ),
    "CopiedLastGain": Note(
        "the last step gets the gain of the one before",
        "wrong reward where episodes end",
        "openai/vime",
    ),
    "SampleVariance": Note(
        "a sum of squares is divided by n − 1", "too wide; NaN for a single row", "rllte"
    ),
    "InputMutation": Note(
        "the caller's arrays are changed in place",
        "what uses them later counts curiosity as well",
        "Tianshou's ICM",
    ),
    "FilterReplacesReward": Note(
        "the reward itself is dropped, only the bonus is left", "the task is forgotten", "rllte"
    ),
    "TruncationAsTermination": Note(
        "the value behind a time limit counts as 0", "values too low before it", "CleanRL #198"
    ),
    "SquaredBeforeMean": Note(
        "the gradient is squared before it is averaged over the samples",
        "the gain counts the noise of the samples in full",
        OWN,
    ),
    "FirstOfTies": Note(
        "of equally good actions the first gets all",
        "before anything is known the first action is the best",
        "NervanaSystems/coach #414, mabwiser #96, BanditsBook #18",
    ),
    "OwnCountInLog": Note(
        "ln n of the action stands for ln N of all",
        "what is seldom tried keeps a low bound, and is never tried again",
        OWN,
    ),
    "BootstrapAtTerminal": Note(
        "the value behind a terminal state counts",
        "values of states that are never acted in leak into the others",
        OWN,
    ),
    "OffByOnePseudoCount": Note(
        "an observation is learned before it is scored", "counts one too high: nothing is ever new", "tensorflow-rl"
    ),
    "CtsUpdateOrder": Note(
        "the weight for splitting takes the new weight for staying, not the old one",
        "5/28 = 0.1786 where the bits 1, 0 at depth 1 have 3/16 = 0.1875",
        "SkipCTS's Python code and its copies",
    ),
    "UnderflowingDensity": Note(
        "probabilities are multiplied in place of adding their logarithms",
        "an image's is 0: its logarithm −∞, its pseudo-count 0/0",
        "atari-rl",
    ),
    "WrappingBytes": Note(
        "bytes are subtracted as bytes, and wrap around", "a pixel that fades from 3 to 0 has changed by 253", OWN
    ),
    "CellSum": Note(
        "the changes in a cell are added up, not averaged",
        "rewards that grow with the cell: 48 times for 4 by 4 pixels of three colours",
        OWN,
    ),
    "ActivationChange": Note(
        "the change of an activation is paid, not the activation", "a unit that stays active earns nothing", OWN
    ),
    "TerminalDropped": Note(
        "the step into a terminal state is left out, or its reward",
        "the reward at the end of an episode is never learned from",
        "miyosuda/unreal",
    ),
    "WindowCrossing": Note(
        "a window runs across the end of an episode",
        "frames of one episode predict the next one's reward; returns count it",
        "miyosuda/unreal",
    ),
    "FilterAxis": Note(
        "a discounted sum runs along the environments, not along time",
        "it adds what never followed each other: a variance of 61.4 where it is 5.1",
        "CleanRL's RND",
    ),
    "UncentredAdvantages": Note(
        "the advantages are not centred over the actions of each state",
        "value and advantages are not told apart: what one gains the other may lose",
        OWN,
    ),
    "ControlMean": Note(
        "the mean over the controlled cells stands for their sum",
        "the loss is as many times too small: 400 times for 20 by 20 cells",
        OWN,
    ),
    "UniformWindows": Note(
        "windows are drawn as they come, whether there is a reward or not",
        "rewards are as rare in what is learned as they are in the task",
        OWN,
    ),
    "GateOrder": Note(
        "gates are read in the order i, f, g, o where i, f, o, g is meant",
        "output gate and candidates are exchanged",
        "weights of torch.nn.LSTM and Keras, whose order it is",
    ),
}  # fmt: skip


class Case(NamedTuple):
    """One example: inputs and the mistakes it hunts, or why they have to be refused."""

    probe: str  # with the operation's name, the case's id
    comment: str
    inputs: Inputs
    flags: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = BOTH
    why: str = ""  # empty where the inputs are valid
    needs: frozenset[str] = (
        frozenset()
    )  # inputs that an operation must have for the case to say something


class Operation(NamedTuple):
    """The reference function of an operation, its mistakes by flag (a flag may have variants), its cases."""

    name: str
    family: str
    error: Error
    function: Function
    mistakes: dict[str, tuple[Function, ...]]
    cases: Callable[[], Iterator[Case]]


OPERATIONS: dict[str, Operation] = {}
INTERMEDIATES: dict[
    str, Function
] = {}  # by operation: from its inputs, named values on the way to its output


# ---------------------------------------------------------------- building blocks: registering


def operation(family: str, error: Error) -> Callable[[Function], Function]:
    """Register a function as the reference of the operation that bears its name."""

    def register(function: Function) -> Function:
        name = function.__name__
        OPERATIONS[name] = Operation(
            name, family, error, function, {}, lambda: iter(())
        )
        return function

    return register


def local_operation(name: str) -> None:
    """Register an operation's form under local reparameterization: zeta, a list, in place of its eps."""
    right = OPERATIONS[name]
    local = bnn.with_zeta(right.function)
    signature = inspect.signature(right.function)
    renamed = [
        each.replace(name="zeta") if each.name == "eps" else each
        for each in signature.parameters.values()
    ]
    vars(local)["__signature__"] = signature.replace(parameters=renamed)
    operation(right.family, right.error)(local)


def mistake(flag: str, *names: str) -> Callable[[Function], Function]:
    """Register wrong(right, given), right being the reference, as a mistake of these operations."""

    def register(wrong: Function) -> Function:
        for name in names:
            mistakes, right = OPERATIONS[name].mistakes, OPERATIONS[name].function
            mistakes[flag] = (*mistakes.get(flag, ()), partial(called, wrong, right))
        return wrong

    return register


def called(wrong: Function, right: Function, **given: Any) -> Any:
    return wrong(right, given)


def intermediates_of(*names: str) -> Callable[[Function], Function]:
    """Register a function of the inputs that gives named values on the way to these operations' outputs."""

    def register(parts: Function) -> Function:
        INTERMEDIATES.update(dict.fromkeys(names, parts))
        return parts

    return register


def cases_of(
    *names: str,
) -> Callable[[Callable[[], Iterator[Case]]], Callable[[], Iterator[Case]]]:
    """Register the cases of these operations; each takes those whose inputs it has."""

    def register(cases: Callable[[], Iterator[Case]]) -> Callable[[], Iterator[Case]]:
        for name in names:
            OPERATIONS[name] = OPERATIONS[name]._replace(
                cases=partial(fitting, name, cases)
            )
        return cases

    return register


def fitting(name: str, cases: Callable[[], Iterator[Case]]) -> Iterator[Case]:
    """The cases that this operation can show, their inputs in its order and the flags that it has."""
    parameters = inspect.signature(OPERATIONS[name].function).parameters
    for case in cases():
        if case.needs <= set(parameters):
            inputs = {key: rounded(case.inputs[key], case.dtypes) for key in parameters}
            flags = [
                flag
                for flag in case.flags
                if flag in (*OPERATIONS[name].mistakes, "InputMutation")
            ]
            yield case._replace(inputs=inputs, flags=tuple(flags))


def rounded(value: Any, dtypes: Sequence[str]) -> Any:
    """What float32 can hold of a value, where a case is for float32 too."""
    if isinstance(value, list):
        return [rounded(each, dtypes) for each in value]
    if "f32" not in dtypes or not (
        isinstance(value, float) or getattr(value, "dtype", None) == np.float64
    ):
        return value
    return (
        np.float64(np.float32(value))
        if isinstance(value, np.ndarray)
        else float(np.float32(value))
    )


def good(
    probe: str, comment: str, *flags: str, dtypes: tuple[str, ...] = BOTH, **inputs: Any
) -> Case:
    """A case of valid inputs."""
    return Case(probe, comment, arrays(inputs), flags, dtypes)


def bad(probe: str, why: str, base: Inputs, **changes: Any) -> Case:
    """A case that has to be refused: valid inputs, but for these changes."""
    comment = f"Has to be refused: {why}."
    return Case(
        probe, comment, arrays(base | changes), why=why, needs=frozenset(changes)
    )


def by_convention(case: Case) -> Case:
    """A case that others may take with good reason."""
    return case._replace(
        comment=f"Refused by the reference's own convention, which is no law: {case.why}."
    )


def arrays(inputs: Inputs) -> Inputs:
    """Tuples stand for arrays."""
    return {
        name: np.array(value) if isinstance(value, tuple) else value
        for name, value in inputs.items()
    }


# ---------------------------------------------------------------- building blocks: numbers


def numbers(*shape: int, seed: int) -> Array:
    """Well-mixed 64ths from −2 to 2: short, exact in float32, and from no generator whose stream might change."""
    i = np.arange(1, math.prod(shape) + 1) + 17 * seed
    return ((i * i * i + 91 * i * i + 55 * i) % 257 - 128).reshape(shape) / 64.0


def model(*layer_sizes: int, rows: int, samples: int, seed: int) -> Inputs:
    """All inputs of the operations on a network: posterior, prior, data, both kinds of noise, settings."""
    size = bnn.num_weights(layer_sizes)
    return {
        "theta": numbers(samples, size, seed=seed + 7),
        "mu": numbers(size, seed=seed),
        "rho": 0.5 * numbers(size, seed=seed + 1) - 0.5,
        "prior_mu": 0.5 * numbers(size, seed=seed + 2),
        "prior_rho": 0.25 * numbers(size, seed=seed + 3),
        "inputs": numbers(rows, layer_sizes[0], seed=seed + 4),
        "targets": numbers(rows, layer_sizes[-1], seed=seed + 5),
        "eps": numbers(samples, size, seed=seed + 6),
        "zeta": [
            numbers(samples, rows, units, seed=seed + 8 + units + i)
            for i, units in enumerate(layer_sizes[1:])
        ],
        "layer_sizes": np.array(layer_sizes),
        "likelihood_sigma": 0.75,
        "num_data": 10.0,
        "step_size": 0.015625,
        "method": "taylor",
        "num_steps": 1,
        "learning_rate": 0.03125,
    }


def with_nan(values: Array, worst: float = math.nan) -> Array:
    """A copy whose last element is not finite."""
    copy = np.array(values)
    copy.flat[-1] = worst
    return copy


def sizes_of(layer_sizes: Array) -> tuple[int, ...]:
    return tuple(int(size) for size in layer_sizes)


def noise_of(given: Inputs) -> Noise:
    noise: Noise = given["eps"] if "eps" in given else given["zeta"]
    return noise


def model_of(given: Inputs) -> vime.ModelSettings:
    return {
        "layer_sizes": sizes_of(given["layer_sizes"]),
        "likelihood_sigma": given["likelihood_sigma"],
    }

"""Known mistakes: their descriptions, effects and sources, and which of them cause rounding noise.

`python -m vime_check.mistakes` prints them as the page `docs/mistakes.md`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from typing import Literal, NamedTuple

from vime_check.cases import PROVED
from vime_check.files import read_json
from vime_check.operations import MARGIN, two_digits
from vime_check.wire import NO_VECTORS, VECTORS

# ---------------------------------------------------------------- constants

OWN = "found by thought, not in the wild"
NOISE = ("NaiveNearIdentity",)  # mistakes that cause rounding noise
# Mistakes that divide 0 by 0, or infinity by infinity.
UNDEFINED = ("UnderflowingDensity", "SquaredExpOverflow", "SoftplusOverflow")
# Multiple of the measured error: looks like the noise of another form of the same sum.
BAND = (0.01, 30.0)
MOST_NOISE = 0.1  # a larger error has another reason

# ---------------------------------------------------------------- the table


class Note(NamedTuple):
    """A mistake's description, its effect, where it was seen, and its kind.

    Digits: the formula is right, but loses digits. Convention: other code may choose it for good reasons.
    """

    what: str
    effect: str
    seen_in: str
    kind: Literal["mistake", "digits", "convention"] = "mistake"


NOTES = {
    "MissingHalf": Note(
        "the ½ of the Taylor form, of a term of the KL, or of a squared error, is left out",
        "twice the exact gain; dividing by the median hides it",
        "openai/vime, mazpie/vime-pytorch, DIRECT, imle",
    ),
    "WrongMetric": Note(
        "the Hessian's entry for ρ is a quarter of the right one, or lacks its 2",
        "the metric in ρ is too small: steps and gains too large, `kl_taylor` too small",
        "DIRECT",
    ),
    "SquaredExpOverflow": Note(
        "the Hessian's e^{2ρ}/(1 + e^ρ)² is computed as it is written",
        "NaN from ρ = 355 in float64 and ρ = 45 in float32",
        "openai/vime and its ports",
    ),
    "ClippedGain": Note("gains are clipped at 1000", "surprises that differ get one reward", "openai/vime"),
    "UndetachedOld": Note(
        "the old parameters move with the new ones: nothing detaches them",
        "the KL to the start does not pull, from the second step on",
        "mazpie, alec-tschantz",
    ),
    "FudgedDenominator": Note(
        "1e-8 is added to a denominator, or inside a logarithm",
        "KL 0.5 % too low at σ = 1e-3, a third too low at 1e-4, negative at 1e-5",
        "openai/vime, mazpie, DIRECT, alec-tschantz",
    ),
    "NaiveNearIdentity": Note(
        "the textbook sum is used where both distributions almost agree",
        "its terms cancel: 26 % off for a move of 1e-4 σ in float32",
        "all codes that were read",
        "digits",
    ),
    "SoftplusOverflow": Note(
        "log(1 + exp ρ), or log(exp σ − 1), is computed as it is written",
        "infinite from ρ = 89 in float32 and ρ = 710 in float64; 0 far below 0",
        "many codes",
    ),
    "SoftplusThreshold": Note(
        "softplus returns ρ itself above 20",
        "e^-20 = 2e-9 too small there",
        "torch.nn.functional.softplus",
        "digits",
    ),
    "SigmaFloor": Note(
        "a constant is added to each standard deviation: 1e-8, 1e-6 or 1e-5",
        "no weight can become certain; its gain is too small",
        "examples of TensorFlow Probability",
    ),
    "OutputReLU": Note(
        "the output layer has a ReLU as well",
        "negative targets can't be predicted",
        "DIRECT, deligentfool",
    ),
    "SwappedKL": Note(
        "KL[old‖new] is computed, not KL[new‖old]",
        "the Taylor form stays, the exact value changes",
        "imle, PyTorch-BayesianCNN #28",
    ),
    "SwappedSigmas": Note(
        "σ of the new and σ of the old distribution are exchanged in one term of the KL",
        "the KL of equal distributions is 0 still, all others change; it can be negative",
        OWN,
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
        "a variance is used as a standard deviation, or the other way round",
        "297.5 becomes 198.7",
        "bayesian-torch (prior_variance)",
    ),
    "PriorFloor": Note(
        "the prior's density is raised by 1e-6 before its logarithm",
        "a weight far from the prior does not feel it: gradient 0 where it is 100",
        "blitz",
    ),
    "NoKLScale": Note(
        "n/B is left out: the sum over the minibatch is added to the full KL",
        "the prior weighs n/B times too much",
        "matthewlujp, deligentfool, issues of TensorFlow Probability",
    ),
    "PerBatchKL": Note(
        "the mean over the minibatch is added to the full KL",
        "the prior weighs n times too much",
        "matthewlujp, deligentfool, issues of TensorFlow Probability",
    ),
    "UnnormalisedLogDensity": Note(
        "a log density lacks the ½ of its square, or −log σ",
        "wrong evidence; without the ½ its gradient is doubled",
        "HIPS/autograd's BNN example",
    ),
    "ExtraConstant": Note(
        "½ too much is subtracted from each log density",
        "wrong evidence, right gradient",
        "blitz 0.2.8",
    ),
    "SharedRowNoise": Note(
        "all rows see the noise of row 0",
        "local reparameterization in name only: the rows' gradients are correlated",
        "openai/vime and its ports",
    ),
    "SameLayerNoise": Note("every layer sees the noise of layer 0", "layers are correlated", "openai/vime"),
    "AveragedPrediction": Note(
        "the density of the mean prediction is used, not the mean over samples",
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
    "RewardDropped": Note("the task's reward is dropped, only the bonus is left", "the task is forgotten", OWN),
    "TruncationAsTermination": Note(
        "the value behind a time limit counts as 0", "values too low before it", "CleanRL #198"
    ),
    "LimitDropped": Note(
        "the advantage of a step that a time limit cuts is 0",
        "the steps before it lose all that followed",
        "ikostrikov's proper time limits, mazpie",
    ),
    "NormalisedInside": Note(
        "the advantages are normalised inside GAE", "returns made from them have lost their scale", "rllte"
    ),
    "LowerMedian": Note(
        "the median of an even number of gains is the lower of the middle two",
        "the divisor is too small",
        "code on torch.median",
    ),
    "ClampedLogSigma": Note(
        "a policy's log σ is clipped to [-20, 2] or [-5, 2]",
        "wrong densities beyond the limits",
        "SAC in Stable-Baselines3 and others",
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
        "the logarithm has n of the action, not N of all",
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
        "probabilities are multiplied or divided, and their logarithm is taken last",
        "an image's probability is 0: its logarithm −∞, its pseudo-count 0/0",
        "atari-rl",
    ),
    "WrappingBytes": Note(
        "bytes are subtracted as bytes, and wrap around", "a pixel that fades from 3 to 0 has changed by 253", OWN
    ),
    "CellSum": Note(
        "the changes in a cell are added up, not averaged",
        "rewards that grow with the cell: 48 times for 4 by 4 pixels of three colors",
        OWN,
    ),
    "FeatureChange": Note(
        "the reward is the change of an activation, not the activation",
        "a unit that stays active earns nothing",
        OWN,
        "convention",
    ),
    "RewardOrder": Note(
        "reward classes in another order, or the sign itself",
        "labels are exchanged, nothing else",
        "miyosuda/unreal: zero, positive, negative",
        "convention",
    ),
    "ConstantColumns": Note(
        "a column that never varied keeps a deviation of 0, or of rounding",
        "divided by it, the column is not finite",
        OWN,
        "convention",
    ),
    "TerminalDropped": Note(
        "the step into a terminal state is left out, or its reward; V(s_T) can be bootstrapped before it",
        "the reward at the end of an episode is never learned from",
        "miyosuda/unreal",
    ),
    "WindowCrossing": Note(
        "a window or the trace of GAE runs across the end of an episode",
        "one episode predicts the next one's reward; returns and advantages count it",
        "miyosuda/unreal",
    ),
    "FilterAxis": Note(
        "a discounted sum runs along the environments, not along time",
        "it adds what never followed each other: a variance of 61.4 where it is 5.1",
        "CleanRL's RND",
    ),
    "UncentredAdvantages": Note(
        "the advantages are not centred over the actions of each state, or are less their best",
        "value and advantages are not told apart: what one gains the other may lose",
        OWN,
    ),
    "ControlMean": Note(
        "the loss is the mean over the controlled cells, not their sum",
        "the loss is as many times too small: 400 times for 20 by 20 cells",
        OWN,
    ),
    "UniformWindows": Note(
        "windows are drawn as they come, whether there is a reward or not",
        "rewards are as rare in what is learned as they are in the task",
        OWN,
    ),
    "TrainedBeforeRewarded": Note(
        "the model is trained on a batch before it rewards it",
        "what the batch taught is known already: the gains are too small",
        OWN,
    ),
    "WrongMoment": Note(
        "the statistics are refreshed at another time than before the training",
        "training and gains see numbers in different units",
        OWN,
    ),
    "StateNotRestored": Note(
        "the posterior stays at φ′ after a row or a batch was rewarded",
        "later rows gain less, and training begins elsewhere",
        OWN,
    ),
    "GradientsAccumulate": Note(
        "nothing sets gradients to 0 between rows or steps, so they add up",
        "a gain counts the rows before it as well",
        OWN,
    ),
    "AdamRestarted": Note(
        "Adam begins anew in each iteration",
        "the first steps of every iteration are as long as the learning rate",
        OWN,
        kind="convention",
    ),
    "AliasedOld": Note(
        "the old parameters are the same arrays as the new ones",
        "every gain is 0",
        OWN,
    ),
    "RingSeam": Note(
        "the next observation is read from the next slot of a ring",
        "the newest row is paired with the oldest one",
        OWN,
    ),
    "ResetStepLearned": Note(
        "the step that only resets an environment counts as a transition",
        "the model learns that the end of an episode leads to its start",
        OWN,
    ),
    "ForgottenShift": Note(
        "variances of batches are averaged without what their means are apart",
        "the deviation is too small while the mean moves",
        OWN,
    ),
    "FilterRestarted": Note(
        "the discounted sum begins at 0 in each batch",
        "its variance is too small",
        OWN,
    ),
    "SumReplacesBonus": Note(
        "the bonus is replaced by its own discounted sum",
        "a reward is counted again in each later step",
        "rllte",
    ),
    "MeanSubtracted": Note(
        "the mean of the discounted sums is subtracted from the rewards",
        "rewards near 0 become negative",
        OWN,
    ),
    "GateOrder": Note(
        "gates in another order than i, f, o, g",
        "output gate and candidates are exchanged",
        "weights of torch.nn.LSTM and Keras: i, f, g, o",
        "convention",
    ),
}  # fmt: skip


# ---------------------------------------------------------------- noise


def noise_band(measured: float, allowed: float) -> tuple[float, float]:
    """The band (low, high) of errors that look like noise of this size.

    It never overlaps the tolerance and is never empty.
    """
    least, most = (factor * measured for factor in BAND)
    most = min(max(most, MARGIN * allowed), MOST_NOISE)
    return max(two_digits(least), allowed), two_digits(most)


# ---------------------------------------------------------------- the page

PAGE = """# Mistakes that the checker knows

`vime-ref check` compares your numbers with the right ones, and with the numbers that these
mistakes would give, alone and in pairs. If yours match, the report names the mistakes.
[Check your implementation](check.md) shows such a report.

- **Seen in** names public code as it was when it was read. The projects may have fixed it since.
- *Many codes* are most of the code that was read. Four ports do not add 1e-8: matthewlujp,
  deligentfool, justheuristic and rejax.
- **Kind**: a *mistake* makes a result wrong. *Digits* are lost by the right formula. A
  *convention* is another choice, and no mistake.
- **Operations** are the ones in which a case shows the mistake. Names with a part in common, such as
  the KL inside of `elbo`, share its mistakes.
- `tests/mutants.py` makes each mistake of an operation, and each two of them.
  [`results/mistakes.txt`](../results/mistakes.txt) counts how many the checker names.

`python -m vime_check.mistakes > docs/mistakes.md` writes this page from
[`vime_check/mistakes.py`](../vime_check/mistakes.py) and the vectors.
"""
HEAD = ("name", "what it is", "what it does", "seen in", "kind", "operations")


def page() -> str:
    """The page `docs/mistakes.md`."""
    shown = operations_of_mistakes()
    lines = [page_row(HEAD), page_row(["---"] * len(HEAD))]
    for name, note in NOTES.items():
        named = [f"`{key}`" for key in shown.get(name, [])]
        # The checker itself looks for changed inputs, whatever the operation.
        operations = ", ".join(named) or "all"
        lines.append(page_row([f"`{name}`", *note, operations]))
    return "\n".join([PAGE, *lines, ""])


@functools.cache
def operations_of_mistakes() -> dict[str, list[str]]:
    """For each mistake, the operations in which a case shows it."""
    found: dict[str, dict[str, None]] = {}
    for path in sorted(VECTORS.glob("*.json")):
        if path.name not in NO_VECTORS:
            for case in read_json(path)["cases"]:
                for name in case.get("wrong", {}):
                    found.setdefault(name, {})[case["operation"]] = None
    return {
        name: [each for each in PROVED if each in operations]
        for name, operations in found.items()
    }


def page_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.buffer.write(page().encode())  # UTF-8, whatever the terminal has

"""Known mistakes: their descriptions, effects and sources, and which of them cause rounding noise.

`python -m vime_check.mistakes` prints them as the page `docs/mistakes.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

from vime_check.cases import PROVED
from vime_check.operations import MARGIN, two_digits

# ---------------------------------------------------------------- constants

OWN = "found by thought, not in the wild"
NOISE = ("NaiveNearIdentity",)  # mistakes that cause rounding noise
UNDEFINED = ("UnderflowingDensity",)  # mistakes that divide 0 by 0
# Mistakes with some noise: their own tolerance, by effect and near identity.
NOISY = {"FudgedDenominator": (0.01, 0.25)}
# Multiple of the measured error: looks like the noise of another form of the same sum.
BAND = (0.01, 30.0)
MOST_NOISE = 0.1  # a larger error has another reason

# ---------------------------------------------------------------- the table


class Note(NamedTuple):
    """A mistake's description, its effect, and where it was seen."""

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
    "AdamRestarted": Note(
        "Adam begins anew in each iteration",
        "the first steps of every iteration are as long as the learning rate",
        OWN,
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
        "gates are read in the order i, f, g, o where i, f, o, g is meant",
        "output gate and candidates are exchanged",
        "weights of torch.nn.LSTM and Keras, whose order it is",
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

`vime-ref check` compares your numbers with the right ones, and with the numbers that each of
these mistakes would give. If yours match a mistake, the report names it.
[Check your implementation](check.md) shows such a report.

- **Seen in** names public code as it was when it was read. The projects may have fixed it since.
- *All codes*, *many codes* and *everywhere* mean most of the code that was read. Four ports, for
  example, do not add 1e-8: matthewlujp, deligentfool, justheuristic and rejax.
- **Operations** are the ones for which the checker can name the mistake.
- Each mistake has a mutant: an implementation with exactly this mistake. The checker names all
  of them; [`results/mistakes.txt`](../results/mistakes.txt) is the table.

`python -m vime_check.mistakes > docs/mistakes.md` writes this page from
[`vime_check/mistakes.py`](../vime_check/mistakes.py).
"""
HEAD = ("name", "what it is", "what it does", "seen in", "operations")


def page() -> str:
    """The page `docs/mistakes.md`."""
    lines = [page_row(HEAD), page_row(["---"] * len(HEAD))]
    for name, note in NOTES.items():
        named = [f"`{key}`" for key, each in PROVED.items() if name in each.mistakes]
        # The checker itself looks for changed inputs, whatever the operation.
        operations = ", ".join(named) or "all"
        lines.append(page_row([f"`{name}`", *note, operations]))
    return "\n".join([PAGE, *lines, ""])


def page_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.buffer.write(page().encode())  # UTF-8, whatever the terminal has

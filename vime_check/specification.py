"""The specification of the operations: what an implementer needs, from the registry and the texts below.

`python -m vime_check.specification` writes it as the page `docs/operations.md` and as `vectors/operations.json`. With
these files and the vectors, an operation can be implemented without a look at the code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vime_check.cases import OPERATIONS
from vime_check.cases.traces import TRACES, Trace
from vime_check.mistakes import NOTES, operations_of_mistakes
from vime_check.operations import BOTH, Operation, tolerance
from vime_check.wire import SCHEMA, VECTORS, VECTORS_DATE, VECTORS_VERSION

# ---------------------------------------------------------------- constants

JSON_FILE = VECTORS / "operations.json"
PAGE_FILE = Path(__file__).parent.parent / "docs" / "operations.md"

# ---------------------------------------------------------------- inputs


class Input(NamedTuple):
    """An input as an implementer must know it."""

    shape: str  # () for one number
    kind: str  # one of INPUT_KINDS
    unit: str
    domain: str  # anything else must be rejected; empty if all of DOMAINS are allowed
    meaning: str


# Kinds of inputs, in the words of the page, and what they are in JSON.
INPUT_KINDS = {
    "numbers": "an array of numbers; a number alone is an array of shape ()",
    "number": "one number",
    "number or numbers": "one number, or an array",
    "whole number": "one number without a fraction",
    "whole numbers": "an array of numbers without fractions, such as indices; whole in every precision",
    "bytes": "an array of numbers; if all are whole and from 0 to 255, an unsigned byte each",
    "flag": "`true` or `false`",
    "flags": "an array of `true` and `false`; the numbers 0 and 1 count as flags, others must be rejected",
    "list of arrays": "a list of arrays of numbers, whose shapes may differ",
    "text": "a string",
}

# What a kind allows, unless the domain says otherwise.
DOMAINS = {"flag": "true or false", "flags": "true or false"}

# Inputs by name, as most operations have them; an operation may state what differs.
FLAT = "flat weights: "
USUAL_INPUTS = {
    "rho": Input("(D,)", "numbers", "none", "≥ −700 (by convention)",
                 FLAT + "parameters of the standard deviations, σ = softplus(ρ)"),
    "mu": Input("(D,)", "numbers", "none", "", FLAT + "means μ"),
    "prior_mu": Input("(D,)", "numbers", "none", "", FLAT + "means of the prior"),
    "prior_rho": Input("(D,)", "numbers", "none", "≥ −700 (by convention)", FLAT + "the prior's ρ"),
    "mu_new": Input("(D,)", "numbers", "none", "", FLAT + "means after the transition"),
    "rho_new": Input("(D,)", "numbers", "none", "≥ −700 (by convention)", FLAT + "ρ after the transition"),
    "mu_old": Input("(D,)", "numbers", "none", "", FLAT + "means before the transition"),
    "rho_old": Input("(D,)", "numbers", "none", "≥ −700 (by convention)", FLAT + "ρ before the transition"),
    "delta_mu": Input("(D,)", "numbers", "none", "", "moves Δμ of the means"),
    "delta_rho": Input("(D,)", "numbers", "none", "", "moves Δρ"),
    "mu_q": Input("(D,)", "numbers", "none", "", "means of q"),
    "mu_p": Input("(D,)", "numbers", "none", "", "means of p"),
    "sigma_q": Input("(D,)", "numbers", "none", "> 0", "standard deviations of q, not variances"),
    "sigma_p": Input("(D,)", "numbers", "none", "> 0", "standard deviations of p, not variances"),
    "sigma": Input("()", "number or numbers", "unit of x", "> 0", "standard deviation, not a variance"),
    "x": Input("(...)", "numbers", "any", "", "where the density is taken"),
    "theta": Input("(S, D)", "numbers", "none", "", "flat weights θ of S networks"),
    "eps": Input("(S, D)", "numbers", "none", "S ≥ 1", "standard normal noise ε of the weights"),
    "zeta": Input("a list of (S, N, O_l)", "list of arrays", "none", "S ≥ 1; one array for each layer",
                  "standard normal noise ζ of the pre-activations; O_l is the number of units of layer l"),
    "inputs": Input("(N, I)", "numbers", "none", "N ≥ 1; I is the first of layer_sizes", "rows x, normalized (s, a)"),
    "targets": Input("(N, O)", "numbers", "none", "as many rows as inputs; O is the last of layer_sizes",
                     "rows y, normalized s′"),
    "outputs": Input("(S, N, O)", "numbers", "none", "", "predictions of S networks"),
    "layer_sizes": Input("(L + 1,)", "whole numbers", "units", "two or more, each ≥ 1",
                         "numbers of units from the inputs to the outputs"),
    "likelihood_sigma": Input("() or (O,)", "number or numbers", "units of the targets", "> 0",
                              "standard deviation σ_l of the targets, not a variance"),
    "num_data": Input("()", "number", "rows", "> 0; need not be whole", "number of rows that the minibatch represents"),
    "step_size": Input("()", "number", "none", "> 0", "λ, the share of a Newton step that is taken"),
    "learning_rate": Input("()", "number", "none", "> 0", "α, the size of a gradient step"),
    "num_steps": Input("()", "whole number", "steps", "≥ 1", "number of gradient steps"),
    "method": Input("()", "text", "none", '"taylor" or "exact"', "which form of the gain"),
    "gains": Input("(N,)", "numbers", "nats", "≥ 0, N ≥ 1", "information gains of a batch"),
    "history": Input("(k,)", "numbers", "nats", "≥ 0; may be empty", "statistics of earlier batches, oldest first"),
    "window": Input("()", "whole number", "batches", "≥ 1", "number of statistics that are averaged"),
    "statistic": Input("()", "text", "none", '"median" or "mean"', "statistic of a batch"),
    "include_current": Input("()", "flag", "none", "", "whether this batch's statistic counts"),
    "eta": Input("()", "number", "reward", "≥ 0 (by convention)", "η, the reward for a normalized gain of 1"),
    "rewards": Input("(T,)", "numbers", "reward", "", "reward of each step"),
    "gamma": Input("()", "number", "none", "from 0 to 1", "discount γ"),
    "lam": Input("()", "number", "none", "from 0 to 1", "λ of generalized advantage estimation"),
    "last_value": Input("()", "number", "reward", "", "value of the state behind the last step, 0 if it is terminal"),
    "values": Input("(T,)", "numbers", "reward", "", "V of the state before each step"),
    "next_values": Input("(T,)", "numbers", "reward", "", "V of the true next state of each step"),
    "terminated": Input("(T,)", "flags", "none", "", "the step ended in a terminal state"),
    "truncated": Input("(T,)", "flags", "none", "", "a time limit or the end of sampling cut the episode"),
    "mean": Input("(N, A)", "numbers", "action", "", "means of the policy; N and A ≥ 1"),
    "mean_old": Input("(N, A)", "numbers", "action", "N and A ≥ 1", "old means"),
    "mean_new": Input("(N, A)", "numbers", "action", "the shape of mean_old", "new means"),
    "log_std": Input("(A,)", "numbers", "log action", "from −700 to 700 (by convention)",
                     "log standard deviations, for all rows"),
    "log_std_old": Input("(A,)", "numbers", "log action", "from −700 to 700 (by convention)", "of the old policy"),
    "log_std_new": Input("(A,)", "numbers", "log action", "from −700 to 700 (by convention)", "of the new policy"),
    "actions": Input("(N, A)", "numbers", "action", "the shape of mean", "actions taken"),
    "logits": Input("(N, A)", "numbers", "nats", "finite; −infinity is rejected by convention only",
                    "log p, up to a constant"),
    "logits_old": Input("(N, A)", "numbers", "nats", "", "logits of the old policy"),
    "logits_new": Input("(N, A)", "numbers", "nats", "the shape of logits_old", "logits of the new policy"),
    "rows": Input("(N, K)", "numbers", "any", "N ≥ 1", "rows of data"),
    "q_values": Input("(A,)", "numbers", "reward", "A ≥ 1", "values Q of one state's actions"),
    "epsilon": Input("()", "number", "probability", "from 0 to 1", "ε, the probability of a random action"),
    "temperature": Input("()", "number", "reward", "> 0, or null; 0 is rejected by convention only",
                         "null means std(Q)"),
    "means": Input("(A,)", "numbers", "reward", "A ≥ 1", "mean reward of each arm"),
    "counts": Input("(A,)", "numbers", "visits", "whole, ≥ 0; one for each action", "visits of each action"),
    "t": Input("()", "whole number", "pulls", "the sum of counts", "pulls of all arms"),
    "alpha": Input("()", "number", "none", "≥ 0 (by convention)", "weight α of the bonus"),
    "value": Input("()", "number", "reward", "", "Q(s, a) before the step"),
    "reward": Input("()", "number", "reward", "", "reward of the step"),
    "log_prob": Input("(...)", "numbers", "nats", "≤ 0; may be −infinity", "log ρ, before the observation is learned"),
    "log_prob_after": Input("(...)", "numbers", "nats", "≤ 0, finite; as many as log_prob", "log ρ′, after it"),
    "gain": Input("(...)", "numbers", "nats", "not NaN; may be infinite", "prediction gains PG"),
    "num_seen": Input("()", "whole number", "observations", "≥ 1", "observations so far"),
    "c": Input("()", "number", "none", "> 0", "constant c"),
    "beta": Input("()", "number", "reward", "> 0", "weight of the bonus"),
    "observation": Input("(P,)", "whole numbers", "index", "from 0 to K − 1", "symbol of each pixel"),
    "symbols": Input("(T, P)", "whole numbers", "index", "from 0 to num_symbols − 1", "T observations of P pixels"),
    "num_symbols": Input("()", "whole number", "symbols", "≥ 1", "number of symbols K"),
    "bits": Input("(T,)", "whole numbers", "bit", "0 or 1", "sequence of bits"),
    "depth": Input("()", "whole number", "bits", "≥ 0", "maximum length of a context"),
    "rate": Input("()", "number", "probability", "from 0 to ½, or null; above ½ by convention only",
                  "switching rate; null means 1/(t + 1)"),
    "images": Input("(T, H, W)", "whole numbers", "index", "from 0 to num_levels − 1", "T images"),
    "num_levels": Input("()", "whole number", "symbols", "≥ 2", "number of gray levels K"),
    "observations": Input("(T + 1, K)", "numbers", "units of the observations", "", "observations"),
    "cell_size": Input("()", "whole number", "pixels", "≥ 1; H and W are multiples of it", "edge of a square cell"),
    "activations": Input("(T + 1, G)", "numbers", "any", "T ≥ 1", "activation of each unit in one episode"),
    "next_q_values": Input("(T, ..., A)", "numbers", "reward", "the axes of rewards, then A ≥ 1",
                           "Q of each action in the true next state"),
    "advantages": Input("(..., A)", "numbers", "reward", "the axes of values, then A ≥ 1", "advantage of each action"),
    "ended": Input("(T, ...)", "flags", "none", "", "the episode ended with the step, by either flag"),
    "coins": Input("(N,)", "numbers", "none", "≥ 0, < 1", "uniform noise that selects the kind"),
    "places": Input("(N,)", "numbers", "none", "≥ 0, < 1; as many as coins", "uniform noise that selects the window"),
    "gate_inputs": Input("(B, 4H)", "numbers", "none", "", "contribution of inputs and biases to the gates"),
    "hidden": Input("(B, H)", "numbers", "none", "", "hidden state h of B rows and H units"),
    "cell": Input("(B, H)", "numbers", "none", "", "cell state c"),
    "weights": Input("(H, 4H)", "numbers", "none", "", "weights from the hidden state to the gates"),
}  # fmt: skip

# The inputs of each trace that are not those above.
POOL_INPUTS = {
    "pool_observations": Input("(M, K)", "numbers", "units of the observations", "", "s of the pool, oldest row first"),
    "pool_actions": Input("(M, A)", "numbers", "action", "", "a of the pool"),
    "pool_next_observations": Input("(M, K)", "numbers", "units of the observations", "", "s′ of the pool"),
}  # fmt: skip
TRACE_INPUTS = {
    "vime_iterations": {
        **POOL_INPUTS,
        "layer_sizes": Input("(L + 1,)", "whole numbers", "units", "two or more, each ≥ 1; K + A first, K last",
                             "numbers of units from the inputs to the outputs"),
        "likelihood_sigma": Input("()", "number", "units of the targets", "> 0",
                                  "standard deviation σ_l of the targets, not a variance"),
        "adam_mean": Input("(2D,)", "numbers", "none", "", "m of μ, then of ρ"),
        "adam_square": Input("(2D,)", "numbers", "none", "≥ 0", "v of μ, then of ρ"),
        "adam_steps": Input("()", "whole number", "steps", "≥ 0", "k, steps of Adam so far"),
        "center": Input("(I,)", "numbers", "units of (s, a)", "I = K + A", "what is subtracted from (s, a)"),
        "scale": Input("(I,)", "numbers", "units of (s, a)", "> 0", "what (s, a) is then divided by"),
        "observations": Input("(T, K)", "numbers", "units of the observations", "T ≥ 1", "s of the batch"),
        "actions": Input("(T, A)", "numbers", "action", "", "a of the batch"),
        "next_observations": Input("(T, K)", "numbers", "units of the observations", "", "s′ of the batch"),
        "rows": Input("(U, B)", "whole numbers", "index", "from 0 to M + T − 1; U and B ≥ 1",
                      "rows of each minibatch, counted from the oldest of the pool with the batch"),
        "fit_eps": Input("(U, S, D)", "numbers", "none", "S ≥ 1, need not be that of eps",
                         "standard normal noise of each minibatch"),
    },
    "replay_pool": {
        **POOL_INPUTS,
        "capacity": Input("()", "whole number", "rows", "≥ 1", "maximum number of rows in the pool"),
        "observations": Input("(N, K)", "numbers", "units of the observations", "", "s of the new rows"),
        "actions": Input("(N, A)", "numbers", "action", "", "a of the new rows"),
        "next_observations": Input("(N, K)", "numbers", "units of the observations", "", "s′ of the new rows"),
        "rows": Input("(B,)", "whole numbers", "index", "≥ 0, below the number of rows that the pool then holds",
                      "rows to return, counted from the oldest"),
    },
    "autoreset_transitions": {
        "mode": Input("()", "text", "none", '"next_step" or "same_step"', "which step resets an environment"),
        "last_observations": Input("(E, K)", "numbers", "units of the observations", "", "s before the step"),
        "ended": Input("(E,)", "flags", "none", "", "the step before ended the environment's episode"),
        "actions": Input("(E, A)", "numbers", "action", "", "actions of the step"),
        "observations": Input("(E, K)", "numbers", "units of the observations", "", "s that the step returned"),
        "final_observations": Input("(E, K)", "numbers", "units of the observations", "",
                                    "last observations of episodes that end with the step; other rows do not matter"),
        "terminated": Input("(E,)", "flags", "none", "", "the step ended in a terminal state"),
        "truncated": Input("(E,)", "flags", "none", "", "a time limit cut the episode"),
    },
    "running_normalizer": {
        "mean": Input("(K,)", "numbers", "any", "", "means of the rows so far"),
        "variance": Input("(K,)", "numbers", "any²", "> 0", "variances of the rows so far"),
        "count": Input("()", "number", "rows", "≥ 0; need not be whole", "number of rows so far"),
    },
    "filtered_rewards": {
        "sums": Input("(E,)", "numbers", "reward", "", "u of each environment before the batch"),
        "mean": Input("()", "number", "reward", "", "mean of all u so far"),
        "variance": Input("()", "number", "reward²", "> 0", "variance of all u so far"),
        "count": Input("()", "number", "sums", "≥ 0; need not be whole", "number of all u so far"),
        "rewards": Input("(T, E)", "numbers", "reward", "T and E ≥ 1", "reward of each step"),
    },
}  # fmt: skip

# ---------------------------------------------------------------- texts for all operations

AXES = {
    "N": "rows, such as transitions",
    "B": "rows of a minibatch; environments in (T, B); rows of an LSTM",
    "S": "posterior samples",
    "D": "weights of a network, biases included",
    "I, O": "inputs and outputs of the network, or of a layer",
    "L": "layers with weights; layer_sizes has L + 1 entries",
    "A": "actions, or dimensions of an action",
    "K": "dimensions of an observation; symbols of a pixel",
    "T": "time steps",
    "P": "pixels of an image",
    "H, W, C": "height, width and channels of an image; H also units of an LSTM",
    "G": "controlled quantities",
    "...": "any further axes, or none",
}
DEFINITIONS = {
    "letters": """
μ = mu, ρ = rho, θ = theta, ε = eps, ζ_l = array l of zeta, x = inputs, y = targets
γ = gamma, η = eta, Q = q_values; a subscript is an index, as in x_n = x[n], the row n of x
σ_l = likelihood_sigma: l means likelihood here, not a layer; σ_l[o] is its entry o, or the number itself
indices of arrays begin at 0; layers, ζ_l and the t of a sequence of observations begin at 1 where that is written
""",
    "functions": """
log is the natural logarithm; all information is in nats
softplus(ρ) = log(1 + e^ρ) = max(ρ, 0) + log1p(e^−|ρ|)
sigmoid(x) = 1/(1 + e^−x) if x ≥ 0, else e^x/(1 + e^x); ½·(1 + tanh(x/2)) loses digits for x < 0
log N(x; m, s) = −½·log(2π) − log s − ½·((x − m)/s)², s a standard deviation
⊙ is the elementwise product
""",
    "the KL of two diagonal normals": """
KL(μ_q, σ_q, μ_p, σ_p) = ½·Σ_i [(σ_q/σ_p)² − 1 − 2·log(σ_q/σ_p) + ((μ_q − μ_p)/σ_p)²]
∂KL/∂μ_q = (μ_q − μ_p)/σ_p²
∂KL/∂ρ_q = sigmoid(ρ_q)·(σ_q/σ_p² − 1/σ_q), if σ_q = softplus(ρ_q)
""",
    "its form for almost equal distributions": """
d = (σ_q − σ_p)/σ_p, r = d·(2 + d), m = (μ_q − μ_p)/σ_p
KL = ½·Σ_i [(r − log(1 + r)) + m²], log(1 + r) = 2·log(σ_q/σ_p)
if |r| < ¼: r − log(1 + r) = r·u − 2·u³·(1/3 + u²/5 + u⁴/7 + …), u = r/(2 + r); ten terms are enough
σ_q − σ_p from ρ_q and ρ_p: ± log1p(sigmoid(a)·expm1(b − a)), a the smaller of the two and b the larger,
  the sign that of ρ_q − ρ_p; if b − a > 700: ± (softplus(b) − softplus(a))
""",
    "flat weights": """
layer_sizes = (n_0, …, n_L); D = Σ_l (n_{l−1} + 1)·n_l
for each layer l = 1 … L, one after another:
  the matrix W_l, n_{l−1} rows by n_l columns, row by row: W_l[i, o] is at i·n_l + o of the layer's numbers
  then the bias b_l, n_l numbers
""",
    "network(θ, x)": """
h_0 = x, W_l and b_l from θ
z_l[o] = Σ_i h_{l−1}[i]·W_l[i, o] + b_l[o]
h_l[o] = max(z_l[o], 0) for l < L (ReLU); the output is z_L: the last layer is linear
""",
    "local network(μ, ρ, x, ζ)": """
h_0 = x; M_l and m_l are matrix and bias from μ, V_l and v_l those from σ² = softplus(ρ)²
mean_l[o] = Σ_i h_{l−1}[i]·M_l[i, o] + m_l[o]
var_l[o]  = Σ_i h_{l−1}[i]²·V_l[i, o] + v_l[o]      the bias has the input 1
z_l[o] = mean_l[o] + √var_l[o]·ζ_l[o]
h_l[o] = max(z_l[o], 0) for l < L; the output is z_L
""",
    "bound, the lower bound of a minibatch": """
z[s, n] = network(θ_s, x_n) with θ_s = μ + softplus(ρ)⊙ε_s, or local network(μ, ρ, x_n, ζ[s, n])
evidence = (num_data/B)·Σ_n (1/S)·Σ_s Σ_o log N(y[n, o]; z[s, n, o], σ_l[o])
bound = evidence − KL(μ, softplus(ρ), prior_mu, softplus(prior_rho))
the B rows represent num_data rows: the likelihood is scaled by num_data/B, the KL is not
the KL is the exact sum over all D weights, not an estimate from samples
""",
    "fit_n, g and h of a row": """
z[s] = network(θ_s, x_n) with θ_s = μ + softplus(ρ)⊙ε_s, or local network(μ, ρ, x_n, ζ[s, n])
fit_n(μ, ρ) = (1/S)·Σ_s Σ_o log N(y[n, o]; z[s, o], σ_l[o])
g_mu, g_rho = −∂fit_n/∂μ, −∂fit_n/∂ρ at the given (μ, ρ), the mean over the samples
h_mu, h_rho = 1/σ², 2·(sigmoid(ρ)/σ)², with σ = softplus(ρ)
g is the gradient of the loss KL[q(φ)‖q(φ_t)] − fit_n(φ) at φ = φ_t, where the gradient of the KL is 0
""",
    "the backward pass of network, with θ = μ + σ⊙ε": """
δ_L = ∂f/∂z_L; if f = Σ_o log N(y[o]; z_L[o], σ_l[o]), with σ_l = likelihood_sigma, it is (y − z_L)/σ_l²
∂f/∂W_l[i, o] = h_{l−1}[i]·δ_l[o], ∂f/∂b_l[o] = δ_l[o]
δ_{l−1}[i] = (Σ_o W_l[i, o]·δ_l[o]) if z_{l−1}[i] > 0, else 0
∂f/∂μ = ∂f/∂θ, ∂f/∂ρ = ∂f/∂θ⊙ε⊙sigmoid(ρ)
all noise is constant; at z = 0 ReLU has the derivative 0
""",
    "the backward pass of local network": """
δ_L = ∂f/∂z_L, κ_l[o] = δ_l[o]·ζ_l[o]/(2·√var_l[o])
∂f/∂M_l[i, o] = h_{l−1}[i]·δ_l[o], ∂f/∂m_l[o] = δ_l[o]
∂f/∂V_l[i, o] = h_{l−1}[i]²·κ_l[o], ∂f/∂v_l[o] = κ_l[o]
δ_{l−1}[i] = (Σ_o M_l[i, o]·δ_l[o] + 2·h_{l−1}[i]·Σ_o V_l[i, o]·κ_l[o]) if z_{l−1}[i] > 0, else 0
∂f/∂μ from M and m, ∂f/∂ρ = (∂f/∂σ² from V and v)⊙2σ⊙sigmoid(ρ)
""",
}
ENCODING = (
    "An array is nested lists, the first axis outermost. One number is an array of shape ().",
    'NaN and the infinities are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`, in inputs and outputs.',
    "An empty list is an array with a first axis of length 0. The lengths of its other axes are not written.",
    "Of valid inputs only `history` is empty in a case. No case has `true` or `false` among numbers.",
    "A whole number may be written as `3` or as `3.0`. Bytes are numbers from 0 to 255.",
    "Flags are `true` and `false`. An input that is not given is `null`. Every input of an operation is present.",
    "A Python implementation gets NumPy arrays, floats, ints, bools, strings and None.",
    "Its arrays of numbers have the precision of the run, and indices are integers. Bytes are unsigned.",
    "Such an implementation must leave the arrays unchanged.",
    "An output is an array, or an object of named arrays. An output without a name is the array itself.",
    "Flags and whole numbers in outputs are numbers: true is 1, false is 0.",
)
RULES = (
    "Every number must be finite, except where the domain says otherwise. Reject NaN everywhere.",
    "Shapes must be as stated. Do not broadcast a row, a layer or a number, except where the operation says so.",
    "Letters mean one length in all inputs of an operation. Reject inputs that disagree.",
    "Reject inputs outside of the domain. A limit *by convention* binds the reference alone.",
    "If valid inputs make the result overflow, reject them. No case depends on it.",
    "Use no `+ 1e-8` in a denominator or a logarithm, no clamp and no floor, except where a formula states one.",
    "1/σ² must not overflow: an operation that needs it may reject σ < 1e-150, also from a valid ρ. No case does it.",
    "To reject is to raise ValueError, or to answer `refused`. Any other exception is an error.",
    "The rejections in the cases are examples. The domains are complete.",
)
VECTOR_FORMAT = (
    "There is one file for each family of operations. `schema.json` is its JSON schema.",
    "`schema.json`, `operations.json` and `manifest.json` are not families: they have no `cases`.",
    "`cases` lists the cases. Each has an `id`, its `operation`, a `comment` and all `inputs` by name.",
    '`result` is `"valid"` or `"invalid"`. A valid case has an `output`.',
    "An invalid case must be rejected; `why` gives the reason.",
    'Its `by` is `"law"`, or `"convention"` if the rejection binds the reference alone.',
    "`dtypes` names the precisions in which the case is used. `tolerance` replaces the operation's tolerance.",
    "`profiles` names the restrictions that the inputs satisfy, so that a code with them can choose its cases.",
    "`zero-mean-prior`: all prior means are 0, and all its ρ are equal, or there is no prior.",
    "`one-sigma`: likelihood_sigma is one number. `one-hidden-layer`: there are three layer sizes.",
    "`one-sample`: S = 1. An operation without such an input satisfies the restriction.",
    "`wrong` holds each known mistake that the case tells apart, by name. `notes` describes the mistakes.",
    "An entry is an object with the mistake's `output`, or a list of these, one for each variant.",
    'A mistake that only adds rounding noise has a band of errors: `{"f64": {"error_from": 1e-10, "error_to": 1e-6}}`.',
    "Name a mistake if your output fails, and is 1e6 times nearer to the mistake's output than to the right one.",
    "In `f32`, 1e3 times is enough. Name rounding noise if your output's error lies in the band.",
    "`flags` names the mistakes that the case must tell apart.",
    "`intermediates` holds values on the way, for debugging. They are not compared.",
    "`tolerances` and `error` hold, for each operation, the tolerance in each precision and how errors are measured.",
)
COMPARISON = (
    "Names and shapes of the outputs must be equal; two empty arrays are equal, whatever their shapes.",
    "The error of an array is the maximum of |g − e|/size over its elements; g is your number, e the expected one.",
    "The error of a case is the error of its worst array.",
    "*Elementwise* means size = |e|, each element's own.",
    "*Arraywise* means size = max |e| over the finite elements of that array.",
    "If size is 0, or e is infinite in an elementwise comparison, size is 1: the error is then absolute.",
    "Infinities of equal sign are equal. An infinity instead of another number, or NaN, is an infinite error.",
    "An output passes if the error is at most the tolerance: the case's own, else the operation's for that precision.",
    "A run has one precision, `f64` or `f32`, and uses the cases whose `dtypes` name it.",
    "In a run of `f32`, all inputs are exact in float32.",
    "You may compute in a higher precision. Expected outputs are float64, and tested against 50 digits if possible.",
)
PROTOCOL = (
    "Read one JSON object from each line of standard input. Write one line to standard output for each, and flush.",
    'The first line is `{"seq": 0, "cmd": "start", "version": 2, "dtype": "f64"}`. Answer `{"seq": 0, "ok": true}`.',
    'The answer may hold `"implementation": "myjs 1.0"`, your name and version, which reports in JSON repeat.',
    'A case is `{"seq": 1, "cmd": "run", "operation": "softplus", "inputs": {"rho": [0.0]}}`.',
    'Its answer is `{"seq": 1, "result": [0.6931471805599453]}`.',
    "Answer `refused` instead of `result` for inputs that must be rejected.",
    "Answer `skipped` for an operation that you do not offer, and `error` if something else failed.",
    "The value of `refused`, `skipped` or `error` is a sentence that says why.",
    'A `result` is an array, or an object with the names of the outputs, such as `{"h_mu": [1.0], "h_rho": [0.5]}`.',
    '`{"seq": 2, "cmd": "stop"}` ends the program. It needs no answer.',
    "An answer may take 10 s, of a Python module as well, and a start 60 s.",
    "The program is started again after a crash or a time-out.",
    "`seq` is the number of the line that you answer. A line of output has at most 1 MiB. Log to standard error.",
)
TRACE_RULES = {
    "": (
        "A trace is an operation with a state. `reset` gets settings and state.",
        "Each `step` gets one line of a script.",
        "A Python implementation offers a class of the trace's name with the methods `reset` and `step`.",
        'A program that offers traces adds `"version": 2` to its answer to `start`.',
        "It keeps one state for each trace.",
        'Its lines are like those of a case, with `"cmd": "reset"` or `"cmd": "step"`. Any `result` answers a reset.',
        "Each line is a case: `line` is its number, `state` what `reset` gets if the checker begins there.",
        "E is the number of environments, U that of updates, and M that of the pool's rows before the batch.",
        "Shapes of outputs are those of the vectors.",
    ),
    "vime_iterations": (
        "One iteration of the lecture's algorithm, in this order.",
        "Gains: normalize inputs (s, a) by `center` and `scale` (K + A,) as they are, and targets s′ by their first K.",
        "Each row's gain is exact, from the same (`mu`, `rho`), with the noise `eps` (S, D).",
        "Rewards: append the median of the gains to `history`, and keep the last `window` entries.",
        "`divisor` is their mean.",
        "`curious_rewards` are r + eta·gain/`divisor`. The `advantages` are those of `gae_advantages` on them.",
        "Statistics: append the batch to the pool.",
        "`center` and `scale` are mean and population standard deviation of the pool's (s, a).",
        "Model: normalize the pool by them. For each minibatch, take a step of Adam up the `elbo` with `num_data`.",
        "Adam descends −ELBO: m ← 0.9·m + 0.1·g, v ← 0.999·v + 0.001·g², k ← k + 1, "
        "φ ← φ − learning_rate·(m/(1 − 0.9^k))/(√(v/(1 − 0.999^k)) + 1e-8); its state goes on across iterations.",
    ),
    "replay_pool": (
        "Append the rows, and drop the oldest beyond `capacity`.",
        "Then return the `rows` (B,), counted from the oldest, and mean and population deviation of the pool's (s, a).",
    ),
    "autoreset_transitions": (
        'mode "next_step": the step after an end only resets its environment, so it is no transition.',
        'mode "same_step": a step that ends an episode returns the next one\'s first observation; '
        "the true one is in `final_observations`.",
        "`learned` (E,) is 1 if the step is a transition.",
        "The other results hold the rows of these environments only.",
    ),
    "running_normalizer": (
        "`count` rows with `mean` and `variance` came before. Variances divide by n.",
        "Merge the rows first, then normalize them by the merged mean and deviation.",
        "Merged: n = count + N, shift = mean(rows) − mean, mean += shift·N/n, "
        "variance = (count·variance + N·var(rows))/n + shift²·count·N/n².",
    ),
    "filtered_rewards": (
        "u_t = gamma·u_{t−1} + r_t in each of E environments, across the ends of episodes and batches; "
        "u before the batch is `sums` at the reset.",
        "Merge all sums u (T, E) as `running_normalizer` does; then divide the rewards by the root of the variance.",
    ),
}
VERSIONS = (
    "The vectors have a version of three numbers, which is not the package's. Each file carries it with its date.",
    "A patch corrects texts, notes, comments and measured errors, and the last digits of outputs.",
    "Inputs and tolerances stay the same, and each output stays within its tolerance.",
    "A minor version adds operations, cases, known mistakes, profiles or keys. A case that passed still passes.",
    "A major version may change or remove outputs, inputs, keys or the protocol.",
    "`CHANGELOG.md` beside the vectors lists the changes of each version, and its digest.",
    "The digest changes with any case's id, precisions, inputs, result, output or tolerance.",
    "A case keeps its id as long as its inputs stay the same, and its output within its tolerance.",
    "No other case gets that id later.",
)


# ---------------------------------------------------------------- the content


def content() -> dict[str, Any]:
    """The specification in JSON types, as `operations.json` holds it."""
    return {
        "schema": SCHEMA,
        "version": VECTORS_VERSION,
        "date": VECTORS_DATE,
        "generator": "vime_check.specification",
        "axes": AXES,
        "kinds": INPUT_KINDS,
        "definitions": {
            name: text.strip("\n").split("\n") for name, text in DEFINITIONS.items()
        },
        "rules": RULES,
        "encoding": ENCODING,
        "comparison": COMPARISON,
        "protocol": PROTOCOL,
        "format": VECTOR_FORMAT,
        "versions": VERSIONS,
        "mistakes": {name: note.what for name, note in NOTES.items()},
        "operations": {each.name: described(each) for each in OPERATIONS.values()},
        "traces": {each.name: described_trace(each) for each in TRACES.values()},
    }


def described_trace(trace: Trace) -> dict[str, Any]:
    """The facts that an implementer needs about a trace."""
    first = next(trace.operation.cases())
    reset = [*trace.settings, *trace.state]
    return {
        "reset": reset,
        "step": [name for name in first.inputs if name not in reset],
        "inputs": {
            name: in_words({**USUAL_INPUTS, **TRACE_INPUTS[trace.name]}[name])
            for name in trace.operation.names
        },
        "outputs": [*trace.operation.function(**first.inputs)],
        "rules": TRACE_RULES[trace.name],
    }


def described(operation: Operation) -> dict[str, Any]:
    """The facts that an implementer needs about an operation."""
    about = operation.about
    return {
        "family": operation.family,
        "inputs": {
            name: in_words(USUAL_INPUTS[name], about.inputs.get(name, {}))
            for name in operation.names
        },
        "outputs": {
            name: {"shape": shape, "unit": unit}
            for name, (shape, unit) in about.outputs.items()
        },
        "formula": about.formula.split("\n"),
        "rules": about.rules,
        "error": operation.error,
        "tolerance": {dtype: tolerance(operation, dtype) for dtype in BOTH},
        "mistakes": [
            name
            for name, names in operations_of_mistakes().items()
            if operation.name in names
        ],
        "rejections": [*rejections(operation)],
    }


def in_words(usual: Input, differs: Mapping[str, str] = {}) -> dict[str, str]:
    """An input's description, with what differs in an operation."""
    own = {**usual._asdict(), **differs}
    return {**own, "domain": own["domain"] or DOMAINS.get(own["kind"], "finite")}


def rejections(operation: Operation) -> Iterator[dict[str, str]]:
    """The cases that must be rejected: reason, and whether by law or by convention."""
    for case in operation.cases():
        if case.why:
            yield {"case": case.probe, "why": case.why, "by": case.by}


# ---------------------------------------------------------------- the page

INTRODUCTION = """# Specification of the operations

This page and the vectors suffice to implement every operation in any language.
`python -m vime_check.specification` writes the page from the registry of operations, and
`operations.json` with the same content. The vectors have the version {version} of {date}.

An operation is a function with named inputs. Its formula uses the names, or the letters that the
meanings give. `null` in JSON is `None` in Python.
"""


def specification_page(about: Mapping[str, Any]) -> str:
    """The page `docs/operations.md`, from the content of `operations.json`."""
    head = INTRODUCTION.format(version=about["version"], date=about["date"])
    parts = [
        head,
        "## Axes\n",
        table(("axis", "length of"), about["axes"].items()),
        "## Kinds of inputs\n",
        table(("kind", "in JSON"), about["kinds"].items()),
        "## JSON\n",
        bullets(about["encoding"]),
        "## Rules for all operations\n",
        bullets(about["rules"]),
        "## Definitions\n",
        *(block(name, lines) for name, lines in about["definitions"].items()),
        "## Comparison\n",
        bullets(about["comparison"]),
        "## Protocol\n",
        bullets(about["protocol"]),
        "## Files of vectors\n",
        bullets(about["format"]),
        "## Versions\n",
        bullets(about["versions"]),
        "## Operations\n",
        *(section(name, each) for name, each in about["operations"].items()),
        "## Traces\n",
        bullets(TRACE_RULES[""]),
        *(trace_section(name, each) for name, each in about["traces"].items()),
        "## Known mistakes\n",
        table(("name", "what it is"), about["mistakes"].items()),
    ]
    return "\n".join(parts)


def section(name: str, about: Mapping[str, Any]) -> str:
    """An operation's part of the page."""
    named = [key for key in about["outputs"] if key]
    arrow = f" -> {', '.join(named)}" if named else ""
    signature = f"{name}({', '.join(about['inputs'])}){arrow}"
    outputs = [
        (f"`{key}`" if key else "no name", each["shape"], each["unit"])
        for key, each in about["outputs"].items()
    ]
    return "\n".join(
        [
            f"### {name}\n",
            code([signature, "", *about["formula"]]),
            table_of_inputs(about["inputs"]),
            table(("output", "shape", "unit"), outputs),
            bullets([*about["rules"], *(text for text in facts(about) if text)]),
        ]
    )


def trace_section(name: str, about: Mapping[str, Any]) -> str:
    """A trace's part of the page."""
    lines = [
        name,
        f"  reset {', '.join(about['reset'])}",
        f"  step {', '.join(about['step'])}",
        f"  -> {', '.join(about['outputs'])}",
    ]
    inputs = table_of_inputs(about["inputs"])
    return "\n".join([f"### {name}\n", code(lines), inputs, bullets(about["rules"])])


def table_of_inputs(inputs: Mapping[str, Mapping[str, str]]) -> str:
    rows = [(f"`{name}`", *each.values()) for name, each in inputs.items()]
    return table(("input", "shape", "kind", "unit", "domain", "meaning"), rows)


def facts(about: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on an operation's errors, mistakes and rejections."""
    each = " and ".join(
        f"{value:g} in {key}" for key, value in about["tolerance"].items()
    )
    yield f"Errors are {about['error']}, the tolerance is {each}. Family: `{about['family']}`."
    names = ", ".join(f"`{name}`" for name in about["mistakes"])
    yield f"Known mistakes: {names}." if names else ""
    for by in ("law", "convention"):
        reasons = [case["why"] for case in about["rejections"] if case["by"] == by]
        listed = "; ".join(dict.fromkeys(reasons))
        yield f"The cases reject, by {by}: `{listed}`." if listed else ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[each.replace("|", "\\|") for each in line] for line in lines]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in cells), ""])


def bullets(sentences: Iterable[str]) -> str:
    return "\n".join([*(f"- {sentence}" for sentence in sentences), ""])


def code(lines: Iterable[str]) -> str:
    return "\n".join(["```text", *lines, "```", ""])


def block(name: str, lines: Iterable[str]) -> str:
    """A definition under its name."""
    return f"**{name}**\n\n{code(lines)}"


# ---------------------------------------------------------------- the command


def in_lines(value: Any, depth: int = 0) -> str:
    """JSON with a line for each part of an operation; what is inside of a part stays on its line."""
    if depth > 3 or not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    margin = "\n" + " " * depth
    inner = ",".join(
        f"{margin} {json.dumps(name, ensure_ascii=False)}: {in_lines(each, depth + 1)}"
        for name, each in value.items()
    )
    return f"{{{inner}{margin}}}"


def main() -> int:
    """Write both files; return the exit code."""
    if not PAGE_FILE.parent.is_dir():
        sys.stderr.write(f"there is no folder {PAGE_FILE.parent}\n")
        return 2
    about = content()
    JSON_FILE.write_text(in_lines(about) + "\n", encoding="utf-8")
    PAGE_FILE.write_text(specification_page(about), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

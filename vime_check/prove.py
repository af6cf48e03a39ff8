"""Test vectors: what each operation gives, what its known mistakes give, and the inputs that tell them apart.

`python -m vime_check.prove` proves every case and writes `vectors/*.json`, one file a family;
`python -m vime_check.prove --verify` compares the files with what it would write. mpmath proves the closed forms;
only writing and verifying need it.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vime_check.cases import agents, explorers, gains, networks, unreal
from vime_check.operations import (
    BOTH,
    INTERMEDIATES,
    NOTES,
    Case,
    Error,
    Function,
    Inputs,
    Operation,
)
from vime_check.operations import (
    OPERATIONS as OPERATIONS,  # to be imported from here, where all are registered
)

# ---------------------------------------------------------------- constants

FOLDER = Path(__file__).parent / "vectors"
MARGIN = 10.0  # a tolerance is this many measured errors, a wrong output this many tolerances from the right one
FLOORS = {"f64": 2e-15, "f32": 1e-6}  # of the tolerances: ten units in the last place
DTYPES: dict[str, type[np.floating[Any]]] = {"f64": np.float64, "f32": np.float32}
NOISE = ("NaiveNearIdentity",)  # mistakes that give rounding noise
UNDEFINED = ("UnderflowingDensity",)  # mistakes that divide 0 by 0, and are known by it
BAND = (
    0.01,
    30.0,
)  # times its measured error, for what looks like the noise of another way to write the same sum
MOST_NOISE = 0.1  # a larger error has another reason
NEAR_IDENTITY = 1e-12  # in float64: what SPEC 2.1 demands there, and no more
BAND_KEYS = ("error_from", "error_to")
LOOSE = (
    "output",
    "intermediates",
    "wrong",
)  # what differs a little from one machine to another
# Mistakes that hold some of it: how far off they may lie, by their effect and near identity.
NOISY = {"FudgedDenominator": (0.01, 0.25)}
# Importing them registers the operations.
FAMILIES = networks, gains, agents, explorers, unreal

# The largest errors of honest implementations, (float64, float32): of both in examples/, and of the reference
# against 50 digits. Where all inputs are whole numbers the torch one computes in float64, and did in float32 for this.
MEASURED = {
    "softplus": (2.0e-16, 6.7e-08),
    "softplus_inverse": (2.1e-16, 6.1e-08),
    "kl_diag_normal": (3.9e-16, 5.3e-08),
    "kl_hessian_diag": (3.4e-16, 1.2e-07),
    "kl_taylor": (2.0e-16, 6.3e-08),
    "information_gain": (3.5e-16, 2.9e-07),
    "information_gains": (9.1e-16, 4.0e-07),
    "information_gains_local": (1.1e-15, 7.0e-07),
    "mlp": (0.0, 2.1e-08),
    "sample_weights": (0.0, 3.4e-08),
    "mlp_local": (3.3e-16, 2.5e-07),
    "normal_log_density": (1.9e-16, 4.2e-08),
    "log_likelihood": (3.3e-16, 9.6e-08),
    "predictive_log_density": (6.0e-16, 2.0e-07),
    "elbo": (2.0e-16, 8.8e-08),
    "elbo_local": (0.0, 1.1e-07),
    "elbo_grad": (5.2e-16, 3.2e-07),
    "elbo_grad_local": (4.4e-16, 1.9e-07),
    "posterior_step": (7.7e-16, 1.7e-07),
    "posterior_step_local": (1.9e-16, 5.7e-08),
    "posterior_updates": (3.2e-16, 8.8e-08),
    "normalize_gains": (0.0, 3.7e-08),
    "curious_rewards": (0.0, 5.3e-08),
    "discounted_returns": (0.0, 7.3e-08),
    "gae_advantages": (0.0, 2.9e-08),
    "gaussian_log_prob": (2.7e-16, 2.7e-08),
    "gaussian_entropy": (0.0, 6.8e-08),
    "gaussian_kl": (3.1e-16, 1.3e-07),
    "categorical_log_prob": (4.1e-16, 3.2e-08),
    "categorical_entropy": (2.1e-16, 1.4e-07),
    "categorical_kl": (5.6e-16, 2.6e-07),
    "replay_transitions": (0.0, 0.0),
    "input_statistics": (0.0, 3.7e-08),
    "epsilon_greedy": (0.0, 3.0e-08),
    "boltzmann": (5.7e-16, 8.5e-08),
    "ucb1": (0.0, 5.6e-08),
    "ucb_state_action": (2.0e-16, 4.6e-08),
    "q_update": (0.0, 0.0),
    "pseudo_count": (4.4e-16, 9.2e-08),
    "pixel_cnn_pseudo_count": (1.8e-16, 8.6e-08),
    "count_bonus": (1.8e-16, 6.9e-08),
    "dirichlet_log_prob": (2.7e-16, 1.1e-07),
    "dirichlet_pseudo_counts": (1.7e-12, 5.4e-07),
    "cts_log_probs": (4.8e-16, 2.0e-07),
    "image_cts_log_probs": (3.1e-15, 1.2e-06),
    "pixel_control_rewards": (1.7e-16, 1.2e-07),
    "feature_control_rewards": (0.0, 0.0),
    "n_step_returns": (8.5e-17, 5.9e-08),
    "n_step_q_targets": (0.0, 0.0),
    "dueling": (1.3e-16, 4.8e-08),
    "control_loss": (0.0, 2.7e-08),
    "reward_class": (0.0, 0.0),
    "reward_prediction_windows": (0.0, 0.0),
    "sample_reward_windows": (0.0, 0.0),
    "lstm_step": (2.1e-16, 1.1e-07),
}


# ---------------------------------------------------------------- building blocks: 50 digits


def exact_returns(rewards: Any, gamma: Any, last_value: Any) -> Any:
    """Σ_k γ^k r_{t+k}, to the end, and the last value."""
    count = len(rewards)
    sums = [
        sum(gamma**k * rewards[t + k] for k in range(count - t)) for t in range(count)
    ]
    return np.array([sums[t] + gamma ** (count - t) * last_value for t in range(count)])


def exact_advantages(
    rewards: Any,
    values: Any,
    next_values: Any,
    terminated: Any,
    truncated: Any,
    gamma: Any,
    lam: Any,
) -> Any:
    """Σ_k (γλ)^k δ_{t+k}, to the end of the episode."""
    deltas, sums = (
        rewards + gamma * next_values * (1 - terminated.astype(int)) - values,
        [],
    )
    for t in range(len(rewards)):
        ends = [k for k in range(t, len(rewards)) if terminated[k] or truncated[k]]
        stop = ends[0] + 1 if ends else len(rewards)
        sums.append(sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, stop)))
    return np.array(sums)


def closed_forms() -> dict[str, Function]:
    """The closed forms on object arrays of 50-digit numbers."""
    import mpmath

    functions = mpmath.log, mpmath.exp, mpmath.expm1
    log, exp, expm1 = (
        np.vectorize(function, otypes=[object]) for function in functions
    )
    half, two_pi = mpmath.mpf(1) / 2, 2 * mpmath.pi

    def softplus(rho: Any) -> Any:
        return log(1 + exp(rho))

    def log_density(x: Any, mean: Any, sigma: Any) -> Any:
        return (
            -half * mpmath.log(two_pi) - log(sigma) - half * ((x - mean) / sigma) ** 2
        )

    def kl(mu_q: Any, sigma_q: Any, mu_p: Any, sigma_p: Any) -> Any:
        ratio = sigma_q / sigma_p
        return half * np.sum(
            ratio**2 - 1 - 2 * log(ratio) + ((mu_q - mu_p) / sigma_p) ** 2, axis=-1
        )

    def hessian(mu: Any, rho: Any) -> dict[str, Any]:
        sigma = softplus(rho)
        return {"h_mu": 1 / sigma**2, "h_rho": 2 / ((1 + exp(-rho)) * sigma) ** 2}

    def taylor(mu: Any, rho: Any, delta_mu: Any, delta_rho: Any) -> Any:
        h = hessian(mu, rho)
        return half * np.sum(h["h_mu"] * delta_mu**2 + h["h_rho"] * delta_rho**2)

    def log_probs(logits: Any) -> Any:
        return logits - log(np.sum(exp(logits), axis=-1))[:, None]

    def categorical_kl(logits_old: Any, logits_new: Any) -> Any:
        old, new = log_probs(logits_old), log_probs(logits_new)
        return np.sum(exp(old) * (old - new), axis=-1)

    return {
        "softplus": softplus,
        "softplus_inverse": lambda sigma: log(expm1(sigma)),
        "normal_log_density": log_density,
        "kl_diag_normal": kl,
        "kl_hessian_diag": hessian,
        "kl_taylor": taylor,
        "information_gain": lambda mu_new, rho_new, mu_old, rho_old: kl(
            mu_new, softplus(rho_new), mu_old, softplus(rho_old)
        ),
        "log_likelihood": lambda outputs, targets, likelihood_sigma: np.sum(
            log_density(targets, outputs, likelihood_sigma), axis=-1
        ),
        "curious_rewards": lambda rewards, gains, eta: rewards + eta * gains,
        "discounted_returns": exact_returns,
        "gae_advantages": exact_advantages,
        "gaussian_log_prob": lambda mean, log_std, actions: np.sum(
            log_density(actions, mean, exp(log_std)), axis=-1
        ),
        "gaussian_entropy": lambda mean, log_std: (
            np.sum(half * (mpmath.log(two_pi) + 1) + log_std)
            * np.ones(len(mean), dtype=object)
        ),
        "gaussian_kl": lambda mean_old, log_std_old, mean_new, log_std_new: kl(
            mean_old, exp(log_std_old), mean_new, exp(log_std_new)
        ),
        "categorical_log_prob": lambda logits, actions: log_probs(logits)[
            np.arange(len(actions)), actions
        ],
        "categorical_entropy": lambda logits: (
            -np.sum(exp(log_probs(logits)) * log_probs(logits), axis=-1)
        ),
        "categorical_kl": categorical_kl,
    }


def exact_output(form: Function, inputs: Inputs) -> Any:
    """What 50 digits give for these inputs, rounded to float64 at the end."""
    import mpmath

    def exact(value: Any) -> Any:
        if isinstance(value, float):
            return mpmath.mpf(value)
        if isinstance(value, np.ndarray) and value.dtype == np.float64:
            return np.array(
                [mpmath.mpf(float(x)) for x in value.flat], dtype=object
            ).reshape(value.shape)
        return value

    with mpmath.workdps(50):
        output = form(**{name: exact(value) for name, value in inputs.items()})
        named = output if isinstance(output, dict) else {"": output}
        rounded_output = {
            name: np.array(value, dtype=object).astype(np.float64)
            for name, value in named.items()
        }
    return rounded_output if isinstance(output, dict) else rounded_output[""]


# ---------------------------------------------------------------- building blocks: errors


def error(kind: Error, output: Any, expected: Any) -> float:
    """The largest error of an output; infinite where names or shapes differ, or one of both is not finite.

    Relative to each element, or to the largest one of an array; absolute where that is 0.
    """
    if isinstance(expected, dict):
        if not isinstance(output, dict) or set(output) != set(expected):
            return math.inf
        return max(error(kind, output[name], expected[name]) for name in expected)
    nothing = np.size(output) == np.size(expected) == 0  # JSON has no shape (0, 2)
    if isinstance(output, dict) or (
        np.shape(output) != np.shape(expected) and not nothing
    ):
        return math.inf
    out, right = np.asarray(output, dtype=float), np.asarray(expected, dtype=float)
    if right.size == 0 or np.array_equal(out, right):
        return 0.0
    finite = np.isfinite(right)
    if not np.all(np.isfinite(out) == finite) or not np.array_equal(
        out[~finite], right[~finite]
    ):
        return math.inf
    if not finite.any():
        return 0.0
    size = np.abs(right[finite])
    scale = size if kind == "elementwise" else np.max(size)
    return float(
        np.max(np.abs(out[finite] - right[finite]) / np.where(scale > 0, scale, 1.0))
    )


def tolerance(name: str, dtype: str) -> float:
    return max(two_digits(MARGIN * MEASURED[name][BOTH.index(dtype)]), FLOORS[dtype])


def two_digits(value: float) -> float:
    """What is to be read in a file."""
    return float(f"{value:.1e}")


# ---------------------------------------------------------------- building blocks: JSON


def encode(value: Any) -> Any:
    """As JSON has it: nested lists, and what is not finite as a string."""
    if isinstance(value, dict):
        return {name: encode(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [encode(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return encode(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def layout(value: Any, depth: int = 0) -> str:
    """JSON with a line for each key of a file, note and case, and all that lies deeper on that line."""
    if (
        depth == 4
        or not isinstance(value, dict | list)
        or not value
        or not any_nested(value, depth)
    ):
        return json.dumps(value, ensure_ascii=False)
    inner = " " * (depth + 1)
    if isinstance(value, dict):
        lines = [
            f"{inner}{json.dumps(name)}: {layout(each, depth + 1)}"
            for name, each in value.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"
    lines = [inner + layout(each, depth + 1) for each in value]
    return "[\n" + ",\n".join(lines) + "\n" + " " * depth + "]"


def any_nested(value: Any, depth: int) -> bool:
    """Whether it is worth a line for each entry: the file, its tables and cases, but no array."""
    return depth < 3 and (
        isinstance(value, dict) or any(isinstance(each, dict) for each in value)
    )


# ---------------------------------------------------------------- the algorithm: proving and writing


def prove(
    operation: Operation, case: Case, form: Function | None = None
) -> dict[str, Any]:
    """The case as it is written; ValueError where it does not show what it is there for."""
    name = f"{operation.name}/{case.probe}"
    entry: dict[str, Any] = {
        "id": name,
        "operation": operation.name,
        "comment": case.comment,
        "flags": [*case.flags],
    }
    entry |= {"dtypes": [*case.dtypes], "inputs": case.inputs}
    if case.why:
        prove_refusal(operation, case)
        return entry | {"result": "invalid", "why": case.why}
    output = operation.function(**case.inputs)
    if form is not None:
        off = error(operation.error, output, exact_output(form, case.inputs))
        if off > tolerance(operation.name, "f64"):
            raise ValueError(f"{name}: the reference is {off:.1e} away from 50 digits")
    if "f64" in case.dtypes and allowed(operation, case, "f64") > tolerance(
        operation.name, "f64"
    ):
        entry["tolerance"] = {"f64": allowed(operation, case, "f64")}
    entry |= {"result": "valid", "output": output}
    if operation.name in INTERMEDIATES:
        entry["intermediates"] = INTERMEDIATES[operation.name](case.inputs)
    return entry | {"wrong": wrong_outputs(operation, case, output)}


def prove_refusal(operation: Operation, case: Case) -> None:
    try:
        output = operation.function(**case.inputs)
    except ValueError:
        return
    raise ValueError(
        f"{operation.name}/{case.probe}: must be refused, but gives {output}"
    )


def wrong_outputs(operation: Operation, case: Case, right: Any) -> dict[str, Any]:
    """The output of each mistake that the case tells from the right one and from those before it.

    ValueError where a mistake that the case hunts is not among them.
    """
    noise = [flag for flag in case.flags if flag in NOISE]
    hunted = [
        flag for flag in case.flags if flag in operation.mistakes and flag not in NOISE
    ]
    found: dict[str, list[Any]] = {}
    for flag in [
        *hunted,
        *(flag for flag in operation.mistakes if flag not in (*hunted, *NOISE)),
    ]:
        enough = (
            all if flag in hunted else any
        )  # of the precisions have to tell it apart
        others = [right, *(output for outputs in found.values() for output in outputs)]
        for output in (
            wrong_output(each, case, flag) for each in operation.mistakes[flag]
        ):
            before = [*others, *found.get(flag, [])]
            if output is not None and all(
                enough(told_apart(operation, case, output, each)) for each in before
            ):
                found.setdefault(flag, []).append(output)
        if flag in hunted and flag not in found:
            raise ValueError(
                f"{operation.name}/{case.probe}: does not tell {flag} apart"
            )

    def entry(flag: str, output: Any) -> dict[str, Any]:
        if flag not in NOISY:
            return {"output": output}
        share = NOISY[flag][1 if noise else 0]
        reach = max(
            share * error(operation.error, output, right),
            tolerance(operation.name, "f64"),
        )
        return {"output": output, "tolerance": two_digits(reach)}

    entries = {
        flag: [entry(flag, output) for output in outputs]
        for flag, outputs in found.items()
    }
    wrong: dict[str, Any] = {
        flag: several if len(several) > 1 else several[0]
        for flag, several in entries.items()
    }
    for flag in noise:
        wrong[flag] = noise_bands(operation, case, flag, right)
    return wrong


def wrong_output(mistake: Function, case: Case, flag: str) -> Any:
    """None where the mistake has no output, or one that is not a number, which only UNDEFINED ones have."""
    inputs = case.inputs if "f64" in case.dtypes else cast(case.inputs, "f32")
    with np.errstate(all="ignore"):
        try:
            output = mistake(**inputs)
        except ValueError:
            return None
    named = output if isinstance(output, dict) else {"": output}
    return (
        None
        if flag not in UNDEFINED
        and any(np.isnan(values).any() for values in named.values())
        else output
    )


def told_apart(operation: Operation, case: Case, output: Any, other: Any) -> list[bool]:
    """Whether two outputs differ by enough, in each precision of the case."""
    off = error(operation.error, output, other)
    return [off > MARGIN * allowed(operation, case, dtype) for dtype in case.dtypes]


def allowed(operation: Operation, case: Case, dtype: str) -> float:
    """The tolerance of a case: its operation's, but for float64 near identity."""
    least = (
        NEAR_IDENTITY
        if dtype == "f64" and any(flag in NOISE for flag in case.flags)
        else 0.0
    )
    return max(tolerance(operation.name, dtype), least)


def noise_bands(
    operation: Operation, case: Case, flag: str, right: Any
) -> dict[str, dict[str, float]]:
    """By precision, the errors that look like the mistake's rounding noise.

    ValueError unless the noise is plain to see in the lowest precision, and nowhere too large to be noise.
    """
    bands = {}
    for dtype in case.dtypes:
        off = error(
            operation.error,
            operation.mistakes[flag][0](**cast(case.inputs, dtype)),
            right,
        )
        least = (
            MARGIN * allowed(operation, case, dtype)
            if dtype == case.dtypes[-1]
            else 0.0
        )
        if not least < off <= MOST_NOISE:
            raise ValueError(
                f"{operation.name}/{case.probe}: {flag} is {off:.1e} off in {dtype}"
            )
        bands[dtype] = noise_band(off, allowed(operation, case, dtype))
    return bands


def noise_band(measured: float, allowed: float) -> dict[str, float]:
    """From where to where an error looks like noise of this size; never within the tolerance, and never empty."""
    least, most = (factor * measured for factor in BAND)
    most = min(max(most, MARGIN * allowed), MOST_NOISE)
    return dict(
        zip(BAND_KEYS, (max(two_digits(least), allowed), two_digits(most)), strict=True)
    )


def cast(value: Any, dtype: str) -> Any:
    """Inputs in another precision."""
    if isinstance(value, dict):
        return {name: cast(each, dtype) for name, each in value.items()}
    if isinstance(value, list):
        return [cast(each, dtype) for each in value]
    return (
        value.astype(DTYPES[dtype])
        if getattr(value, "dtype", None) == np.float64
        else value
    )


def family_file(family: str) -> dict[str, Any]:
    """A family's operations as their file has them, every case proved."""
    operations = [each for each in OPERATIONS.values() if each.family == family]
    forms = closed_forms() | explorers.closed_forms() | unreal.closed_forms()
    cases = [
        prove(each, case, forms.get(each.name))
        for each in operations
        for case in each.cases()
    ]
    used = {flag for case in cases for flag in (*case["flags"], *case.get("wrong", {}))}
    return encode({
        "schema": 1,
        "family": family,
        "generator": "vectors_ref",
        "notes": {flag: note._asdict() for flag, note in NOTES.items() if flag in used},
        "tolerances": {each.name: tolerances(each.name) for each in operations},
        "error": {each.name: each.error for each in operations},
        "cases": cases,
    })  # fmt: skip


def tolerances(name: str) -> dict[str, dict[str, float]]:
    measured = zip(BOTH, MEASURED[name], strict=True)
    return {
        dtype: {"measured": value, "tolerance": tolerance(name, dtype)}
        for dtype, value in measured
    }


def families() -> list[str]:
    return list(dict.fromkeys(each.family for each in OPERATIONS.values()))


def differences(
    stored: Any, fresh: Any, allowed: float, place: str = ""
) -> Iterator[str]:
    """Where two files differ: in structure, in a text, or in a number by more than is allowed."""
    if isinstance(stored, dict) and isinstance(fresh, dict):
        if list(stored) != list(fresh):
            yield f"{place}: {list(stored)} is {list(fresh)}"
            return
        for name in stored:
            there = f"{place}/{name}"
            if name not in BAND_KEYS:
                yield from differences(stored[name], fresh[name], allowed, there)
            elif (
                not 0.1 < stored[name] / fresh[name] < 10.0
            ):  # noise, and so another machine's differs
                yield f"{there}: {stored[name]} is {fresh[name]}"
    elif (
        isinstance(stored, list)
        and isinstance(fresh, list)
        and len(stored) == len(fresh)
    ):
        for i, (old, new) in enumerate(zip(stored, fresh, strict=True)):
            yield from differences(old, new, allowed, f"{place}/{i}")
    elif type(stored) is float and type(fresh) is float:
        if abs(stored - fresh) > allowed * max(1.0, abs(fresh)):
            yield f"{place}: {stored} is {fresh}"
    elif stored != fresh or type(stored) is not type(fresh):
        yield f"{place}: {stored} is {fresh}"


def case_differences(stored: dict[str, Any], fresh: dict[str, Any]) -> Iterator[str]:
    """Where two files of a family differ; outputs may by the tolerance of float64."""
    head, new_head = (
        {**each, "cases": [case["id"] for case in each["cases"]]}
        for each in (stored, fresh)
    )
    yield from differences(head, new_head, 0.0, stored["family"])
    for case, new_case in zip(stored["cases"], fresh["cases"], strict=False):
        exact, new_exact = (
            {k: v for k, v in each.items() if k not in LOOSE}
            for each in (case, new_case)
        )
        yield from differences(exact, new_exact, 0.0, case["id"])
        loose, new_loose = (
            {k: v for k, v in each.items() if k in LOOSE} for each in (case, new_case)
        )
        yield from differences(
            loose, new_loose, tolerance(case["operation"], "f64"), case["id"]
        )


def write(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for family in families():
        (folder / f"{family}.json").write_text(
            layout(family_file(family)) + "\n", encoding="utf-8"
        )


def verify(folder: Path) -> Iterator[str]:
    """Where the files of a folder differ from what would be written now."""
    for family in families():
        stored = json.loads((folder / f"{family}.json").read_text(encoding="utf-8"))
        yield from case_differences(stored, family_file(family))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m vime_check.prove", description="Write the test vectors."
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare the files with what would be written",
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    if not options.verify:
        write(options.folder)
        return 0
    found = list(verify(options.folder))
    print("\n".join(found) if found else "the vectors are as they would be written")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())

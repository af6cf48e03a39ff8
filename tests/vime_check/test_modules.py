"""Tools for adapters: flat and named weights, given noise, a prior that all weights share."""

import importlib.util
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from check_helpers import statuses

import bnn_ref as bnn
from vime_check import check
from vime_check.modules import (
    Layout,
    feed,
    flat_of,
    layers_of,
    noise_of,
    prior_scale,
    scalar_prior,
)

ROOT = Path(__file__).parent.parent.parent
SIZES = (2, 3, 1)
FLAT = np.arange(13.0)
TORCH = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs torch"
)

# ------------------------------------------------------------ flat and named weights


def test_layers_against_the_reference() -> None:
    """Control: the other layout is another matrix."""
    for ours, (weight, bias) in zip(layers_of(FLAT, SIZES), bnn.unflatten(FLAT, SIZES)):
        np.testing.assert_array_equal(ours[0], weight.reshape(ours[0].shape))
        np.testing.assert_array_equal(ours[1], bias.ravel())
    turned = layers_of(FLAT, SIZES, "out-in")
    assert [weight.shape for weight, _ in turned] == [(3, 2), (1, 3)]
    np.testing.assert_array_equal(turned[0][0], [[0, 3], [1, 4], [2, 5]])


@pytest.mark.parametrize("layout", ["in-out", "out-in"])
def test_flat_is_the_inverse_of_layers(layout: Layout) -> None:
    """Control: the layout must be the same both ways."""
    layers = layers_of(FLAT, SIZES, layout)
    np.testing.assert_array_equal(flat_of(layers, layout), FLAT)
    other: Layout = "out-in" if layout == "in-out" else "in-out"
    with pytest.raises(ValueError, match="layers must have a matrix and a bias"):
        flat_of(layers, other)


def test_noise_is_in_the_order_of_the_layers() -> None:
    eps = np.stack([FLAT, 100.0 + FLAT])
    noise = noise_of(eps, SIZES, "out-in")
    assert [each.shape for each in noise] == 2 * [(3, 2), (3,), (1, 3), (1,)]
    assert noise[3] == 12.0
    assert noise[4][0, 1] == 103.0


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: layers_of(FLAT[1:], SIZES), r"flat must have shape \(13,\)"),
        (lambda: layers_of(FLAT, (2, 0, 1)), "layer_sizes"),
        (lambda: layers_of(FLAT, (13,)), "layer_sizes"),
        (lambda: layers_of(FLAT, (2.0, 3.0)), "layer_sizes"),  # type: ignore[arg-type]
        (lambda: layers_of(FLAT, SIZES, "oi"), "layout"),  # type: ignore[arg-type]
        (lambda: flat_of([]), "layers"),
        (lambda: flat_of([(FLAT, FLAT)]), "layers"),
        (lambda: noise_of(FLAT, SIZES), "eps"),
        (lambda: prior_scale([], []), "prior_mu"),
        (lambda: prior_scale([0.0], [np.nan]), "prior_rho"),
        (lambda: prior_scale([0.0], [0.0, 0.0]), "prior_rho"),
        (lambda: scalar_prior(0.0, 2), "s must"),
        (lambda: scalar_prior(1.0, True), "num_weights"),
        (lambda: feed(np, "nothing", []).__enter__(), "name"),
        (lambda: feed(np, 3, []).__enter__(), "name"),  # type: ignore[arg-type]
    ],
)
def test_invalid_arguments_are_named(call: Callable[[], Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        call()


# ------------------------------------------------------------ noise


def library() -> SimpleNamespace:
    rng = np.random.default_rng(0)
    return SimpleNamespace(
        randn_like=lambda x: rng.standard_normal(x.shape),
        randn=lambda *shape: rng.standard_normal(shape),
    )


def test_a_fed_function_returns_the_values_and_draws_again_afterwards() -> None:
    lib = library()
    before = lib.randn_like
    with feed(lib, "randn_like", [np.ones(2), np.zeros((1, 3))]):
        np.testing.assert_array_equal(lib.randn_like(FLAT[:2]), [1.0, 1.0])
        np.testing.assert_array_equal(lib.randn_like(np.ones((1, 3))), [[0, 0, 0]])
    assert lib.randn_like is before


@pytest.mark.parametrize(
    ("values", "asked", "complaint"),
    [
        ([], (2, 3), "called more than 0 times"),
        ([np.ones((2, 3))] * 2, (2, 3), "called 1 times for 2 values"),
        ([np.ones((3, 2))], (2, 3), r"asks for shape \(2, 3\).* \(3, 2\)"),
        ([np.ones((3, 2))], ((2, 3),), r"asks for shape \(2, 3\)"),
    ],
)
def test_noise_that_does_not_fit_is_an_error(
    values: Iterable[Any], asked: tuple[Any, ...], complaint: str
) -> None:
    """Not a ValueError, which would reject the case's input."""
    lib = library()
    before = lib.randn
    with pytest.raises(RuntimeError, match=complaint), feed(lib, "randn", values):
        lib.randn(*asked)
    assert lib.randn is before


def test_calls_without_a_shape_get_any_value() -> None:
    lib = library()
    with feed(lib, "randn", [1.0, 2.0]):
        assert lib.randn() == 1.0
        assert lib.randn(0.5) == 2.0


def test_an_error_of_the_block_comes_before_that_of_noise_left_over() -> None:
    with pytest.raises(KeyError), feed(library(), "randn", [1.0]):
        raise KeyError


def test_a_method_in_place_is_filled() -> None:
    class Buffer(np.ndarray):
        def normal_(self, mean: float = 0.0, std: float = 1.0) -> "Buffer":
            raise AssertionError

    buffer = np.zeros(2).view(Buffer)
    with feed(Buffer, "normal_", [np.array([1.0, -2.0])]):
        assert buffer.normal_(10.0, std=2.0) is buffer
    np.testing.assert_array_equal(buffer, [12.0, 6.0])


@TORCH
def test_torch_is_fed_in_all_its_forms() -> None:
    import torch
    from torch.distributions import Normal
    from torch.distributions import normal as sampling

    value = torch.tensor([1.0, -2.0])
    with feed(torch, "randn", [value]):
        assert torch.randn(2) is value
    with feed(torch.Tensor, "normal_", [value]):
        assert torch.empty(2).normal_(0.0, 3.0).tolist() == [3.0, -6.0]
    with feed(sampling, "_standard_normal", [value]):
        assert Normal(torch.ones(2), 2.0).rsample().tolist() == [3.0, -3.0]


# ------------------------------------------------------------ the prior


def test_the_scale_of_a_prior_against_the_reference() -> None:
    for s in (1e-3, 0.5, 5.0, 1000.0):
        mu, rho = scalar_prior(s, 3)
        np.testing.assert_allclose(bnn.softplus(rho), s, rtol=1e-14)
        np.testing.assert_allclose(prior_scale(mu, rho), s, rtol=1e-14)
        assert not mu.any()


def test_another_prior_is_skipped_by_the_checker() -> None:
    for mu, rho in (([0.0, 1.0], [0.0, 0.0]), ([0.0, 0.0], [0.0, 1.0])):
        with pytest.raises(NotImplementedError, match="prior"):
            prior_scale(mu, rho)


# ------------------------------------------------------------ the example


def adapter_lines() -> list[str]:
    text = (ROOT / "examples" / "check_nn_module.py").read_text()
    adapter = text.split("- the adapter\n")[1]
    return [line for line in adapter.splitlines() if line]


def test_the_adapter_of_the_example_is_short() -> None:
    assert 10 < len(adapter_lines()) <= 37


@TORCH
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_the_example_passes(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    report = check("examples.check_nn_module", only="elbo,gain", dtype=dtype)
    assert report.ok, str(report)
    for name in ("elbo/", "elbo_grad/", "information_gains/"):
        ran = {each.id for each in report.outcomes if each.status == "exact"}
        assert any(each.startswith(name) for each in ran), str(report)


@TORCH
def test_the_page_shows_the_report_of_the_example(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Except for the worst errors, which differ between machines."""
    monkeypatch.syspath_prepend(ROOT)
    page = (ROOT / "docs" / "check.md").read_text()
    command = "$ vime-ref check examples.check_nn_module --only "
    only, shown = page.split(command)[1].split("```")[0].split("\n", 1)
    report = str(check("examples.check_nn_module", only=only)) + "\n"
    worst = re.compile(r"\d\.\de-\d\d$", re.MULTILINE)
    assert worst.sub("", report) == worst.sub("", shown)


def changed_module(folder: Path, old: str, new: str) -> str:
    """The name of a copy of the example in the folder, with one place changed."""
    text = (ROOT / "examples" / "check_nn_module.py").read_text()
    assert text.count(old) == 1
    name = f"in_{folder.name}"  # of this test alone
    (folder / f"{name}.py").write_text(text.replace(old, new))
    return name


@TORCH
@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("- 1 - 2 *", "- 2 *", "DroppedConstant"),
        ("0.5 * step_size", "step_size", "MissingHalf"),
        ("mu.grad**2 * sigma**2", "mu.grad**2 * sigma", "VarianceAsSigma"),
        ("functional.softplus(rho) / prior_sigma", "rho.exp() / prior_sigma", ""),
    ],
)
def test_a_mistake_in_the_module_fails_and_is_named(
    old: str, new: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative controls of the test above. The last one is no known mistake: σ = e^ρ in the KL alone."""
    monkeypatch.syspath_prepend(tmp_path)
    report = check(changed_module(tmp_path, old, new), only="elbo,gain")
    assert not report.ok
    assert "errored" not in statuses(report), str(report)
    named = {each.mistakes for each in report.bad()}
    assert named == {(name,) if name else ()}, str(report)


STEP = """                mu.data = mu.data + step_size * mu.grad * sigma**2
                rho.data = rho.data + step_size * rho.grad * sigma**2 / (2 * slope**2)
"""


@TORCH
@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("        self.zero_grad()\n", "", "GradientsAccumulate"),
        (
            "/ (2 * slope**2)).sum()\n",
            f"/ (2 * slope**2)).sum()\n{STEP}",
            "StateNotRestored",
        ),
    ],
)
def test_leftovers_of_a_row_are_seen_and_named(
    old: str, new: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows of a case go through one module; a case with one row can't tell."""
    monkeypatch.syspath_prepend(tmp_path)
    report = check(changed_module(tmp_path, old, new), only="information_gains")
    assert not report.ok
    assert f"; is {name}: " in report.lines()[0]
    wrong = {each.id.split("/")[1] for each in report.bad()}
    assert wrong == {
        *("four-rows", "deep", "sigma-per-output", "one-sample-3-rows"),
        *("one-sample-5-rows", "beyond-1000", "tiny"),
    }

"""Temperature scaling: recovers a known miscalibration, changes no prediction, and stays put where nothing can be known."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from components.onnx_deployment.report import naming_sentence
from components.onnx_deployment.temperature import HIGHEST, calibration_on, fit_temperature, negative_log_likelihood
from driftloop.errors import InputError
from driftloop.reporting.translation import Translator
from tests.factories.records import model_description


def cases(n: int, *, true_temperature: float, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels were drawn from softmax(logits / true_temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, classes))
    probabilities = softmax(logits / true_temperature, axis=1)
    return logits, (probabilities.cumsum(axis=1) > rng.uniform(size=(n, 1))).argmax(axis=1)


@pytest.mark.parametrize("true_temperature", [0.5, 2.0, 3.5])
def test_a_known_temperature_is_recovered(true_temperature: float) -> None:
    logits, labels = cases(5000, true_temperature=true_temperature)
    fit = fit_temperature(logits, labels)
    assert fit.temperature == pytest.approx(true_temperature, rel=0.07)
    assert fit.fitted_on.nll_after <= fit.fitted_on.nll_before + 1e-9
    assert fit.note == ""


def test_the_fit_equals_pytorch_s_own_optimiser() -> None:
    logits, labels = cases(400, true_temperature=1.7)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], max_iter=200)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits) / log_t.exp(), torch.from_numpy(labels))
        loss.backward()
        return loss

    optimizer.step(closure)
    assert fit_temperature(logits, labels).temperature == pytest.approx(log_t.exp().item(), abs=2e-3)


def test_overconfidence_is_reduced() -> None:
    fit = fit_temperature(*cases(3000, true_temperature=3.0))
    assert fit.fitted_on.ece_after < 0.03 < fit.fitted_on.ece_before
    elsewhere = calibration_on(*cases(3000, true_temperature=3.0, seed=1), fit.temperature)
    assert elsewhere.ece_after < 0.03 < elsewhere.ece_before


def test_all_right_says_nothing_about_the_temperature() -> None:
    logits, _ = cases(200, true_temperature=1.0)
    fit = fit_temperature(logits, logits.argmax(axis=1))
    assert fit.temperature == 1.0
    assert "classified right" in fit.note


def test_few_images_say_nothing_about_the_temperature() -> None:
    fit = fit_temperature(*cases(29, true_temperature=3.0))
    assert fit.temperature == 1.0
    assert "at least 30" in fit.note


def test_a_useless_model_ends_at_the_highest_temperature_and_says_so() -> None:
    rng = np.random.default_rng(1)
    fit = fit_temperature(rng.normal(0, 50, (500, 4)), rng.integers(0, 4, 500))
    assert fit.temperature == pytest.approx(HIGHEST, rel=0.01)
    assert "end of the range" in fit.note


def test_outputs_that_are_not_finite_are_refused() -> None:
    logits, labels = cases(50, true_temperature=1.0)
    logits[3, 1] = np.nan
    with pytest.raises(InputError, match="not finite: its training diverged"):
        fit_temperature(logits, labels)


def test_the_likelihood_equals_a_loop() -> None:
    logits, labels = cases(103, true_temperature=2.0)
    probabilities = softmax(logits, axis=1)
    by_hand = -np.mean([np.log(row[label]) for row, label in zip(probabilities, labels, strict=True)])
    assert negative_log_likelihood(logits, labels) == pytest.approx(by_hand)


def test_a_model_that_needs_no_scaling_is_hardly_ever_scaled_and_then_by_little() -> None:
    """The fit's own images always look better with it; those that did not fit it say when that is luck."""
    scaled = []
    for seed in range(40):
        logits, labels = cases(300, true_temperature=1.0, seed=seed)
        fit = fit_temperature(logits, labels)
        elsewhere = calibration_on(*cases(20_000, true_temperature=1.0, seed=1000 + seed), fit.temperature)
        assert elsewhere.nll_after < elsewhere.nll_before + 0.01
        if fit.temperature != 1:
            scaled.append(fit.temperature)
        else:
            assert "not scaled" in fit.note
    assert len(scaled) <= 20


def test_images_of_a_group_stay_on_one_side_of_the_trial() -> None:
    """Thirty copies of an image would vouch for one another; by group there is one half that knows nothing of the other."""
    logits, labels = cases(40, true_temperature=1.0, seed=3)
    copies = np.repeat(logits, 30, axis=0), np.repeat(labels, 30)
    groups = np.repeat(np.arange(40), 30)
    assert fit_temperature(*copies, groups).temperature == fit_temperature(logits, labels).temperature == 1
    assert fit_temperature(*copies).temperature != 1


def test_the_report_says_in_both_languages_what_an_image_is_called() -> None:
    model = model_description(classes=["whole", "cracked"], class_shares=[0.8, 0.2])
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
    said = naming_sentence(model, probabilities)
    assert said.endswith("1 of 3 test images are called otherwise than their most probable class.")
    translator = Translator("fr", frozenset({"whole"}))
    assert "autrement" in translator(said)
    assert (translator.missing, translator.asked) == ([], 3)
    assert naming_sentence(model.model_copy(update={"class_shares": []}), probabilities) == ""

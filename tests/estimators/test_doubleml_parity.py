"""The same folds and nuisances must give DoubleML's effect, error and omitted-variable bounds."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from causalopt.evaluation import Estimate, benchmark, dr, riesz_representer, sensitivity

dml = pytest.importorskip("doubleml")

EXACT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    n = 600
    x = rng.normal(size=(n, 4))
    arm = rng.binomial(1, 1 / (1 + np.exp(-0.8 * x[:, 0] + 0.5 * x[:, 1])))
    y = 0.5 * arm * (1 + x[:, 2]) + x[:, 0] - x[:, 1] ** 2 + rng.normal(size=n)
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(4)]).assign(arm=arm, y=y)


def fit(model_class, frame, covariates, **learners):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.random.seed(0)  # noqa: NPY002  DoubleML draws its folds from the global generator
        model = model_class(dml.DoubleMLData(frame, y_col="y", d_cols="arm", x_cols=covariates), n_folds=4, **learners)
        model.fit(store_predictions=True)
    return model


def fit_irm(frame, covariates):
    return fit(dml.DoubleMLIRM, frame, covariates, ml_g=LinearRegression(), ml_m=LogisticRegression())


@pytest.fixture(scope="module")
def irm(frame):
    return fit_irm(frame, [f"x{i}" for i in range(4)])


def as_two_policies(model, frame):
    """Read DoubleML's nuisances as ours: two policies that always write text 1, or always text 0."""
    get = {name: model.predictions[name][:, 0, 0] for name in ("ml_g0", "ml_g1", "ml_m")}
    arm, y = frame["arm"].to_numpy(), frame["y"].to_numpy()
    share = arm.mean()
    m = np.where(arm == 1, get["ml_g1"], get["ml_g0"])
    propensity = np.where(arm == 1, get["ml_m"], 1 - get["ml_m"])
    s = np.where(arm == 1, share, 1 - share) / propensity
    g = np.where(arm == 1, get["ml_g1"].mean(), get["ml_g0"].mean())  # the marginal over all readers
    xi = s * (y - m) + g
    with np.errstate(divide="ignore"):
        log_ratio = {1: np.log(arm / share), 0: np.log((1 - arm) / (1 - share))}
    value = {a: dr(log_ratio[a], xi, g, float(get[f"ml_g{a}"].mean()), reader_response=get[f"ml_g{a}"]) for a in (0, 1)}
    alpha = riesz_representer(log_ratio[1], s, log_ratio_reference=log_ratio[0])
    return value[1] - value[0], y - m, alpha, get["ml_m"]


def uncorrected(estimate):
    """DoubleML divides by n where we divide by n - 1."""
    return estimate.se * np.sqrt((estimate.n - 1) / estimate.n)


def test_average_effect_and_its_error(irm, frame):
    difference, *_ = as_two_policies(irm, frame)
    np.testing.assert_allclose(difference.value, irm.coef[0], **EXACT)
    np.testing.assert_allclose(uncorrected(difference), irm.se[0], **EXACT)


def test_influence_values(irm, frame):
    difference, *_ = as_two_policies(irm, frame)
    np.testing.assert_allclose(difference.influence, irm.psi[:, 0, 0], rtol=1e-8, atol=1e-10)


def irm_sensitivity(irm, frame):
    difference, residual, alpha, propensity = as_two_policies(irm, frame)
    return sensitivity(difference, residual, alpha, alpha_moment=1 / propensity + 1 / (1 - propensity))


def plr_sensitivity(model, frame):
    """Partialling-out is the same functional with alpha = v / E[v^2], whose derivative in the arm is 1 / E[v^2]."""
    preds = {name: model.predictions[name][:, 0, 0] for name in ("ml_l", "ml_m")}
    v = frame["arm"].to_numpy() - preds["ml_m"]
    residual = frame["y"].to_numpy() - preds["ml_l"] - model.coef[0] * v
    inverse = 1 / np.mean(v**2)
    n = len(frame)
    estimate = Estimate(float(model.coef[0]), inverse * v * residual, estimator="plr")
    return sensitivity(estimate, residual, inverse * v, alpha_moment=np.full(n, inverse))


@pytest.fixture(scope="module", params=["irm", "plr"])
def both(request, frame, irm):
    if request.param == "irm":
        return irm, irm_sensitivity(irm, frame)
    covariates = [f"x{i}" for i in range(4)]
    plr = fit(dml.DoubleMLPLR, frame, covariates, ml_l=LinearRegression(), ml_m=LinearRegression())
    return plr, plr_sensitivity(plr, frame)


def test_sensitivity_elements(both):
    model, ours = both
    theirs = {key: value.squeeze() for key, value in model.framework.sensitivity_elements.items()}
    np.testing.assert_allclose(ours.sigma2, theirs["sigma2"], **EXACT)
    np.testing.assert_allclose(ours.nu2, theirs["nu2"], **EXACT)
    np.testing.assert_allclose(ours.max_bias.value, theirs["max_bias"], **EXACT)
    np.testing.assert_allclose(ours.max_bias.influence, theirs["psi_max_bias"], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("rho", [1.0, -0.6])
def test_bounds_and_robustness_value(both, rho):
    model, ours = both
    level = 0.95
    model.sensitivity_analysis(cf_y=0.04, cf_d=0.07, rho=rho, level=level)
    theirs = model.sensitivity_params
    bounds = ours.bounds(0.04, 0.07, rho=rho, level=2 * level - 1)  # theirs are one-sided
    np.testing.assert_allclose(bounds.low, theirs["theta"]["lower"][0], **EXACT)
    np.testing.assert_allclose(bounds.high, theirs["theta"]["upper"][0], **EXACT)
    # The scaled score there is minus the influence here, while the bias terms agree in sign: the error of
    # its lower bound is ours of the upper one. Which is right is settled by resampling in test_sensitivity.py.
    bias = ours.max_bias * (abs(rho) * np.sqrt(0.04 * 0.07 / 0.93))
    np.testing.assert_allclose(uncorrected(ours.estimate + bias), theirs["se"]["lower"][0], **EXACT)
    np.testing.assert_allclose(uncorrected(ours.estimate - bias), theirs["se"]["upper"][0], **EXACT)
    # theirs come from a numerical search, with its tolerance
    np.testing.assert_allclose(ours.robustness_value(rho=rho), theirs["rv"][0], atol=1e-4)
    np.testing.assert_allclose(ours.robustness_value(rho=rho, level=2 * level - 1), theirs["rva"][0], atol=0.01)


def test_benchmark_of_an_observed_covariate(irm, frame):
    from doubleml.utils.gain_statistics import gain_statistics

    short = fit_irm(frame, ["x1", "x2", "x3"])
    theirs = gain_statistics(irm, short)
    ours = benchmark(irm_sensitivity(irm, frame), irm_sensitivity(short, frame))
    for name in ("cf_y", "cf_d", "rho"):
        np.testing.assert_allclose(getattr(ours, name), theirs[name][0], **EXACT)
    np.testing.assert_allclose(ours.change, theirs["delta_theta"][0], **EXACT)

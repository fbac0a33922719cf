"""Chapter C at any sample weights: the model of another `fit` on the same rows."""

from __future__ import annotations

from typing import Any, Literal

from numpy.typing import ArrayLike, DTypeLike, NDArray

from skinfluence._typing import Accuracy, Floats, MatrixLike
from skinfluence.methods.available import available, get_problem
from skinfluence.problem.requests import Output, Reweighting
from skinfluence.solvers import HessianSolver


class ReweightMixin:
    """The model at other sample weights: bootstrap, survey weights, covariate shift, values.

    Weights may be 0, which removes a sample, or larger than those of the fit, and all of them
    may differ. "influence" is first order in the weights. "newton" takes Newton steps from the
    optimum at the weights of the fit until the estimated error is far below 1 %. "exact"
    agrees with scikit-learn's fit at these weights. If scikit-learn itself fits the model at
    some weights, a warning tells so.

    "balanced" class weights follow the new weights as in `fit`, and hyperparameters stay as
    fitted. If the `fit` of an estimator takes no sample weights, a weight counts how often a
    sample occurs. In a pipeline it does so in every step, also in steps that do not take
    weights. If the fit gives sample weights to some parts, but others were told not to take
    them, a new weight would have two meanings, and these methods raise an
    `UnsupportedEstimatorError`. So they do if the fit gave weights to steps, but not to the
    model. For weights that reach the model alone, with the steps as they were fitted, ask the
    last step: ``from_fitted(pipe[-1], pipe[:-1].transform(X), y, sample_weight)``.
    """

    @available
    def reweight_params(
        self,
        sample_weight: ArrayLike,
        *,
        method: Accuracy = "newton",
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the parameters that `fit` finds at other sample weights.

        ``argmin sum_i w_i c_i l(z_i) + penalty`` for each vector w of weights.

        Parameters
        ----------
        sample_weight : array-like of shape (m, n) or (n,)
            The sample weights of the whole fit, not factors on the present ones; each row is
            one vector. They are finite and not negative, and one vector has shape (n,). In a
            pipeline a weight over that of the fit is the number of times that a sample occurs,
            in every step. It may be fractional if every step that learns takes sample weights.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order, Newton steps, or the fit to rounding error.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process vectors in batches.
        verbose : int, default=0
            Verbosity level for joblib's progress messages.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray of shape (m, p), default=None
            Array or memmap that receives the result.

        Returns
        -------
        params : ndarray of shape (m, p)
            Parameters at each vector of weights, laid out as `params_`. If no model exists,
            the row is NaN, and an `InfluenceWarning` names it.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = Ridge(alpha=0.1).fit(X, y)
        >>> weights = np.random.default_rng(0).exponential(size=(100, len(y)))
        >>> params = reg.reweight_params(weights)  # the Bayesian bootstrap
        >>> refit = Ridge(alpha=0.1).fit(X, y, sample_weight=weights[0])
        >>> bool(np.allclose(params[0], refit.params_, rtol=1e-9))
        True
        """
        return get_problem(self, "reweight_params").reweight_params(
            Reweighting(sample_weight, method, hessian_solver, n_jobs, verbose),
            Output(dtype, out),
        )

    @available
    def reweight_loss(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike,
        *,
        method: Accuracy = "newton",
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the loss at query samples under the models at other sample weights.

        The plain loss is evaluated at the changed parameters and is not linearised.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        sample_weight : array-like of shape (m, n) or (n,)
            Sample weights of the whole fit, see `reweight_params`.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order, Newton steps, or the fit to rounding error.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process vectors in batches.
        verbose : int, default=0
            Verbosity level for joblib's progress messages.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray of shape (q, m), default=None
            Array or memmap that receives the result.

        Returns
        -------
        loss : ndarray of shape (q, m)
            Loss at each query under each model.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> weights = np.random.default_rng(0).exponential(size=(100, len(y)))
        >>> clf.reweight_loss(X[:3], y[:3], weights).shape
        (3, 100)
        """
        return get_problem(self, "reweight_loss").reweight_loss(
            X,
            y,
            Reweighting(sample_weight, method, hessian_solver, n_jobs, verbose),
            Output(dtype, out),
        )

    @available
    def reweight_predict(
        self,
        X: MatrixLike,
        sample_weight: ArrayLike,
        *,
        method: Accuracy = "newton",
        response_method: Literal["predict", "decision_function", "predict_proba"] = "predict",
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> NDArray[Any]:
        """Return predictions for samples by the models at other sample weights.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Samples to predict.
        sample_weight : array-like of shape (m, n) or (n,)
            Sample weights of the whole fit, see `reweight_params`.
        method : {"influence", "newton", "exact"}, default="newton"
            Accuracy: first order, Newton steps, or the fit to rounding error.
        response_method : {"predict", "decision_function", "predict_proba"}, \
default="predict"
            Which response to return.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process vectors in batches.
        verbose : int, default=0
            Verbosity level for joblib's progress messages.

        Returns
        -------
        prediction : ndarray of shape (m, q) or (m, q, n_responses)
            The response by each model, in the response method's format.

        Examples
        --------
        How much does a prediction vary if other samples had been drawn?

        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = Ridge(alpha=0.1).fit(X, y)
        >>> rng = np.random.default_rng(0)
        >>> counts = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=200)
        >>> bootstrap = reg.reweight_predict(X[:2], counts)
        >>> bootstrap.std(axis=0).round(1)
        array([5.9, 5.4])
        """
        return get_problem(self, "reweight_predict").reweight_predict(
            X,
            Reweighting(sample_weight, method, hessian_solver, n_jobs, verbose),
            response_method=response_method,
        )

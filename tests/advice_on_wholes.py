"""Messages about dask arrays in pipelines, other weights and steps, and their remedies."""

import dask.array as da
import numpy as np
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.random_projection import GaussianRandomProjection

from skinfluence import from_fitted
from skinfluence.inspection import rank_candidates, reweigh_samples
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import GammaRegressor, LogisticRegression, Ridge
from skinfluence.naive_bayes import BernoulliNB
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC
from tests.advice import COUNTS, DT, DX, DY, LABELS, TWICE, T, X, Y, logistic, ridge, row

WORDS = np.where(X > 0.5, "a", np.where(X > -0.5, "b", "c"))
FEW = [[3], [17]]
ONES = np.ones(60)


def piped(*steps, model=None, y=Y):
    return make_pipeline(*steps, logistic() if model is None else model).fit(X, y)


def lazy(*steps, model=None, y=DY):
    """Return a pipeline that was fitted in memory, with its samples as dask arrays."""
    return piped(*steps, model=model, y=np.asarray(y)).set_training_data(DX, y)


def frozen(step):
    return FrozenEstimator(step.fit(X))


def in_part(pipe):
    return pipe.set_training_data(DX[:40].compute(), DY[:40].compute())


def words(step, model=None):
    return make_pipeline(step, Ridge() if model is None else model).fit(WORDS, T)


def encoded(**params):
    return words(TargetEncoder(**params))


def two_components():
    return piped(PCA(2, svd_solver="full"))


def wide(**solver):
    many = np.random.default_rng(0).normal(size=(60, 20))
    pca = PCA(2, random_state=0, n_oversamples=1, **solver)
    return make_pipeline(pca, logistic_of_words()).fit(many, Y).influence_loss(many, Y)


ADVICE_ON_WHOLES = [
    # Pipelines on dask arrays.
    row(
        "a step that dask arrays do not pass",
        lambda: lazy(PowerTransformer()).influence_prediction(X),
        r"Freeze the step with sklearn\.frozen\.FrozenEstimator",
        lambda: lazy(frozen(PowerTransformer())).influence_prediction(X),
    ),
    row(
        "the whole fit behind other steps on dask arrays",
        lambda: lazy(MinMaxScaler()).influence_summary(),
        r"behind a StandardScaler.*Freeze the steps with .*FrozenEstimator",
        lambda: lazy(frozen(MinMaxScaler())).influence_summary(),
        lambda: lazy(StandardScaler()).influence_summary(),
    ),
    row(
        "a mean that no intercept makes up for",
        lambda: lazy(
            StandardScaler(), model=logistic(fit_intercept=False)
        ).influence_summary(),
        r"use with_mean=False or fit_intercept=True",
        lambda: lazy(
            StandardScaler(with_mean=False), model=logistic(fit_intercept=False)
        ).influence_summary(),
    ),
    row(
        "first-order removal through steps on dask arrays",
        lambda: lazy(MinMaxScaler()).leave_out_loss(X, Y, FEW, method="influence"),
        r"use method='exact', or influence_params",
        lambda: lazy(MinMaxScaler()).leave_out_loss(X, Y, FEW, method="exact"),
        lambda: lazy(MinMaxScaler()).influence_params(),
    ),
    row(
        "every sample through steps on dask arrays",
        lambda: lazy(MinMaxScaler()).leave_out_loss(X, Y),
        r"groups=\[\[3\], \[17\]\], or freeze the steps with",
        lambda: lazy(MinMaxScaler()).leave_out_loss(X, Y, FEW),
        lambda: lazy(frozen(MinMaxScaler())).leave_out_loss(X, Y),
    ),
    row(
        "a dispersion for each refit on dask arrays",
        lambda: lazy(
            StandardScaler(), model=GammaRegressor(tol=1e-9), y=da.from_array(COUNTS + 1)
        ).influence_summary(),
        r"Freeze the steps with .*FrozenEstimator, or call compute\(\)",
        lambda: lazy(
            frozen(StandardScaler()),
            model=GammaRegressor(tol=1e-9),
            y=da.from_array(COUNTS + 1),
        ).influence_summary(),
    ),
    row(
        "other samples of a pipeline on dask arrays",
        lambda: lazy(PCA(2)).influence_params(DX, DY),
        r"call compute\(\) on a part of the rows and give that to set_training_data",
        lambda: in_part(lazy(PCA(2))).influence_params(X, Y),
    ),
    row(
        "the bound of single samples on dask arrays",
        lambda: (
            Ridge(fit_intercept=False)
            .fit(X, T)
            .set_training_data(DX, DT)
            .leave_out_params(return_bound=True)
        ),
        r"such as groups=\[\[3\], \[17\]\]",
        lambda: (
            Ridge(fit_intercept=False)
            .fit(X, T)
            .set_training_data(DX, DT)
            .leave_out_params(FEW, return_bound=True)
        ),
    ),
    row(
        "dependent features on dask arrays",
        lambda: (
            Ridge(alpha=0.0, solver="svd")
            .fit(TWICE, T)
            .set_training_data(da.from_array(TWICE), DT)
            .influence_loss(TWICE, T)
        ),
        r"drop features, use Ridge, or call compute\(\)|penalty",
        lambda: ridge().set_training_data(DX, DT).influence_loss(X, T),
        lambda: Ridge().fit(TWICE, T).influence_loss(TWICE, T),
    ),
    row(
        "arrays beside dask arrays",
        lambda: logistic().set_training_data(X, DY),
        r"pass one, or call compute\(\) on the others",
        lambda: logistic().set_training_data(DX, DY),
        lambda: logistic().set_training_data(DX.compute(), Y),
    ),
    row(
        "chunks of unknown size",
        lambda: logistic().set_training_data(DX[DX[:, 0] > -9], DY),
        r"call X\.compute_chunk_sizes\(\)",
        lambda: logistic().set_training_data(DX[DX[:, 0] > -9].compute_chunk_sizes(), DY),
    ),
    row(
        "out of dask arrays",
        lambda: (
            logistic().set_training_data(DX, DY).influence_loss(X, Y, out=np.empty((60, 60)))
        ),
        r"call the method without out and store the result",
        lambda: logistic().set_training_data(DX, DY).influence_loss(X, Y).compute(),
    ),
    # Other weights.
    row(
        "weights without a class",
        lambda: logistic().reweight_predict(X, 1.0 * (Y == 1)),
        r"Give weight to every class, or use response_method='decision_function'",
        lambda: logistic().reweight_predict(X, 0.1 + (Y == 1)),
        lambda: logistic().reweight_predict(X, 1.0 * Y, response_method="decision_function"),
    ),
    row(
        "weights without a class of a model without decision function",
        lambda: BernoulliNB().fit(X, Y).reweight_predict(X, 1.0 * (Y == 1)),
        r"Give weight to every class, or use response_method='predict_proba'",
        lambda: BernoulliNB().fit(X, Y).reweight_predict(X, 0.1 + (Y == 1)),
        lambda: (
            BernoulliNB()
            .fit(X, Y)
            .reweight_predict(X, 1.0 * (Y == 1), response_method="predict_proba")
        ),
    ),
    row(
        "no weight at all",
        lambda: ridge().reweight_params(0.0 * ONES),
        r"give weight to some",
        lambda: ridge().reweight_params(1.0 * (np.arange(60) > 5)),
    ),
    row(
        "parameters of a kernel that moves with the weights",
        lambda: piped(StandardScaler(), model=SVC(tol=1e-8)).reweight_params(1.0 + Y),
        r"Use reweight_predict or reweight_loss",
        lambda: piped(StandardScaler(), model=SVC(tol=1e-8)).reweight_predict(X, 1.0 + Y),
        lambda: piped(StandardScaler(), model=SVC(tol=1e-8)).reweight_loss(X, Y, 1.0 + Y),
    ),
    row(
        "a sample without weight behind steps",
        lambda: (
            make_pipeline(StandardScaler(), Ridge())
            .fit(X, T, ridge__sample_weight=1.0 * (np.arange(60) != 5))
            .reweight_loss(X, T, ONES)
        ),
        r"Fit without the samples whose weight is 0",
        lambda: (
            make_pipeline(StandardScaler(), Ridge())
            .fit(np.delete(X, 5, axis=0), np.delete(T, 5))
            .reweight_loss(X, T, ONES[1:])
        ),
    ),
    row(
        "a step whose fit takes no weights",
        lambda: piped(PowerTransformer()).reweight_loss(X, Y, 0.5 + Y),
        r"Use whole multiples, which repeat samples, or freeze the step with",
        lambda: piped(PowerTransformer()).reweight_loss(X, Y, 1.0 + Y),
        lambda: piped(frozen(PowerTransformer())).reweight_loss(X, Y, 0.5 + Y),
    ),
    row(
        "samples to weigh again without labels",
        lambda: reweigh_samples(ridge(), 0, X=X),
        r"pass both, or none of them",
        lambda: reweigh_samples(ridge(), 0, threshold=1.0, X=X, y=T),
        lambda: reweigh_samples(ridge(), 0, threshold=1.0),
    ),
    row(
        "a threshold out of reach of the weights",
        lambda: reweigh_samples(ridge(), 0, threshold=9.0),
        r"Use a larger max_ratio, or a threshold nearer to the target",
        lambda: reweigh_samples(ridge(), 0, threshold=1.0),
        lambda: reweigh_samples(ridge(), 0, threshold=0.75, max_ratio=9.0),
    ),
    row(
        "steps that other weights would move",
        lambda: reweigh_samples(piped(StandardScaler(), model=Ridge(), y=T), 0, threshold=0.9),
        r"keeps the steps before the model as they were fitted",
        lambda: reweigh_samples(
            piped(frozen(StandardScaler()), model=Ridge(), y=T), 0, threshold=0.9
        ),
    ),
    # Candidates.
    row(
        "candidates of a kernel model",
        lambda: rank_candidates(KernelRidge(kernel="rbf").fit(X, T), X[:5], T[:5], X, T),
        r"Use a linear model on features of the kernel, such as Nystroem",
        lambda: rank_candidates(ridge(), X[:5], T[:5], X, T),
    ),
    # Steps.
    row(
        "an unknown category after removal",
        lambda: words_of_one(OneHotEncoder()).leave_out_loss(LONELY, T, [[0]]),
        r"handle_unknown='ignore' of OneHotEncoder takes them, or 'use_encoded_value'",
        lambda: words_of_one(OneHotEncoder(handle_unknown="ignore")).leave_out_loss(
            LONELY, T, [[0]]
        ),
        lambda: words_of_one(
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        ).leave_out_loss(LONELY, T, [[0]]),
    ),
    row(
        "random folds of a TargetEncoder",
        lambda: encoded().influence_loss(WORDS, T),
        r"Fix the folds by TargetEncoder\(cv=KFold\(5, shuffle=True, random_state=0\)\)",
        lambda: encoded(cv=KFold(5, shuffle=True, random_state=0)).influence_loss(WORDS, T),
    ),
    row(
        "other samples of a TargetEncoder",
        lambda: encoded(cv=KFold(3)).influence_params(WORDS[:2], T[:2]),
        r"Use add_samples on a copy, or freeze the step with",
        lambda: encoded(cv=KFold(3)).add_samples(WORDS[:2], T[:2]),
        lambda: words(
            FrozenEstimator(TargetEncoder(cv=KFold(3)).fit(WORDS, T))
        ).influence_params(WORDS[:2], T[:2]),
    ),
    row(
        "weights of a union",
        lambda: piped(
            FeatureUnion([("a", StandardScaler())], transformer_weights={"a": 2.0})
        ).influence_loss(X, Y),
        r"Use a FunctionTransformer or a scaler inside each part instead",
        lambda: piped(FeatureUnion([("a", StandardScaler())])).influence_loss(X, Y),
    ),
    row(
        "a function behind a step that learns",
        lambda: piped(StandardScaler(), FunctionTransformer(np.sinh)).influence_loss(X, Y),
        r"Make it the first step, or use a numpy function.*leave_out_\*",
        lambda: piped(FunctionTransformer(np.sinh), StandardScaler()).influence_loss(X, Y),
        lambda: piped(StandardScaler(), FunctionTransformer(np.tanh)).influence_loss(X, Y),
        lambda: piped(StandardScaler(), FunctionTransformer(np.sinh)).leave_out_loss(
            X, Y, FEW
        ),
    ),
    row(
        "a randomised decomposition",
        lambda: wide(svd_solver="randomized", iterated_power=0),
        r"its solver is approximate .*, or the samples.*Use svd_solver='full', or pass",
        lambda: wide(svd_solver="full"),
    ),
    row(
        "a decomposition of other samples",
        lambda: from_fitted(two_components(), X + X[::-1], Y).influence_loss(X, Y),
        r"because the samples are not those of its fit.*Pass the samples of the fit",
        lambda: from_fitted(two_components(), X, Y).influence_loss(X, Y),
    ),
    row(
        "samples beyond the extremes",
        lambda: piped(MinMaxScaler()).influence_params(9.0 * X[:2], Y[:2]),
        r"Use add_samples on a copy",
        lambda: piped(MinMaxScaler()).add_samples(9.0 * X[:2], Y[:2]),
    ),
    row(
        "categories through a model of categories",
        lambda: piped(StandardScaler(), model=BernoulliNB()).influence_loss(X, Y),
        r"Use the methods that remove samples \(leave_out_\*\)",
        lambda: piped(StandardScaler(), model=BernoulliNB()).leave_out_loss(X, Y, FEW),
    ),
    row(
        "labels that a step learned from",
        lambda: words_of_two().influence_relabel(WORDS, Y, y_new=1 - Y),
        r"Fit it on other labels, or freeze the step with",
        lambda: (
            make_pipeline(
                FrozenEstimator(TargetEncoder(cv=KFold(3)).fit(WORDS, Y)), logistic_of_words()
            )
            .fit(WORDS, Y)
            .influence_relabel(WORDS, Y, y_new=1 - Y)
        ),
    ),
    row(
        "a random part of a step",
        lambda: piped(FeatureUnion([("a", GaussianRandomProjection(2))])).leave_out_params(
            LABELS
        ),
        r"GaussianRandomProjection in FeatureUnion is random: set random_state to a number",
        lambda: piped(
            FeatureUnion([("a", GaussianRandomProjection(2, random_state=0))])
        ).leave_out_params(LABELS),
    ),
]
LONELY = np.where(np.arange(60)[:, None] == 0, "lonely", WORDS)


def words_of_one(step):
    return make_pipeline(step, Ridge()).fit(LONELY, T)


def logistic_of_words():
    return LogisticRegression(tol=1e-8)


def words_of_two():
    return make_pipeline(TargetEncoder(cv=KFold(3)), logistic_of_words()).fit(WORDS, Y)

"""The order of the examples in the gallery."""

from pathlib import Path

__all__ = ["ORDER", "Story"]

#: What a first look asks, what a model is then asked, other models and data, and an attack.
ORDER = [
    "quickstart",
    "convergence",
    "leave_one_out",
    "label_errors",
    "review_list",
    "hospital",
    "metric",
    "weights",
    "worth",
    "errors",
    "diagnostics",
    "fragile_coefficient",
    "pipelines",
    "whole_fit",
    "cross_validation",
    "choosing_c",
    "jackknife_plus",
    "text",
    "fairness",
    "smooth_hinge",
    "kernels",
    "attack",
]


class Story:
    """Sort key of sphinx-gallery: the place of an example in `ORDER`."""

    def __init__(self, src_dir):
        self.src_dir = src_dir

    def __call__(self, filename):
        """Return the place of a file; one that is not in `ORDER` ends the build."""
        return ORDER.index(Path(filename).stem.removeprefix("plot_"))

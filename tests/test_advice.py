"""The remedy in an error or a warning can be followed, and helps.

The tables have the situations, the messages and what follows their remedies. The test fails
if the situation's message comes again.
"""

import re
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.advice_on_answers import ADVICE_ON_ANSWERS
from tests.advice_on_calls import ADVICE_ON_CALLS
from tests.advice_on_functions import ADVICE_ON_FUNCTIONS
from tests.advice_on_models import ADVICE_ON_MODELS
from tests.advice_on_parts import ADVICE_ON_PARTS
from tests.advice_on_wholes import ADVICE_ON_WHOLES

TABLES = (
    ADVICE_ON_MODELS,
    ADVICE_ON_CALLS,
    ADVICE_ON_PARTS,
    ADVICE_ON_FUNCTIONS,
    ADVICE_ON_WHOLES,
    ADVICE_ON_ANSWERS,
)


def said(call):
    """Return the message of a call's error, or those of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except (ValueError, TypeError, AttributeError, np.linalg.LinAlgError) as error:
            return f"{error} {error.__cause__ or ''}"
    ours = [str(w.message) for w in caught if "sklearn" not in str(w.filename)]
    return "\n".join(ours)


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize(
    "advice",
    [advice for table in TABLES for advice in table],
    ids=lambda advice: advice.name,
)
def test_advice_can_be_followed_and_helps(advice):
    assert re.search(advice.message, said(advice.meet), flags=re.DOTALL)
    for follow in advice.follow:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = follow()
        assert result is not None
        assert not re.search(advice.message, "\n".join(str(w.message) for w in caught))

"""Arrays of other libraries, on their own devices.

scikit-learn fits some estimators on arrays of other libraries, as PyTorch or CuPy, if
``array_api_dispatch=True`` is set. Our computations are written with NumPy's functions. NumPy
lets an array class define its functions (``__array_ufunc__`` and ``__array_function__``), and
`DeviceArray` defines them by the array API standard. So each formula is written once, and runs
on the device of the rows.

Only this package uses namespaces. Three rules hold in all others:

* a new array is made `like` the arrays that go into it, as in ``np.empty(shape, like=X)``;
* an array that is on the host may be used beside rows on a device, and is moved to them, so
  only small arrays stay on the host: parameters, penalties, indices;
* a single number is on the host, as NumPy's own sums are.

array.py      the class, from users' arrays and back to them; whose arrays some are
functions.py  NumPy's functions for it, and triangular factors
indexing.py   NumPy's indices
"""

from skinfluence.namespaces.array import (
    DeviceArray,
    Space,
    as_given,
    device_array,
    from_host,
    is_dask,
    is_device,
    is_foreign,
    place_of,
    to_host,
    unsupported,
    where_it_is,
)
from skinfluence.namespaces.functions import factorise, half_solve, smallest, solve

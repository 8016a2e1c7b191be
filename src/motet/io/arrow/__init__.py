"""Between Arrow and columns.

layout.py   which Arrow types can hold which column types, told from the types alone
buffers.py  numbers and texts, without what pyarrow's own conversions import
unify.py    which type holds the values of others; types without dictionaries, run-ends and views
fit.py      ... and arrays in it
read.py     `to_column`: the rows that fit, and why the others do not
dense.py    ... rows of one shape, without a copy
nested.py   ... rows measured one by one
image.py    ... encoded images into pixels
write.py    `from_column`, and the type that it gives
"""

from motet.io.arrow.layout import IMAGE_METADATA, check_fits, is_image, natural_kind
from motet.io.arrow.read import to_column
from motet.io.arrow.write import arrow_type, from_column

__all__ = ["IMAGE_METADATA", "arrow_type", "check_fits", "from_column", "is_image", "natural_kind", "to_column"]

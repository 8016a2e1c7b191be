"""The table of changes to what a step is given, and to what surrounds it; expected as in changes_of_code.py."""

from __future__ import annotations

import gzip
import locale
import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["AROUND", "FILES", "VALUES"]

VALUES = [
    ("miss", "a number", "1", "2"),
    ("miss", "int and float", "1", "1.0"),
    ("miss", "int and bool", "1", "True"),
    ("miss", "zero and false", "0", "False"),
    ("miss", "the sign of zero", "0.0", "-0.0"),
    ("miss", "the sign of nan", "float('nan')", "float('-nan')"),
    ("miss", "nan and none", "float('nan')", "None"),
    ("hit", "nan and nan", "float('nan')", "float('nan')"),
    ("miss", "infinities", "float('inf')", "float('-inf')"),
    ("miss", "the last bit of a float", "0.1 + 0.2", "0.3"),
    ("miss", "large integers", "2**70", "2**70 + 1"),
    ("miss", "integers beyond floats", "2**53", "2**53 + 1"),
    ("miss", "complex numbers", "1 + 2j", "1 - 2j"),
    ("miss", "a number and its text", "1", "'1'"),
    ("miss", "texts", "'a'", "'b'"),
    ("miss", "a space at the end", "'a'", "'a '"),
    ("miss", "composed and decomposed letters", "'\\u00e9'", "'e\\u0301'"),
    ("miss", "text and bytes", "'a'", "b'a'"),
    ("miss", "bytes and bytearray", "b'a'", "bytearray(b'a')"),
    ("miss", "bytes and a view of them", "b'a'", "np.frombuffer(b'a', np.uint8)"),
    ("miss", "lone surrogates", "'\\ud800'", "'\\ud801'"),
    ("miss", "empty text and none", "''", "None"),
    ("miss", "list and tuple", "[1, 2]", "(1, 2)"),
    ("miss", "the order of a list", "[1, 2]", "[2, 1]"),
    ("miss", "a nested list", "[[1], [2]]", "[[1, 2]]"),
    ("miss", "an empty list and none", "[]", "None"),
    ("miss", "list and array", "[1, 2]", "np.array([1, 2])"),
    ("miss", "set and frozenset", "{1, 2}", "frozenset({1, 2})"),
    ("hit", "the order of a set", "{'a', 'b', 'c'}", "set(['c', 'b', 'a'])"),
    ("miss", "a set and its list", "{1}", "[1]"),
    ("miss", "types in a set", "{1}", "{1.0}"),
    ("miss", "a dict's values", "{'a': 1}", "{'a': 2}"),
    ("miss", "a dict's keys", "{'a': 1}", "{'b': 1}"),
    ("miss", "types of a dict's keys", "{1: 1}", "{'1': 1}"),
    ("miss", "types of equal keys", "{1: 1}", "{1.0: 1}"),
    ("again", "the order of a dict", "{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}"),
    ("miss", "dict and ordered dict", "{'a': 1}", "collections.OrderedDict(a=1)"),
    ("miss", "dict and default dict", "{'a': 1}", "collections.defaultdict(int, a=1)"),
    ("miss", "the factory of a default dict", "collections.defaultdict(int)", "collections.defaultdict(list)"),
    ("miss", "counters", "collections.Counter('ab')", "collections.Counter('abb')"),
    ("miss", "the length of a deque", "collections.deque([1], 2)", "collections.deque([1], 3)"),
    ("miss", "a mapping that is read only", "types.SimpleNamespace(a=1)", "types.SimpleNamespace(a=2)"),
    ("miss", "ranges", "range(3)", "range(4)"),
    ("again", "ranges of the same numbers", "range(0, 3, 2)", "range(0, 4, 2)"),
    ("miss", "slices", "slice(1)", "slice(2)"),
    ("miss", "ellipsis and none", "...", "None"),
    ("miss", "decimals of two scales", "decimal.Decimal('1.0')", "decimal.Decimal('1.00')"),
    ("miss", "fractions", "fractions.Fraction(1, 3)", "fractions.Fraction(2, 3)"),
    ("hit", "fractions of one value", "fractions.Fraction(1, 3)", "fractions.Fraction(2, 6)"),
    ("miss", "dates", "datetime.date(2024, 1, 1)", "datetime.date(2024, 1, 2)"),
    ("miss", "date and time", "datetime.date(2024, 1, 1)", "datetime.datetime(2024, 1, 1)"),
    ("miss", "a time with a zone and without", "datetime.datetime(2024, 1, 1)", "datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)"),
    ("miss", "one moment in two zones", "datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)", "datetime.datetime(2024, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))"),
    ("miss", "zones by name", "zoneinfo.ZoneInfo('Europe/Berlin')", "zoneinfo.ZoneInfo('Europe/Paris')"),
    ("miss", "the fold of a time", "datetime.datetime(2024, 10, 27, 2)", "datetime.datetime(2024, 10, 27, 2, fold=1)"),
    ("miss", "durations", "datetime.timedelta(1)", "datetime.timedelta(2)"),
    ("hit", "durations of one length", "datetime.timedelta(hours=24)", "datetime.timedelta(1)"),
    ("miss", "unique ids", "uuid.UUID(int=1)", "uuid.UUID(int=2)"),
    ("miss", "patterns", "re.compile('a')", "re.compile('b')"),
    ("miss", "flags of patterns", "re.compile('a')", "re.compile('a', re.I)"),
    ("miss", "paths", "pathlib.Path('a')", "pathlib.Path('b')"),
    ("miss", "a path and its text", "pathlib.Path('a')", "'a'"),
    ("hit", "one path, written in two ways", "pathlib.Path('a/b')", "pathlib.Path('a//b/')"),
    ("miss", "addresses", "ipaddress.ip_address('10.0.0.1')", "ipaddress.ip_address('10.0.0.2')"),
    ("miss", "errors", "ValueError('a')", "ValueError('b')"),
    ("miss", "classes of errors", "ValueError('a')", "KeyError('a')"),
    ("miss", "which class", "int", "float"),
    ("miss", "which function", "len", "sum"),
    ("miss", "lambdas", "lambda: 1", "lambda: 2"),
    ("hit", "lambdas of one body", "lambda: 1", "lambda: 1"),
    ("miss", "closures", "(lambda k: lambda: k)(1)", "(lambda k: lambda: k)(2)"),
    ("miss", "partials", "functools.partial(int, base=2)", "functools.partial(int, base=3)"),
    ("miss", "methods of objects", "[1].index", "[2].index"),
    ("miss", "types of a list", "list[int]", "list[str]"),
    ("miss", "modules", "statistics", "fractions"),
    ("miss", "data classes", "Data(1)", "Data(2)"),
    ("miss", "data class and dict", "Data(1)", "{'a': 1}"),
    ("miss", "types in a data class", "Data(1)", "Data(True)"),
    ("miss", "named tuples", "Named(1)", "Named(2)"),
    ("miss", "named tuple and tuple", "Named(1)", "(1,)"),
    ("miss", "members of an enumeration", "Kind.A", "Kind.B"),
    ("miss", "a member and its value", "Kind.A", "1"),
    ("miss", "a member of an enumeration of numbers and its value", "Level.LOW", "1"),
    ("miss", "combinations of flags", "Way.A | Way.B", "Way.A"),
    ("miss", "attributes of an object", "Plain(a=1)", "Plain(a=2)"),
    ("miss", "names of an object's attributes", "Plain(a=1)", "Plain(b=1)"),
    ("again", "the order of an object's attributes", "Plain(a=1, b=2)", "Plain(b=2, a=1)"),
    ("hit", "sets in an object", "Plain(a={'x', 'y', 'z'})", "Plain(a=set(['z', 'y', 'x']))"),
    ("unseen: which parts of a value are one object", "a shared part", "Plain(a=SHARED, b=SHARED)", "Plain(a=[1], b=[1])"),
    ("unseen: which parts of a value are one object", "a shared list", "[SHARED, SHARED]", "[[1], [1]]"),
    ("miss", "models of attrs", "Attrs(1)", "Attrs(2)"),
    ("miss", "models of pydantic", "Pydantic(a=1)", "Pydantic(a=2)"),
    ("miss", "structs of msgspec", "Struct(1)", "Struct(2)"),
    ("miss", "values of an array", "np.array([1, 2])", "np.array([1, 3])"),
    ("miss", "types of an array", "np.array([1, 2])", "np.array([1, 2], np.int32)"),
    ("miss", "signs of an array's type", "np.array([1], np.int8)", "np.array([1], np.uint8)"),
    ("miss", "byte orders", "np.array([1], '<i4')", "np.array([1], '>i4')"),
    ("miss", "shapes", "np.zeros((2, 3))", "np.zeros((3, 2))"),
    ("miss", "an axis of one", "np.zeros(3)", "np.zeros((1, 3))"),
    ("miss", "empty arrays", "np.zeros((0, 3))", "np.zeros((0, 4))"),
    ("miss", "the sign of zero in an array", "np.array([0.0])", "np.array([-0.0])"),
    ("miss", "payloads of nan", "np.array([np.nan])", "np.array([0x7ff8000000000001], np.int64).view(np.float64)"),
    ("hit", "a slice and its copy", "np.arange(10)[2:5]", "np.arange(10)[2:5].copy()"),
    ("hit", "whether an array can be written", "np.arange(3)", "frozen(np.arange(3))"),
    ("again", "the layout of an array", "np.arange(6).reshape(2, 3)", "np.asfortranarray(np.arange(6).reshape(2, 3))"),
    ("miss", "array and number", "np.array(1)", "np.int64(1)"),
    ("miss", "numbers of numpy and of Python", "np.int64(1)", "1"),
    ("miss", "floats of numpy and of Python", "np.float64(1)", "1.0"),
    ("miss", "widths of numbers of numpy", "np.float32(1)", "np.float64(1)"),
    ("miss", "times of numpy", "np.datetime64('2024-01-01', 'D')", "np.datetime64('2024-01-01', 's')"),
    ("miss", "records", "np.zeros(2, [('a', 'i4')])", "np.zeros(2, [('b', 'i4')])"),
    ("miss", "masks", "np.ma.array([1, 2], mask=[0, 1])", "np.ma.array([1, 2], mask=[1, 0])"),
    ("miss", "masked and plain", "np.ma.array([1, 2])", "np.array([1, 2])"),
    ("miss", "values under a mask", "np.ma.array([1, 2], mask=[0, 1])", "np.ma.array([1, 3], mask=[0, 1])"),
    ("miss", "matrix and array", "np.asmatrix([[1]])", "np.array([[1]])"),
    ("miss", "arrays of objects", "np.array([1, 'a'], object)", "np.array([1, 'b'], object)"),
    ("miss", "texts of numpy", "np.array(['a'], 'U1')", "np.array(['a'], 'U2')"),
    ("miss", "generators of random numbers", "np.random.default_rng(1)", "np.random.default_rng(2)"),
    ("miss", "a generator that has drawn", "np.random.default_rng(1)", "drawn(np.random.default_rng(1))"),
    ("miss", "generators of Python", "random.Random(1)", "random.Random(2)"),
    ("miss", "polynomials", "np.polynomial.Polynomial([1, 2])", "np.polynomial.Polynomial([1, 3])"),
    ("miss", "values of a series", "pd.Series([1])", "pd.Series([2])"),
    ("miss", "the name of a series", "pd.Series([1], name='a')", "pd.Series([1], name='b')"),
    ("miss", "the index of a series", "pd.Series([1], index=[0])", "pd.Series([1], index=[1])"),
    ("miss", "series and frame", "pd.Series([1], name='a')", "pd.DataFrame({'a': [1]})"),
    ("miss", "the order of columns", "pd.DataFrame({'a': [1], 'b': [2]})", "pd.DataFrame({'b': [2], 'a': [1]})"),
    ("miss", "the order of rows", "pd.DataFrame({'a': [1, 2]})", "pd.DataFrame({'a': [2, 1]})"),
    ("miss", "the type of a column", "pd.DataFrame({'a': [1]})", "pd.DataFrame({'a': [1.0]})"),
    ("miss", "nan and NA", "pd.DataFrame({'a': pd.array([1, None], 'Int64')})", "pd.DataFrame({'a': [1, np.nan]})"),
    ("miss", "none and nan in objects", "pd.Series(['a', None], dtype=object)", "pd.Series(['a', np.nan], dtype=object)"),
    ("miss", "NaT and none", "pd.Series([pd.NaT], dtype=object)", "pd.Series([None], dtype=object)"),
    ("miss", "unused categories", "pd.Categorical(['a'], ['a', 'b'])", "pd.Categorical(['a'], ['a', 'c'])"),
    ("miss", "zones of a column", "pd.Series(pd.to_datetime(['2024']).tz_localize('UTC'))", "pd.Series(pd.to_datetime(['2024']).tz_localize('Europe/Paris'))"),
    ("miss", "timestamps", "pd.Timestamp('2024')", "pd.Timestamp('2024', tz='UTC')"),
    ("miss", "periods", "pd.Period('2024', 'M')", "pd.Period('2024', 'Y')"),
    ("miss", "index and array", "pd.Index([1, 2])", "np.array([1, 2])"),
    ("miss", "range index and index", "pd.RangeIndex(2)", "pd.Index([0, 1])"),
    ("miss", "sparse and dense", "pd.Series(pd.arrays.SparseArray([0, 1]))", "pd.Series([0, 1])"),
    ("hit", "frames in other blocks", "pd.DataFrame({'a': [1], 'b': [2]})", "pd.concat([pd.DataFrame({'a': [1]}), pd.DataFrame({'b': [2]})], axis=1)"),
    ("miss", "matrices that are sparse", "scipy.sparse.csr_matrix([[1, 0]])", "scipy.sparse.csr_matrix([[0, 1]])"),
    ("miss", "formats of matrices that are sparse", "scipy.sparse.csr_matrix([[1, 0]])", "scipy.sparse.csc_matrix([[1, 0]])"),
    ("miss", "values of a table", "pa.table({'a': [1]})", "pa.table({'a': [2]})"),
    ("miss", "types of a table", "pa.table({'a': [1]})", "pa.table({'a': pa.array([1], pa.int32())})"),
    ("miss", "metadata of a table", "pa.table({'a': [1]})", "pa.table({'a': [1]}).replace_schema_metadata({'k': 'v'})"),
    ("miss", "whether a column may be missing", "pa.table({'a': [1]}, pa.schema([pa.field('a', pa.int64())]))", "pa.table({'a': [1]}, pa.schema([pa.field('a', pa.int64(), False)]))"),
    ("miss", "table and batch", "pa.table({'a': [1]})", "pa.record_batch({'a': [1]})"),
    ("miss", "a frame and its table", "pd.DataFrame({'a': [1]})", "pa.Table.from_pandas(pd.DataFrame({'a': [1]}))"),
    ("miss", "a tensor and a dict of it", "torch.ones(1)", "{'': torch.ones(1)}"),
    ("miss", "state dict and dict", "linear(1).state_dict()", "dict(linear(1).state_dict())"),
    ("miss", "dictionaries of a column", "pa.table({'a': ['x']})", "pa.table({'a': pa.array(['x']).dictionary_encode()})"),
    ("miss", "arrays of Arrow", "pa.array([1, None])", "pa.array([1, 2])"),
    ("miss", "schemas", "pa.schema([('a', pa.int8())])", "pa.schema([('a', pa.int16())])"),
    ("miss", "frames of polars", "pl.DataFrame({'a': [1]})", "pl.DataFrame({'a': [2]})"),
    ("miss", "types of polars", "pl.DataFrame({'a': [1]})", "pl.DataFrame({'a': [1]}, schema={'a': pl.Int8})"),
    ("miss", "values of a tensor", "torch.tensor([1.0])", "torch.tensor([2.0])"),
    ("miss", "types of a tensor", "torch.tensor([1.0])", "torch.tensor([1.0], dtype=torch.float64)"),
    ("miss", "half types of a tensor", "torch.tensor([1.0], dtype=torch.float16)", "torch.tensor([1.0], dtype=torch.bfloat16)"),
    ("miss", "whether a tensor has a gradient", "torch.ones(1)", "torch.ones(1, requires_grad=True)"),
    ("miss", "tensor and parameter", "torch.ones(1, requires_grad=True)", "torch.nn.Parameter(torch.ones(1))"),
    ("miss", "tensor and array", "torch.ones(1)", "np.ones(1, np.float32)"),
    ("miss", "shapes of a tensor", "torch.ones(2, 1)", "torch.ones(1, 2)"),
    ("hit", "a view of a tensor and its copy", "torch.arange(6)[2:4]", "torch.arange(6)[2:4].clone()"),
    ("hit", "strides of a tensor", "torch.arange(6).reshape(2, 3)", "torch.arange(6).reshape(3, 2).reshape(2, 3)"),
    ("miss", "sparse tensors", "torch.eye(2).to_sparse()", "torch.eye(2)"),
    ("miss", "types of torch", "torch.float32", "torch.float64"),
    ("unseen: on which device a tensor lies", "the device of a tensor in an object", "Plain(a=torch.ones(1))", "Plain(a=elsewhere(torch.ones(1)))"),
    ("miss", "weights of a module", "linear(1)", "linear(2)"),
    ("hit", "modules of one seed", "linear(1)", "linear(1)"),
    ("miss", "training and evaluation", "linear(1)", "linear(1).eval()"),
    ("miss", "frozen weights", "linear(1)", "linear(1).requires_grad_(False)"),
    ("miss", "state of an optimizer", "torch.optim.SGD(linear(1).parameters(), 0.1)", "torch.optim.SGD(linear(1).parameters(), 0.2)"),
    ("miss", "settings of an estimator", "Ridge(alpha=1.0)", "Ridge(alpha=2.0)"),
    ("miss", "an estimator before and after fitting", "Ridge()", "Ridge().fit([[0], [1]], [0, 1])"),
    ("hit", "estimators that were fitted alike", "Ridge().fit([[0], [1]], [0, 1])", "Ridge().fit([[0], [1]], [0, 1])"),
    ("miss", "steps of a pipeline", "make_pipeline(Ridge())", "make_pipeline(Ridge(alpha=2))"),
]  # fmt: skip
"""What a step is called with: expected, name, before, after; both are expressions."""


def _write(path: Path, data: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def _folder(path: Path, **files: str) -> None:
    for name, text in files.items():
        _write(path / name.replace("__", "/"), text)


def _link(path: Path, to: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(to)


def _parquet(path: Path, compression: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({"a": [1, 2, 3]}), path, compression=compression)


def _replace(path: Path, data: str) -> None:
    other = path.with_name("other")
    _write(other, data)
    other.replace(path)


FILES: list[tuple[str, str, Any, Any]] = [
    ("miss", "content", lambda p: _write(p, "1"), lambda p: _write(p, "2")),
    ("miss", "content, at one time", lambda p: (_write(p, "1"), os.utime(p, (5, 5))), lambda p: (_write(p, "2"), os.utime(p, (5, 5)))),
    ("miss", "a line at the end", lambda p: _write(p, "1"), lambda p: _write(p, "1\n")),
    ("miss", "ends of lines", lambda p: _write(p, "1\n"), lambda p: _write(p, "1\r\n")),
    ("miss", "a mark of byte order", lambda p: _write(p, "1"), lambda p: _write(p, "\ufeff1")),
    ("miss", "an empty file", lambda p: _write(p, "1"), lambda p: _write(p, "")),
    ("miss", "the last byte of a large file", lambda p: _write(p, b"0" * (3 << 20)), lambda p: _write(p, b"0" * (3 << 20) + b"1")),
    ("hit", "the time of a file", lambda p: _write(p, "1"), lambda p: os.utime(p, (1, 1))),
    ("hit", "permissions", lambda p: _write(p, "1"), lambda p: p.chmod(0o744)),
    ("hit", "the same, written again", lambda p: _write(p, "1"), lambda p: _write(p, "1")),
    ("hit", "the same, put in its place", lambda p: _write(p, "1"), lambda p: _replace(p, "1")),
    ("miss", "another, put in its place", lambda p: _write(p, "1"), lambda p: _replace(p, "2")),
    ("miss", "where a link leads", lambda p: (_folder(p.parent, a="1", b="2"), _link(p, "a")), lambda p: _link(p, "b")),
    ("hit", "a link to the same content", lambda p: (_folder(p.parent, a="1", b="1"), _link(p, "a")), lambda p: _link(p, "b")),
    ("hit", "a link in the place of a file", lambda p: (_folder(p.parent, a="1"), _write(p, "1")), lambda p: _link(p, "a")),
    ("miss", "what a link leads to", lambda p: (_folder(p.parent, a="1"), _link(p, "a")), lambda p: _folder(p.parent, a="2")),
    ("miss", "compression of the same rows", lambda p: _parquet(p, "snappy"), lambda p: _parquet(p, "zstd")),
    ("hit", "the same rows, written again", lambda p: _parquet(p, "snappy"), lambda p: _parquet(p, "snappy")),
    ("miss", "the time in an archive", lambda p: _write(p, gzip.compress(b"1", mtime=1)), lambda p: _write(p, gzip.compress(b"1", mtime=2))),
    ("miss", "a file in a folder", lambda p: _folder(p, a="1"), lambda p: _folder(p, a="2")),
    ("miss", "a file deep in a folder", lambda p: _folder(p, a__b__c="1"), lambda p: _folder(p, a__b__c="2")),
    ("miss", "a new file in a folder", lambda p: _folder(p, a="1"), lambda p: _folder(p, b="1")),
    ("miss", "a hidden file in a folder", lambda p: _folder(p, a="1"), lambda p: _folder(p, **{".b": "1"})),
    ("miss", "a file that is gone", lambda p: _folder(p, a="1", b="1"), lambda p: (p / "b").unlink()),
    ("miss", "a name in a folder", lambda p: _folder(p, a="1"), lambda p: (p / "a").rename(p / "b")),
    ("miss", "files that change places", lambda p: _folder(p, a="1", b="2"), lambda p: _folder(p, a="2", b="1")),
    ("miss", "a link in a folder", lambda p: (_folder(p, a="1", b="2"), _link(p / "c", "a")), lambda p: _link(p / "c", "b")),
    ("hit", "times in a folder", lambda p: _folder(p, a="1"), lambda p: os.utime(p / "a", (1, 1))),
    ("hit", "the order in which files are made", lambda p: _folder(p, a="1", b="2"), lambda p: ((p / "a").unlink(), _folder(p, a="1"))),
    ("miss", "a folder in the place of a file", lambda p: _write(p, "1"), lambda p: (p.unlink(), _folder(p, a="1"))),
]  # fmt: skip
"""Changes to the file or folder that a step takes as `mt.File`: expected, name, how it is made, and how it is changed."""

AROUND: list[tuple[str, str, str, Any]] = [
    ("unseen: environment variables", "an environment variable that is read", "import os\ndef s(x): return os.environ.get('MOTET_TEST_X')", lambda m: m.setenv("MOTET_TEST_X", "7")),
    ("unseen: environment variables", "a zone of the environment", "import time\ndef s(x): return time.strftime('%H', time.localtime(0))", lambda m: (m.setenv("TZ", "Asia/Tokyo"), time.tzset())),
    ("miss", "an environment variable that is read at the top", "import os\nK = os.environ.get('MOTET_TEST_X')\ndef s(x): return K", lambda m: m.setenv("MOTET_TEST_X", "7")),
    ("miss", "an environment variable as a default", "import os\ndef s(x, k=os.environ.get('MOTET_TEST_X')): return k", lambda m: m.setenv("MOTET_TEST_X", "7")),
    ("miss", "an environment variable in a class", "import os\nclass C:\n    k = os.environ.get('MOTET_TEST_X')\ndef s(x): return C.k", lambda m: m.setenv("MOTET_TEST_X", "7")),
    ("unseen: the clock", "the clock", "import time\ndef s(x): return time.perf_counter()", lambda m: None),
    ("unseen: the working directory", "the working directory", "import os\ndef s(x): return os.getcwd()", lambda m: m.chdir("..")),
    ("unseen: the command line", "the command line", "import sys\ndef s(x): return sys.argv", lambda m: m.setattr(sys, "argv", ["other"])),
    ("unseen: what is done to libraries elsewhere", "a seed elsewhere", "import random\ndef s(x): return random.random()", lambda m: random.seed(3)),
    ("unseen: what is done to libraries elsewhere", "a locale", "import locale\ndef s(x): return locale.setlocale(locale.LC_CTYPE)", lambda m: locale.setlocale(locale.LC_CTYPE, "C")),
    ("unseen: what is done to libraries elsewhere", "a limit of Python", "import sys\ndef s(x): return sys.getrecursionlimit()", lambda m: sys.setrecursionlimit(sys.getrecursionlimit() + 1)),
    ("unseen: what is done to libraries elsewhere", "a function that is put in the place of a library's", "import statistics\ndef s(x): return statistics.mean([1])", lambda m: m.setattr(statistics, "mean", lambda v: 7)),
    ("hit", "another cache of modules", "def s(x): return x", lambda m: m.setenv("PYTHONPYCACHEPREFIX", "x")),
    ("hit", "an environment variable that is not read", "import os\ndef s(x): return os.environ.get('HOME')", lambda m: m.setenv("MOTET_TEST_X", "7")),
    ("hit", "threads", "def s(x): return x", lambda m: m.setenv("OMP_NUM_THREADS", "3")),
    ("miss", "a constant that is set after the import", "K = 1\ndef s(x): return K", lambda m: m.setattr(sys.modules["flow"], "K", 2)),
    ("miss", "a function that is put in the place of the project's", "def h(x): return 1\ndef s(x): return h(x)", lambda m: m.setattr(sys.modules["flow"], "h", lambda x: 2)),
    ("miss", "a method that is put in the place of the project's", "class C:\n    def m(self): return 1\ndef s(x): return C().m()", lambda m: m.setattr(sys.modules["flow"].C, "m", lambda self: 2)),
    ("miss", "a table that is changed after the import", "T = {'a': 1}\ndef s(x): return T['a']", lambda m: m.setitem(sys.modules["flow"].T, "a", 2)),
    ("miss", "an object that is changed after the import", "class C: pass\nc = C()\nc.a = 1\ndef s(x): return c.a", lambda m: m.setattr(sys.modules["flow"].c, "a", 2)),
    ("miss", "an array that is changed after the import", "import numpy as np\nA = np.arange(3)\ndef s(x): return int(A.sum())", lambda m: sys.modules["flow"].A.__setitem__(0, 5)),
    ("miss", "a default that is changed after the import", "def h(x, k=[1]): return k[0]\ndef s(x): return h(x)", lambda m: sys.modules["flow"].h.__defaults__[0].__setitem__(0, 2)),
    ("miss", "a value in a closure that is changed", "def m():\n    k = [1]\n    return lambda x: k[0]\nf = m()\ndef s(x): return f(x)", lambda m: sys.modules["flow"].f.__closure__[0].cell_contents.__setitem__(0, 2)),
]  # fmt: skip
"""Changes around a program that stays the same: expected, name, the program, and what happens before it is run again."""

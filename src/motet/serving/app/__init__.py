"""Everything behind the port that is not on the hot path: an ASGI application on Starlette.

app.py         the application: routes, errors, CORS
parts.py       what it asks the other parts of a server for
desk.py        who may ask, and who may load and unload
respond.py     answers and errors as JSON
about.py       health, metadata, configuration, statistics, the repository: the Open Inference Protocol's and Triton's
playing.py     a request whose answer is awaited, and given up when the client is gone
predict.py     POST /predict/GRAPH
rows.py        rows of JSON, and columns as rows
uploads.py     forms and files as rows
pictures.py    image files as the arrays that a graph takes
explain.py     how a row's answer came about
stream.py      server-sent events
status.py      the numbers of the page, where nobody else counts
pages.py       the page for people, its files, the drawings
"""

from motet.serving.app.app import create_app
from motet.serving.app.desk import Asked, Desk, Visit
from motet.serving.app.parts import AppParts

__all__ = ["AppParts", "Asked", "Desk", "Visit", "create_app"]

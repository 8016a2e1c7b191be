"""Everything behind the port that is not on the hot path: an ASGI application on Starlette.

app.py             the application: routes, errors, CORS
parts.py           what it asks the other parts of a server for
respond.py         answers and errors as JSON
about.py           health, metadata, configuration, statistics, the repository: the Open Inference Protocol's and Triton's
v1.py              the protocol before that one
calls.py           what came in, for the middleware; what is awaited as long as the client is there
predict.py         POST /predict/GRAPH; answers.py: what it says of rows
uploads.py         forms and files as rows
picture_answers.py an answer that is one picture
explain.py         how a row's answer came about
stream.py          server-sent events
status.py          the numbers of the page, as everybody may see them
pages.py           the page for people, its files, the drawings
openapi.py         the description of all this; schemas.py, openapi.json: its parts
"""

from motet.serving.rest.app import create_app
from motet.serving.rest.parts import AppParts

__all__ = ["AppParts", "create_app"]

"""FastAPI on uvicorn, as its own tutorial would have it; each request is played by itself."""

import uvicorn
from fastapi import FastAPI, Request, Response  # type: ignore[import-not-found]
from pydantic import BaseModel

from benchmarks.live_parts.peers.answering import Models, images_of, options, packed


class Body(BaseModel):
    """A JSON request."""

    image: list[int]


class Answer(BaseModel):
    """A JSON answer."""

    label: list[int]
    score: list[float]


def app(models: Models) -> FastAPI:
    """The application."""
    found = FastAPI()

    @found.post("/json")  # type: ignore[untyped-decorator]
    async def json(body: Body) -> Answer:
        labels, scores = models(images_of(body.image))
        return Answer(label=labels.tolist(), score=scores.tolist())

    @found.post("/binary")  # type: ignore[untyped-decorator]
    async def binary(request: Request) -> Response:
        answer = packed(*models(images_of(await request.body())))
        return Response(answer, media_type="application/octet-stream")

    return found


if __name__ == "__main__":
    chosen = options()
    uvicorn.run(app(Models(chosen.job)), host="127.0.0.1", port=chosen.port, access_log=False, log_level="warning")

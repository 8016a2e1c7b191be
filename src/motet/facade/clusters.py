"""A graph inside pipelines of Beam, Ray and Spark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from motet.facade.opened import OpenGraph

if TYPE_CHECKING:
    from motet.engines.beam.handler import GraphHandler
    from motet.engines.beam.transform import PlayGraph
    from motet.engines.ray.play import PlayedDataset
    from motet.engines.spark.frames import PlayedFrames


__all__ = ["ClusterGraph"]


class ClusterGraph(OpenGraph):
    """A graph as a part of what others run."""

    def as_ptransform(
        self,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        schema: Any = None,
        batch_rows: int | None = None,
        goes_on: bool = False,
        ship: bool = False,
        models: Any = None,
        one_stage: bool = False,
    ) -> PlayGraph:
        """This graph as a transform of Apache Beam: `played = rows | graph.as_ptransform()`, then `played.answers`, `played.failures`.

        Rows are dicts, named tuples, `beam.Row`s, or Arrow tables and record batches of them, also behind a key. An answer is
        of the same kind, with windows, time and key of its row: the columns that are kept, and the outputs. A row that fails is
        a row of `failures`: `row` (as it came), `node`, `model`, `version`, `error` and `message`.

        Args:
            keep: the columns to write beside the outputs; None is all but arrays and bytes that the graph takes.
            drop: columns to leave out.
            schema: of the tables that come, an Arrow schema; then `answers_schema` and `failures_schema` of the transform are known,
                and what does not fit is refused here.
            batch_rows: how many rows are played together at most; None goes by their size.
            goes_on: go on, with a failure for each row, where a model fails on everything, instead of ending the job with its error.
            ship: have the files of models at local paths go with the pipeline, to workers that do not have them.
            models: a PCollection whose elements, of which the last counts, tell of other models while the pipeline goes on: by names of
                models their URIs, or a `ModelMetadata`. Whatever comes has the aliases of stores looked at again; what comes
                to a worker after it is answered by what they mean then.
            one_stage: do not cut the graph where its nodes ask for different memory or accelerators, or keys choose from more models
                than may be loaded.

        Raises:
            MissingExtraError: when Beam is not installed.
            InputError: when an argument cannot be, or the columns do not fit.
            ModelLoadError: when a model is not there.
        """
        from motet.engines.splits.engine import imported

        imported("apache_beam", "beam")
        from motet.engines.beam.transform import PlayGraph

        return PlayGraph(
            self.checked, keep=keep, drop=drop, schema=schema, batch_rows=batch_rows, goes_on=goes_on, ship=ship,
            models=models, one_stage=one_stage, graph=self.changed(),
        )  # fmt: skip

    def as_model_handler(
        self, *, batch_rows: int | None = None, goes_on: bool = False, ship: bool = False
    ) -> GraphHandler:
        """This graph as a model handler of Apache Beam, for `RunInference` and what takes such a one (`KeyedModelHandler`).

        Examples are rows as `as_ptransform` takes them, but for tables. The `inference` of a result has the outputs; of a row that
        failed `row`, `node`, `model`, `version`, `error` and `message`. What `model_metadata_pcoll` or `watch_model_pattern` of
        `RunInference` names is the file of the graph's model, where it has one; a file inside a store says that its aliases are
        looked at again.

        Args:
            batch_rows, goes_on, ship: as for `as_ptransform`.

        Raises:
            MissingExtraError: when Beam is not installed.
            InputError: when an argument cannot be.
            ModelLoadError: when a model is not there.
        """
        from motet.engines.splits.engine import imported

        imported("apache_beam", "beam")
        from motet.engines.beam.handler import GraphHandler

        return GraphHandler(self.checked, self.changed(), batch_rows=batch_rows, goes_on=goes_on, ship=ship)

    def on_spark(
        self,
        frame: Any,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        row_ids: str | None = None,
        batch_rows: int | None = None,
        goes_on: bool = False,
        ship: bool = False,
    ) -> PlayedFrames:
        """This graph over a data frame of Spark: `played = graph.on_spark(frame)`, then `played.answers`, `played.failures`, two frames.

        Nothing runs before an action on one of them, and what is run then is kept for the other, until `played.unpersist()`, the end
        of a `with` block, or nobody holds them. Frames of streams are taken, too.

        Args:
            frame: a `pyspark.sql.DataFrame`.
            keep: the columns to write beside the outputs; None is all but arrays and bytes that the graph takes.
            drop: columns to leave out.
            row_ids: a column of answers and failures that says which row it is, as `monotonically_increasing_id` numbers them.
            batch_rows: how many rows are played together at most; None goes by their size. Batches have no more rows than
                `spark.sql.execution.arrow.maxRecordsPerBatch`.
            goes_on: go on, with a failure for each row, where a model fails on everything, instead of ending the job with its error.
            ship: have the files of models at local paths go with the job, to workers that do not have them.

        Raises:
            MissingExtraError: when Spark is not installed.
            InputError: when an argument cannot be, or the columns do not fit.
            ModelLoadError: when a model is not there.
        """
        from motet.engines.splits.engine import imported

        imported("pyspark", "spark")
        from motet.engines.spark.frames import play_frame

        return play_frame(
            self.checked,
            frame,
            keep=keep,
            drop=drop,
            row_ids=row_ids,
            batch_rows=batch_rows,
            goes_on=goes_on,
            ship=ship,
        )

    def on_ray(
        self,
        rows: Any,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        schema: Any = None,
        batch_rows: int | None = None,
        goes_on: bool = False,
        ship: bool = False,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        concurrency: int | None = None,
    ) -> PlayedDataset:
        """This graph over a data set of Ray: `played = graph.on_ray(rows)`, then `played.answers`, `played.failures`, two data sets.

        Both are computed once, when one of them is first asked for, in tasks of Ray, whose processes keep the models that they have
        loaded. `motet.ray.Play` plays in actors, as part of a pipeline.

        Args:
            rows: a `ray.data.Dataset`.
            keep: the columns to write beside the outputs; None is all but arrays and bytes that the graph takes.
            drop: columns to leave out.
            schema: of the rows, an Arrow schema; None asks the data set, which may read some of it.
            batch_rows: how many rows are played together at most; None goes by their size.
            goes_on: go on, with a failure for each row, where a model fails on everything, instead of ending with its error.
            ship: have the files of models at local paths go along, to nodes that do not have them.
            num_cpus, num_gpus: what a task has to itself, a part of one or whole ones; None goes by what the models ask for.
            concurrency: how many tasks go on at the same time at most.

        Raises:
            MissingExtraError: when Ray is not installed.
            InputError: when an argument cannot be, no node has room for a task, or the columns do not fit.
            ModelLoadError: when a model is not there.
        """
        from motet.engines.ray.play import play_dataset

        return play_dataset(
            self.checked, rows, keep=keep, drop=drop, schema=schema, batch_rows=batch_rows, goes_on=goes_on, ship=ship,
            num_cpus=num_cpus, num_gpus=num_gpus, concurrency=concurrency,
        )  # fmt: skip

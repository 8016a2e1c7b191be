"""Apache Spark: whole jobs, and graphs over other people's data frames.

engine.py   whole jobs, over splits
connect.py  the same through a server of Spark Connect
resources.py  what workers must have, as Spark is told it
java.py     the Java that Spark runs in
frames.py   `Graph.on_spark()`: which columns go in and out, and how answers and failures are computed once
play.py     what workers do: record batches of a partition are played, and what became of their rows is one frame
types.py    between types of columns and Spark's
"""

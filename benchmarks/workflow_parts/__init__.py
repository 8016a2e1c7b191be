"""The same chain of trivial steps with each tool; each module prints its figures as one line of JSON.

    python -m benchmarks.workflow_parts.with_joblib FOLDER STEPS

`import_s` is the import of the tool; `plain`, `cold` and `warm` are milliseconds a step: without keeping anything, keeping
everything for the first time, and taking everything from what was kept.
"""

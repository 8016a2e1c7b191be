"""Deciding with data: what a graph and each of its members are worth, measured on rows whose right answers are known.

    labelled.py ──► rows and their labels            metrics.py, intervals.py, calibration.py ──► numbers
    parts.py, recording.py ──► every member's answer to every row, once
    replay.py ──► the graph's answers with other settings, by its nodes' own code, from what was kept
    classes.py ──► answers and labels as the same classes
    evaluate.py ──► Evaluation (evaluation.py), as text (wording.py), JSON and a page (page.py, charts.py)
    heat.py, by_class.py ──► temperatures of members, thresholds of classes
    search.py ──► settings, tried      tune.py ──► Tuning (tuning.py)      tuned_file.py ──► settings in a graph file
    teach.py ──► scores of the graph, for a student

The models are called once for each row, whatever is asked afterwards.
"""

"""Drift: whether what a graph is given and answers now is spread as it was when it was tuned or evaluated.

    features.py ──► of columns and of members one number or text a row (a length, a confidence, whether two agree)
    bins.py ──► how many of them lie where: between quantiles, at values
    reference.py ──► a file of such counts; collect.py ──► made of rows, in bounded memory
    statistics.py ──► population stability index, Kolmogorov-Smirnov, chi-squared: sizes, and what chance does
    compare.py ──► counts beside counts; report.py, page.py ──► as text, JSON and a page
    rows.py ──► rows of a file, played or answered already

A server counts into the bins of a reference, so that what it shows is computed by the same code.
"""

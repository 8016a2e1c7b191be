"""What a run looks like: a page of its own, that needs nothing else.

page.py   the page      dag.py  the steps and what they wait for      gantt.py  when they ran
curves.py  metrics over time    site.py  all runs as pages
"""

from motet.workflow.page.page import framed, plan_page, run_page

__all__ = ["framed", "plan_page", "run_page"]

"""What a run looks like: a page of its own, that needs nothing else.

page.py   the page      dag.py  the steps and what they wait for      gantt.py  when they ran
"""

from motet.workflow.page.page import framed, plan_page, run_page

__all__ = ["framed", "plan_page", "run_page"]

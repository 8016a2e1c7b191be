"""Export: what is declared, as files that other systems run.

kubernetes/   manifests and a container file for graphs and workflows
"""

"""Export to Kubernetes: manifests for graphs and workflows, and the container file that they all run.

export.py      `export_kubernetes`: the whole folder       settings.py  what the command's options say
project.py     what goes into the image                    image.py     the container file
staging.py     copies of it, to build from                 locked.py    what pip installs   wheel.py  Motet itself
configuration.py  how servers are set up there             secrets.py   keys, certificates, variables
network.py     who may ask, and for metrics                readme.py    the page beside the manifests
server.py      a graph's server as a pod                   needs.py     from hints to requests and limits
deployment.py  kserve.py  two ways to run that pod         pods.py      what all pods have in common
steps.py       workflows, a step's command and its key     argo.py      a workflow for Argo
private.py     files that no image may have                trainjob.py  a step of several workers for Kubeflow
files.py       YAML
"""

from motet.export.kubernetes.export import SERVERS, Exported, export_kubernetes
from motet.export.kubernetes.settings import ExportSettings, cron_of, read_replicas

__all__ = ["SERVERS", "ExportSettings", "Exported", "cron_of", "export_kubernetes", "read_replicas"]

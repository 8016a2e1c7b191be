"""Asks servers of stored models."""

import json


def ask(connection, name, value=1.0):
    body = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [value]}]})
    connection.request("POST", f"/v2/models/{name}/infer", body)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    assert answer.status == 200, said
    return {output["name"]: output["data"][0] for output in said["outputs"]}

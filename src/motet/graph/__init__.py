"""What is declared: models, nodes, graphs; checking them, files of them, drawings of them.

model.py      what a graph says of a model
function.py   functions that graphs name
node.py       what every kind of node has (the kinds are in motet.nodes)
members.py    inputs and members of nodes, as files say them
graph.py      the graph
build.py      building one in Python
yaml.py       files
check.py      every mistake, found when a graph is built
condition/    the expressions of `when`
"""

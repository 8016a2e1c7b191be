"""What a server holds by name: graphs and models that are loaded, ready, replaced and unloaded.

repository.py     all of it; entry.py: one graph or model; placeholder.py: one whose models are not published yet
loader.py         models loaded and made ready to be played in batchers
changes.py        what the processes of a server tell each other to load, unload and scale
store_watcher.py  new versions of a store take the place of what was
autoscaler.py     replicas that become more and fewer
descriptions.py   what protocols say of all this
"""

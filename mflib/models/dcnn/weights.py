"""Which released MedicalNet file a network starts from, and where it lies on this machine.

Every file is pinned by repository, revision, name and SHA-256: the files on 8 and on 23 data sets fit the same network,
and a download that fails must not end in the other one without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mflib.base.errors import RunError
from mflib.base.files import sha256
from mflib.models.dcnn.compute import NetworkSettings


@dataclass(frozen=True)
class Release:
    """One released file on the Hugging Face hub.

    Parameters
    ----------
    repository, revision : where, and the commit that holds it
    sha256 : of its content, as the hub states it
    """

    repository: str
    revision: str
    sha256: str


def _release(depth: int, revision: str, sha256: str) -> Release:
    return Release(f"TencentMedicalNet/MedicalNet-Resnet{depth}", revision, sha256)


# Trained on 23 data sets (the paper names no file; these are MedicalNet's own recommendation) and on 8.
RELEASES = {
    "resnet_10_23dataset.pth": _release(
        10,
        "4a4b0ef72be0ddf85a2c0720e0a4855c8ac0f0a8",
        "afa8055f3e47f4a18239495d92a7abc587902c69c31c743de2b2784653b72605",
    ),
    # First uploaded beside depth 10, in a commit that still holds it.
    "resnet_18_23dataset.pth": _release(
        10,
        "3d5811d0e3943472fffedf90a4ca4f6fdb948e33",
        "61224f9317fcce873366deb3703183e92cc47325b726b69691b33536244e10f4",
    ),
    "resnet_34_23dataset.pth": _release(
        34,
        "38043c1af39ac39e70de7c92a4af8013eb275b31",
        "3ea7188e396774e4ef95b66e5e90a78273bb33f6e58d3d717bf24f5f1aaeaa28",
    ),
    "resnet_50_23dataset.pth": _release(
        50,
        "7cd767ef5bbc0bf26e691b04bc0d25df6d3cbc4b",
        "ff48a62219073fb977fd3f4ddfb8dc1367f0ec156c8d6f6c37e205bd683a246e",
    ),
    "resnet_10.pth": _release(
        10,
        "923db3dc91baf34c4fe10246651c7fe4dc675fee",
        "2824951eaef30e115929b89bec72342380b08d14792bda1449974ac849e497c0",
    ),
    "resnet_18.pth": _release(
        18,
        "ee59c99e39a995fb8c20f2a2650a66161e2df584",
        "38b3a17444c5c18a795355a868e6a2d9ce9318054067f5373d337f55c0f61da3",
    ),
    "resnet_34.pth": _release(
        34,
        "f903bf04dc54c16f6ab0014ff6b770c791255a9c",
        "977a1be79298602fa35980de9c03789229ad36087fb1f4d9bde468aec653c658",
    ),
    "resnet_50.pth": _release(
        50,
        "02061bf3be4aefd33724688f16dbcc058cdf1f13",
        "5b6189cafbee2f5604a7279b62bc163365aa6a86a377e1dc260a14275cacbd84",
    ),
}


HUB = "huggingface_hub"
NO_HUB = (
    "{name} comes from the Hugging Face hub, for which a package is missing here: pip install 'mflib[weights]'. Or "
    "fetch the file elsewhere and give its path (network_settings: weights), or start from random weights "
    "(pretrained: none)"
)


def find(settings: NetworkSettings) -> Path | None:
    """The file that the settings ask for; None where they ask for none, or where none is present and none is required.

    ``settings.weights`` is a path, or the name of a released file, which is looked for in the hub's cache on this
    machine and downloaded only where it is required. Both need the extra ``mflib[weights]``; without it none is
    present.

    Raises
    ------
    RunError
        Required and not to be had, or a released file whose SHA-256 is not the pinned one.
    """
    if settings.pretrained == "none":
        return None
    name = settings.weights or f"resnet_{settings.depth}_23dataset.pth"
    if name not in RELEASES:
        path = Path(name)
        if not path.is_file() and settings.pretrained == "required":
            raise RunError(
                f"found no weights at {path}, expected a MedicalNet file there (network_settings: weights), or one of "
                f"{', '.join(RELEASES)} to take it from the Hugging Face hub"
            )
        return path if path.is_file() else None
    found = _cached(name) or (_download(name) if settings.pretrained == "required" else None)
    if found is not None:
        _check(found, RELEASES[name].sha256)
    return found


def described(settings: NetworkSettings) -> str:
    """What the network starts from, in words."""
    found = find(settings)
    if found is None:
        missing = "" if settings.pretrained == "none" else ": no pretrained ones are present on this machine"
        return f"random weights{missing}"
    geometry = "" if settings.dilated else ", in a strided network, which is not the one that they were trained in"
    frozen = ", frozen" if settings.frozen else ""
    return f"pretrained weights {found.name} (SHA-256 {sha256(found)[:12]}){frozen}{geometry}"


def digest(settings: NetworkSettings) -> str | None:
    """SHA-256 of the file that `find` finds; None where it finds none."""
    found = find(settings)
    return None if found is None else sha256(found)


def _cached(name: str) -> Path | None:
    if find_spec(HUB) is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    release = RELEASES[name]
    found = try_to_load_from_cache(release.repository, name, revision=release.revision)
    return Path(found) if isinstance(found, str) else None


def _download(name: str) -> Path:
    if find_spec(HUB) is None:
        raise RunError(NO_HUB.format(name=name))
    from huggingface_hub import hf_hub_download

    release = RELEASES[name]
    print(f"downloading {name} from {release.repository} on the Hugging Face hub", flush=True)
    try:
        return Path(hf_hub_download(release.repository, name, revision=release.revision))
    except Exception as error:  # of whichever HTTP library the hub's own is built on
        raise RunError(
            f"{name} is required and could not be downloaded from {release.repository} at revision "
            f"{release.revision[:7]} ({type(error).__name__}: {error}). Where this machine has no network, fetch the "
            "file elsewhere and give its path (network_settings: weights); or start from random weights "
            "(pretrained: none)"
        ) from error


def _check(path: Path, expected: str) -> None:
    found = sha256(path)
    if found != expected:
        raise RunError(
            f"{path} has SHA-256 {found}, expected {expected}: it is damaged or not the released file; remove it"
        )

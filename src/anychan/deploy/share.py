"""`anychan share`: a finished run's model in a folder that can be given away, with a model card."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anychan.deploy.card import CardFacts, model_card
from anychan.errors import ConfigError, RunError
from anychan.files import read_json
from anychan.models.hub import push_folder
from anychan.models.pretrained import load, save
from anychan.training.run_folder import RunFolder

__all__ = ["Shared", "share_run"]

_PICTURE = "subsets.png"


@dataclass(frozen=True)
class Shared:
    """What `share_run` made.

    Args:
        files: names in the folder.
        url: the upload's address, where there was one.
    """

    files: tuple[str, ...]
    url: str | None


def share_run(
    run: str | Path, out: str | Path, *, license: str = "unknown", push: str | None = None, private: bool = False
) -> Shared:
    """Make a folder of a run's best model: weights, contract, model card (README.md), recipe, and a picture if any.

    Nothing in it tells where anything lies on this machine: of the recipe's paths only the last part is kept. The
    folder is whole or absent, and absent where it could not be uploaded.

    Args:
        run: a finished run's folder; the card holds what `anychan evaluate` wrote there.
        out: the folder to make; it may exist if it is empty.
        license: the model's licence, by the Hub's identifier, such as `"apache-2.0"`.
        push: a repository of the Hub to upload the folder to, such as `"someone/tiles"`, which is made if need be.
        private: make a new repository private.

    Raises:
        RunError: for a run that is not finished or was never tested, or a folder that cannot be made.
        ConfigError: for a licence that is no identifier, or an upload where huggingface_hub is not installed.
        ContractError: as `load`.
        HubError: when the Hub cannot be reached, or does not take the folder.
    """
    folder, out = RunFolder(run), Path(out)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise ConfigError(f"--license is {license!r}, but it must be an identifier of the Hub, such as apache-2.0")
    recipe = folder.load_recipe().map_paths(lambda path: Path(path).name)
    result = _result(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: this is not empty; give another folder with --out, or delete this one")
    evaluations = _evaluations(folder, result)
    drawn = folder.path / _PICTURE  # a link might lead to any file of this machine
    picture = _PICTURE if "" in evaluations and drawn.is_file() and not drawn.is_symlink() else None
    facts = CardFacts(result, recipe, evaluations, picture, license, push)
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}-") as made:
            whole = Path(made) / "folder"
            _write(whole, folder.path, facts)
            url = None if push is None else push_folder(whole, push, private=private or None)
            whole.replace(out)
    except OSError as error:
        raise RunError(f"{out}: the folder cannot be made ({error.strerror})") from None
    return Shared(tuple(sorted(path.name for path in out.iterdir())), url)


def _write(folder: Path, run: Path, facts: CardFacts) -> None:
    model = load(run)
    save(model, folder)
    facts.recipe.save(folder / "recipe.yaml")
    if facts.picture is not None:
        shutil.copyfile(run / facts.picture, folder / facts.picture)
    (folder / "README.md").write_text(model_card(model.contract, facts), encoding="utf-8")


def _result(folder: RunFolder) -> dict[str, Any]:
    if not folder.result.exists():
        raise RunError(f"{folder.path}: the run is not finished; the same `anychan train` command goes on with it")
    found = _read(folder.result)
    needed = {"test", "images", "epochs", "best_epoch", "seed", "versions", "precision", "device"}
    if not isinstance(found, dict) or needed - set(found):
        raise RunError(f"{folder.result}: the file is of an older anychan, or of a run that was never tested")
    return found


def _evaluations(folder: RunFolder, result: dict[str, Any]) -> dict[str, Any]:
    """The reports of the model as it is, on its own test images: of several sources one each."""
    names = {"": "subsets"} if "sources" not in result else {name: f"subsets-on-{name}" for name in result["sources"]}
    files = {name: folder.path / f"{stem}.json" for name, stem in names.items()}
    return {name: _read(path) for name, path in files.items() if path.is_file()}


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        raise RunError(f"{path}: the file is damaged; make it anew by `anychan train` or `anychan evaluate`") from None

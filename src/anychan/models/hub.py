"""A model's way to a folder and to the Hugging Face Hub, and back.

The methods are those of huggingface_hub's `ModelHubMixin`, by name and argument, but not inherited from it: the mixin
copies every dataclass that a model is made from, all weights included, to keep a `config.json`, and asks for that file
first; a contract is ours. So huggingface_hub is an extra, and is imported when the Hub is spoken to.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from anychan.errors import ConfigError, ContractError, HubError

if TYPE_CHECKING:
    from anychan.models.base import AnyChannelModel

__all__ = ["HubMethods", "fetch_folder", "push_folder"]

_SAVED = ("contract.json", "model.safetensors")


class HubMethods:
    """`save_pretrained`, `from_pretrained` and `push_to_hub`, for `AnyChannelModel`."""

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write `model.safetensors` and `contract.json` into a folder, as `anychan.save`."""
        from anychan.models.pretrained import save

        save(cast("AnyChannelModel", self), save_directory)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        backbone: nn.Module | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> AnyChannelModel:
        """Load a model from a folder, without any network, or from a repository of the Hub; in eval mode.

        Args:
            pretrained_model_name_or_path: a saved model's or run's folder; or, where there is no such folder, a
                repository, such as `"someone/tiles"`.
            backbone: for an adapted network of one's own (see `load`).
            revision: of the repository: a branch, tag or commit.
            token: for a private repository; default: the one that `hf auth login` keeps.
            cache_dir: where downloads are kept; default: the Hub's own cache folder.
            force_download: download what was downloaded before.
            local_files_only: take only what was downloaded before.

        Raises:
            ContractError: as `load`, or when this is neither a folder nor the name of a repository.
            ConfigError: for a repository where huggingface_hub is not installed.
            HubError: when the Hub cannot be reached, or does not give the model.
        """
        from anychan.models.pretrained import load

        found, more = Path(pretrained_model_name_or_path), {"token": token, "cache_dir": cache_dir}
        if not found.exists():
            more |= {"revision": revision, "force_download": force_download, "local_files_only": local_files_only}
            found = fetch_folder(str(pretrained_model_name_or_path), **more)
        return load(found, backbone=backbone)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload an anychan model",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Save the model and upload both files to a repository of the Hub, which is made if need be.

        `anychan share` uploads a run's model with a model card.

        Args:
            repo_id: such as `"someone/tiles"`.
            commit_message: of the one commit.
            private: whether a new repository is private; default: as the account says.
            token: default: the one that `hf auth login` keeps.
            branch: default: main.
            create_pr: propose the change as a pull request.

        Returns:
            The commit's address.

        Raises:
            ConfigError: where huggingface_hub is not installed.
            HubError: when the Hub cannot be reached, or does not take the model.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push_folder(
                Path(folder),
                repo_id,
                commit_message=commit_message,
                private=private,
                token=token,
                branch=branch,
                create_pr=create_pr,
            )


def fetch_folder(repo_id: str, **options: Any) -> Path:
    """Download a repository's weights and contract, or find them where they were downloaded before.

    Args:
        repo_id: the repository, `"owner/name"`.
        options: those of huggingface_hub's `snapshot_download`.

    Raises:
        ContractError, ConfigError, HubError: as `HubMethods.from_pretrained`.
    """
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", repo_id):
        raise ContractError(f"{repo_id}: there is no such folder, and a repository of the Hub is named owner/name")
    hub = _hub(f"{repo_id}: there is no such folder; to download it from the Hugging Face Hub,")
    try:
        return Path(hub.snapshot_download(repo_id, allow_patterns=list(_SAVED), **options))
    except Exception as error:  # each version of the library has another HTTP client's errors
        raise HubError(f"{repo_id}: there is no such folder, and the Hub does not give it ({_reason(error)})") from None


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    commit_message: str = "Upload an anychan model",
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload all files of a folder in one commit; arguments, result and errors as `HubMethods.push_to_hub`."""
    api = _hub(f"{repo_id}: to upload to the Hugging Face Hub,").HfApi(token=token, library_name="anychan")
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        how = {"commit_message": commit_message, "revision": branch, "create_pr": create_pr}
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder, **how))
    except Exception as error:  # as above
        raise HubError(f"{repo_id}: the Hub does not take the model ({_reason(error)})") from None


def _hub(why: str) -> Any:
    try:
        return import_module("huggingface_hub")
    except ImportError:
        raise ConfigError(f"{why} install huggingface_hub: pip install 'anychan[hub]'") from None


def _reason(error: Exception) -> str:
    """What went wrong, on one line, without what the library advises its own users."""
    if "HF_HUB_OFFLINE" in str(error):
        return "HF_HUB_OFFLINE is set"
    if getattr(getattr(error, "response", None), "status_code", None) == 401:
        return "not logged in, or by a token that is not valid; see `hf auth login`"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = getattr(error, "server_message", None) or (lines[0] if lines else type(error).__name__)
    return str(text).rstrip(".:")

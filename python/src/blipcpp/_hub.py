"""Models by name: the cache of the huggingface_hub package, and downloads into it by that package
or by the library.
"""

from __future__ import annotations

import importlib
import os
import warnings
from ctypes import byref, c_uint8, c_uint64, c_void_p, string_at
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

from ._c import c, decode, defaults, download_callback, encode, encode_path, texts, warning_callback
from ._callbacks import Callback, Interrupts
from ._errors import BlipError, BlipWarning, IoError, UsageError, check, made
from ._results import ModelInfo, info_of, record_of

if TYPE_CHECKING:
    Name = Union[str, "os.PathLike[str]"]
    DownloadProgress = Callable[[str, int, int], Any]


class KnownModel(NamedTuple):
    """A published checkpoint that people ask for by a short name."""

    short_name: str
    source: str  #: "ORG/NAME", or the address of an official .pth file
    task: str
    licence: str
    bytes: int  #: of the download, about


class CachedModel(NamedTuple):
    """A revision of a BLIP model in the cache."""

    name: str  #: "ORG/NAME"
    revision: str  #: the branch or tag that points to it, "" where none does
    commit: str
    bytes: int
    tasks: Tuple[str, ...]
    path: str  #: what Model.load takes, as it does the name


def pull(
    name: "Name",
    *,
    revision: Optional[str] = None,
    update: bool = False,
    offline: bool = False,
    cache: "Optional[Name]" = None,
    endpoint: Optional[str] = None,
    token: Optional[str] = None,
    progress: "Optional[DownloadProgress]" = None,
) -> str:
    """The folder of a model by its name, downloaded where the cache lacks it; Model.load does this
    by itself.

    name: "ORG/NAME", "ORG/NAME@REVISION" (a branch, a tag or a commit), or a short name of
    known_models(). A path that exists is itself.
    update: ask whether a revision that is there has moved on. offline: use no network. cache,
    endpoint, token: by default what the environment says, by the variables of the huggingface_hub
    package (HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN ...).
    progress: called with (file, bytes, of all). The huggingface_hub package, which downloads where
    it is installed, shows bars of its own instead.

    >>> import blipcpp
    >>> try:
    ...     blipcpp.pull("captoin-base")
    ... except blipcpp.UsageError as error:
    ...     print(str(error).split("; ")[-1])
    did you mean caption-base?
    """
    text = os.fsdecode(name)
    if os.path.exists(text) and not update:
        return text
    if revision is not None:
        if "@" in text:
            raise UsageError("revision and a name with @ exclude each other")
        text = "%s@%s" % (source_of(text), revision)
    options = _Options(offline, update, cache, endpoint, token, progress)
    package = None if offline else _their_package()
    if package is None or not c.is_model_name(encode_path(text)) or "://" in source_of(text):
        return options.path(c.pull, text)
    missing: Optional[BlipError] = None
    if not update:
        try:
            return options.path(c.find_model, text)
        except IoError as problem:
            missing = problem
    return _by_their_package(package, text, options, missing)


def find(name: "Name", *, cache: "Optional[Name]" = None) -> str:
    """The folder of a model that is in the cache; asks no network. IoError where it is not, with
    the nearest name.
    """
    return _Options(True, False, cache, None, None, None).path(c.find_model, os.fsdecode(name))


def models(*, cache: "Optional[Name]" = None) -> List[CachedModel]:
    """The BLIP models in the cache, by name."""
    options = _Options(True, False, cache, None, None, None)
    handle = made(c.cached_models, options.reference)
    try:
        count = c.model_list_count(handle)
        return [
            model
            for model in (_cached(c.model_list_at(handle, i).contents) for i in range(count))
            if model is not None
        ]
    finally:
        c.model_list_free(handle)


def known_models() -> List[KnownModel]:
    """The published checkpoints that have short names.

    >>> import blipcpp
    >>> blipcpp.known_models()[0].source
    'Salesforce/blip-image-captioning-base'
    """
    return [
        record_of(KnownModel, c.known_model_at(i).contents) for i in range(c.known_model_count())
    ]


def remove(name: str, *, cache: "Optional[Name]" = None) -> int:
    """Removes a model's revision from the cache, all of them where none is named; the bytes that
    became free.
    """
    options = _Options(True, False, cache, None, None, None)
    freed = c_uint64()
    check(c.remove_cached, encode(name), options.reference, freed)
    options.warn()
    return freed.value


def source_of(name: str) -> str:
    """What a short name stands for; else the name itself."""
    return next((model.source for model in known_models() if model.short_name == name), name)


class _Options(Callback):
    """blip_hub_options with what its callbacks do."""

    def __init__(
        self,
        offline: bool,
        update: bool,
        cache: "Optional[Name]",
        endpoint: Optional[str],
        token: Optional[str],
        progress: "Optional[DownloadProgress]",
    ) -> None:
        super().__init__()
        self.cache, self.endpoint, self.token = cache, endpoint, token
        self._messages: List[str] = []
        self._interrupts = Interrupts()
        struct = self._struct = defaults("hub_options")
        struct.offline, struct.update = offline, update
        if cache is not None:
            struct.cache = encode_path(cache)
        if endpoint is not None:
            struct.endpoint = encode(endpoint)
        if token is not None:
            struct.token = encode(token)
        if progress is not None:
            report = progress
            struct.progress = download_callback(
                lambda file, done, total, _: self._guarded(report, decode(file), done, total)
            )
        messages = self._messages
        struct.warning = warning_callback(lambda message, _: messages.append(decode(message)))
        struct.cancel = self._interrupts.callback
        self.reference = byref(struct)

    def path(self, function: Any, name: str) -> str:
        """What one of the functions that give a path gives."""
        path = self._interrupts.call(self.call, made, function, encode_path(name), self.reference)
        try:
            return os.fsdecode(string_at(path))
        finally:
            c.string_free(path)
            self.warn()

    def warn(self) -> None:
        for message in self._messages:
            warnings.warn(message, BlipWarning, stacklevel=4)


def _cached(struct: Any) -> Optional[CachedModel]:
    """None for a model of another kind, which the cache holds as well."""
    handle = c_void_p()
    try:
        handle = made(c.inspect, struct.path)
        info: ModelInfo = info_of(c.inspection_info(handle))
    except BlipError:
        return None
    finally:
        c.inspection_free(handle)
    return CachedModel(
        decode(struct.name),
        decode(struct.revision),
        decode(struct.commit),
        struct.bytes,
        info.tasks,
        os.fsdecode(struct.path),
    )


def _their_package() -> Any:
    """The huggingface_hub package, where it is installed and may use the network; the library says
    why it may not.
    """
    try:
        package = importlib.import_module("huggingface_hub")
        constants = importlib.import_module("huggingface_hub.constants")
    except ImportError:
        return None
    return None if constants.HF_HUB_OFFLINE else package


def _by_their_package(
    package: Any, text: str, options: _Options, missing: Optional[BlipError]
) -> str:
    """Downloads the files that the library would, by the huggingface_hub package."""
    repository, _, revision = source_of(text).partition("@")
    given: Dict[str, Any] = {"endpoint": options.endpoint, "token": options.token}
    try:
        info = package.HfApi(**given).model_info(repository, revision=revision or None)
        names = [file.rfilename for file in info.siblings or []]
        wanted = _wanted(names)
        if not wanted:
            raise IoError(
                "%s has no weights that can be read: looked for .safetensors, .bin, .gguf, .pth"
                % text
            )
        given["cache_dir"] = None if options.cache is None else os.fspath(options.cache)
        for file in wanted:
            package.hf_hub_download(repository, file, revision=info.sha, **given)
        # Last of all the branch: a revision that the cache knows is whole.
        package.hf_hub_download(repository, wanted[0], revision=revision or None, **given)
    except BlipError:
        raise
    except Exception as problem:  # of requests, of httpx, of the package: by its version
        raise _refused(text, problem, missing) from problem
    # Whole by the library's own measure, too.
    return options.path(c.find_model, "%s@%s" % (repository, info.sha))


def _wanted(names: List[str]) -> List[str]:
    marks = (c_uint8 * len(names))()
    check(c.wanted_files, texts(names), len(names), marks)
    return [name for name, mark in zip(names, marks) if mark]


def _refused(text: str, problem: Exception, missing: Optional[BlipError]) -> BlipError:
    """What the package's exception means here."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    told = "; ".join(lines[:3]) or type(problem).__name__
    kind = type(problem).__name__
    if kind == "GatedRepoError":
        hint = "accept its terms on its page, then give an access token (HF_TOKEN, `hf auth login`)"
    elif kind == "RepositoryNotFoundError":
        hint = (
            "check the name, or give an access token (HF_TOKEN, `hf auth login`) if it is private"
        )
    elif kind == "RevisionNotFoundError":
        hint = "the model has no such revision"
    else:
        hint = (
            "check the network and its proxy, name a mirror in HF_ENDPOINT, or give the path of a "
            "copy"
        )
    near = "; did you mean "  # what the library knows of names
    _, _, names = str(missing or "").partition(near)
    return IoError(
        "%s is not in the cache and cannot be downloaded: %s; %s%s"
        % (text, told, hint, near + names if names else "")
    )

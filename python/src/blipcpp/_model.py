"""Model: a loaded checkpoint and its tasks."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from ctypes import byref, c_int32, c_void_p
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
    overload,
)

from ._arrays import tensor
from ._c import c, decode, defaults, encode, encode_path, generate_options, path_list
from ._c import progress_callback
from ._c import texts as c_texts
from ._callbacks import Callback
from ._errors import UsageError, check, made
from ._images import Image, is_many, listed
from ._resolve import adapter_paths, resolve
from ._results import (
    Attention,
    Generation,
    Match,
    ModelInfo,
    NetworkUse,
    Text,
    Token,
    generations_of,
    info_of,
    matches_of,
    record_of,
)
from ._sessions import Pool, Use

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Literal, TypedDict, Unpack

    from ._images import ImageLike
    from ._resolve import Name

    Progress = Callable[[str, int, int], Any]
    Picture = Union["Encoded", ImageLike]

    class GenerateOptions(TypedDict, total=False):
        """How a text is generated; lengths count tokens with the prompt. None is the library's
        default.
        """

        beams: Optional[int]  # 1 = greedy; default 3
        min_length: Optional[int]
        max_length: Optional[int]
        length_penalty: Optional[float]
        repetition_penalty: Optional[float]
        sample: bool
        top_p: Optional[float]
        top_k: Optional[int]
        min_p: Optional[float]
        temperature: Optional[float]
        seed: int
        forbid_words: Union[None, str, Sequence[str]]  # "dog|cat" is two words
        force_words: Union[None, str, Sequence[str]]  # of "dog|cat" one
        no_repeat_ngram: Optional[int]  # 0 = off
        on_token: Optional[Callable[[Token], Any]]

    class CaptionOptions(GenerateOptions, total=False):
        prompt: Optional[str]
        num_captions: int
        batch_size: int

    class AskOptions(GenerateOptions, total=False):
        num_answers: int
        max_text_length: int


HEADS = {"all": 0, "itm": 1, "itc": 2}
ITM_TOKENS = {"cls": 0, "enc": 1}
FEATURES = {"image": 0, "image-projected": 1, "text": 2, "text-projected": 3, "multimodal": 4}
STAGES = {"pixels": 0, "vision": 1, "text": 2, "question": 3}
_NAN = float("nan")


class Encoded:
    """A picture after the vision tower: encode once, then caption, match and ask as often as you
    like.

    >>> import blipcpp
    >>> model = blipcpp.Model.load()
    >>> picture = model.encode("cat-bus.png")
    >>> str(model.caption(picture)), str(model.ask(picture, "what color is the bus?"))
    ('a cat to the left of a bus on a pink background', 'blue')
    """

    __slots__ = ("_handle", "__weakref__")

    def __init__(self, handle: c_void_p) -> None:
        self._handle = handle

    def __del__(self, _free: Any = c.encoded_free) -> None:
        _free(getattr(self, "_handle", None))

    def __reduce__(self) -> Any:
        raise UsageError(
            "an encoded picture lives in its model's memory: send the picture, and encode it there"
        )

    @property
    def preprocess_ms(self) -> float:
        """Milliseconds to resize and normalise."""
        return float(c.encoded_preprocess_ms(self._handle))

    @property
    def encode_ms(self) -> float:
        """Milliseconds in the vision tower; the batch's time divided by its pictures."""
        return float(c.encoded_encode_ms(self._handle))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds now; grows when a task first adds its keys and values."""
        return int(c.encoded_bytes(self._handle))

    def __repr__(self) -> str:
        return "<blipcpp.Encoded, %.1f ms>" % (self.preprocess_ms + self.encode_ms)


class _Engine:
    """A blip_engine and its sessions; freed with the last model, picture or session that uses
    it.
    """

    __slots__ = ("handle", "pool", "process")

    def __init__(self, handle: c_void_p, threads: int) -> None:
        self.handle = handle
        self.pool = Pool(handle, threads)
        self.process = os.getpid()

    def __del__(self, _free: Any = c.engine_free) -> None:
        _free(self.handle)


def _choice(value: str, known: "dict[str, int]", what: str) -> int:
    try:
        return known[value]
    except (KeyError, TypeError):
        raise UsageError("unknown %s %r; use %s" % (what, value, ", ".join(known))) from None


# Fields of blip_generate_options that are lists, and the fields of their lengths.
_WORDS = {"forbid_words": "forbid_word_count", "force_words": "force_word_count"}
# Names of blip_generate_options' fields that callers use; num_return has a name for each task.
GENERATE_NAMES = tuple(
    field[0]
    for field in generate_options._fields_
    if not field[0].startswith("reserved")
    and field[0] not in ("struct_size", "num_return", *_WORDS.values())
)


def _words(struct: Any, name: str, value: "Union[str, Sequence[str]]") -> None:
    words = [value] if isinstance(value, str) else list(value)
    for word in words:
        if not isinstance(word, str):
            raise UsageError("%s must be texts, not %r" % (name, word))
    setattr(struct, name, c_texts(words))
    setattr(struct, _WORDS[name], len(words))


def _generate(options: "dict[str, Any]", num_return: int) -> Any:
    """Takes blip_generate_options out of keyword arguments. None stands for the default."""
    struct = defaults("generate_options")
    given = {name: options.pop(name) for name in GENERATE_NAMES if name in options}
    for name, value in [*given.items(), ("num_return", num_return)]:
        if value is None:
            continue
        if name in _WORDS:
            _words(struct, name, value)
            continue
        if isinstance(value, bool) and name != "sample":
            raise UsageError("%s must be a number, not %r" % (name, value))
        try:
            setattr(struct, name, value)
        except TypeError:
            raise UsageError("%s must be a number, not %r" % (name, value)) from None
    return struct


def _all_known(options: "dict[str, Any]", method: str) -> None:
    if options:
        raise TypeError(
            "%s() got an unexpected keyword argument %r" % (method, next(iter(options)))
        )


class Model:
    """A loaded BLIP model. Immutable, and safe to use from any number of threads: each call takes a
    session of its own.

    After a fork the child loads the model anew at its first call, for threads do not survive that;
    pictures that were encoded before are refused there. It can be pickled, as its file's name:
    processes that are spawned load it, too.

    >>> import blipcpp
    >>> model = blipcpp.Model.load()
    >>> str(model.caption("clock.png"))
    'a clock on a gray background'
    >>> [round(m.match_probability, 2) for m in model.match("clock.png", ["a clock", "a dog"])]
    [1.0, 0.0]
    >>> model.ask("balloons.png", "how many balloons are there?").text
    'two'
    """

    def __init__(
        self, path: str, options: "dict[str, Any]", progress: "Optional[Progress]" = None
    ) -> None:
        """Use Model.load."""
        self._path, self._options = path, options
        self._lock = threading.Lock()
        self._loaded: Optional[_Engine] = self._load(progress)
        self.info: ModelInfo = info_of(c.engine_info(self._loaded.handle))
        _models.add(self)

    @classmethod
    def load(
        cls,
        name_or_path: "Optional[Name]" = None,
        *,
        device: str = "cpu",
        dtype: str = "auto",
        threads: int = 0,
        session_threads: int = 0,
        tokenizer: "Optional[Name]" = None,
        bmodels: "Sequence[Name]" = (),
        adapter: "Union[None, Name, Sequence[Name]]" = None,
        progress: "Optional[Progress]" = None,
    ) -> "Model":
        """Opens a model: a Hugging Face folder, an official .pth, a .safetensors or a .gguf file;
        or one by its name, "ORG/NAME", "ORG/NAME@REVISION" or a short name of
        blipcpp.known_models(), downloaded once (blipcpp.pull).

        name_or_path: None is the model of $BLIP_MODEL, else the small one that comes with the
        package.
        device: "cpu", or a SOPHON chip ("sophon:0") for compiled models (bmodels, tokenizer).
        dtype: "auto", "f32", "bf16", "int8". threads: 0 = every core that this process may use.
        session_threads: threads of their own for the sessions of each calling thread; 0 shares the
        model's.
        adapter: a LoRA adapter as peft saves it, or several, merged into the model: folders or
        names. An adapter can be given as the model too, which is then the base that it states.
        progress: called with (stage, done, total) while tensors are loaded, and before that with
        (file, bytes, of all) where the library downloads the model.

        >>> import blipcpp
        >>> model = blipcpp.Model.load(threads=1)
        >>> model
        <blipcpp.Model blip-demo on cpu, f32, 1 thread: caption, match, embed, ask, rank, attention>
        """
        adapters = adapter_paths(adapter, progress)
        options = {
            "device": device,
            "dtype": dtype,
            "threads": threads,
            "session_threads": session_threads,
            "tokenizer": None if tokenizer is None else os.fspath(tokenizer),
            "bmodels": [os.fspath(path) for path in bmodels],
            "adapters": adapters,
        }
        path = "" if bmodels else resolve(name_or_path, progress, adapters)
        return cls(path, options, progress)

    def __reduce__(self) -> Any:
        """Pickled, it is the name of its file: another process loads it there."""
        return Model, (self._path, self._options)

    def _load(self, progress: "Optional[Progress]" = None) -> _Engine:
        given = self._options
        options = defaults("engine_options")
        dtype, error = c_int32(), c_void_p()
        from ._errors import failure

        status = c.dtype_parse(encode(given["dtype"]), dtype, error)
        if status:
            raise failure(status, error)
        options.dtype = dtype
        options.threads = given["threads"]
        options.device = encode(given["device"])
        if given["tokenizer"] is not None:
            options.tokenizer = encode_path(given["tokenizer"])
        options.bmodels, options.bmodel_count = path_list(given["bmodels"])
        options.adapters, options.adapter_count = path_list(given["adapters"])
        report = _Progress(progress)
        options.progress = report.callback
        handle = report.call(made, c.engine_load, encode_path(self._path), byref(options))
        return _Engine(handle, given["session_threads"])

    @property
    def _engine(self) -> _Engine:
        engine = self._loaded
        if engine is not None:
            return engine
        with self._lock:  # a child after a fork
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _session(self) -> Use:
        return self._engine.pool.use()

    @property
    def device(self) -> str:
        return decode(c.engine_device(self._engine.handle))

    @property
    def dtype(self) -> str:
        """The number type in use, never "auto"."""
        return decode(c.dtype_name(c.engine_dtype(self._engine.handle)))

    @property
    def threads(self) -> int:
        return int(c.engine_threads(self._engine.handle))

    def __repr__(self) -> str:
        threads = "%d thread%s" % (self.threads, "" if self.threads == 1 else "s")
        tasks = ", ".join(self.info.tasks)
        return "<blipcpp.Model %s on %s, %s, %s: %s>" % (
            self.info.name,
            self.device,
            self.dtype,
            threads,
            tasks,
        )

    def prepare(self, image: "ImageLike") -> Image:
        """The picture in the model's size, which is the slow part of what encode does first: for
        another thread.
        """
        picture = Image.of(image)
        return Image(made(c.engine_prepare, self._engine.handle, picture._handle))

    def count_tokens(self, text: str) -> int:
        """Tokens of a text without those that the model puts around it. A caption after this prompt
        begins with as many and one more.

        >>> import blipcpp
        >>> blipcpp.Model.load().count_tokens("a picture of")
        3
        """
        count = ctypes.c_size_t()
        check(c.engine_count_tokens, self._engine.handle, encode(text), count)
        return count.value

    def decode(self, token_ids: "Union[Sequence[int], npt.NDArray[np.int32]]") -> str:
        """The text of token ids, as captions are written: without special tokens.

        >>> import blipcpp
        >>> blipcpp.Model.load().decode([362, 37, 277, 260, 37, 168])
        'a picture of a clock'
        """
        ids = (c_int32 * len(token_ids))(*[int(id) for id in token_ids])
        text = made(c.engine_decode, self._engine.handle, ids, len(ids))
        try:
            return decode(ctypes.string_at(text))
        finally:
            c.string_free(text)

    # ---- encode ----

    @overload
    def encode(  # type: ignore[overload-overlap]
        self, image: "Picture", *, batch_size: int = 8
    ) -> Encoded: ...

    @overload
    def encode(self, image: "Sequence[Picture]", *, batch_size: int = 8) -> "List[Encoded]": ...

    def encode(self, image: Any, *, batch_size: int = 8) -> Any:
        """Runs the vision tower over a picture, or over several in batches."""
        encoded, _ = self._encode(listed(image), batch_size)
        return encoded if is_many(image) else encoded[0]

    def _encode(
        self, images: Sequence[Any], batch_size: int
    ) -> "Tuple[List[Encoded], List[Tuple[float, float]]]":
        """Encoded pictures, and the times of those that were not encoded yet."""
        if batch_size < 1:
            raise UsageError("batch_size must be at least 1, not %d" % batch_size)
        encoded: List[Any] = [image if isinstance(image, Encoded) else None for image in images]
        times = [(_NAN, _NAN)] * len(images)
        new = [i for i, there in enumerate(encoded) if there is None]
        for first in range(0, len(new), batch_size):
            chunk = new[first : first + batch_size]
            pictures = [Image.of(images[i]) for i in chunk]
            handles = (c_void_p * len(chunk))(*[picture._handle.value for picture in pictures])
            made_handles = (c_void_p * len(chunk))()
            with self._session() as session:
                check(c.session_encode, session, handles, len(chunk), made_handles)
            for i, handle in zip(chunk, made_handles):
                one = Encoded(c_void_p(handle))
                encoded[i] = one
                times[i] = one.preprocess_ms, one.encode_ms
        return encoded, times

    def _one(self, image: Any) -> "Tuple[Encoded, Tuple[float, float]]":
        encoded, times = self._encode([image], 1)
        return encoded[0], times[0]

    # ---- captions ----

    @overload
    def caption(  # type: ignore[overload-overlap]
        self, image: "Picture", **options: "Unpack[CaptionOptions]"
    ) -> Generation: ...

    @overload
    def caption(
        self, image: "Sequence[Picture]", **options: "Unpack[CaptionOptions]"
    ) -> List[Generation]: ...

    def caption(self, image: Any, **options: Any) -> Any:
        """Describes a picture, or each of several.

        prompt: the caption continues it, and it is not part of the result; None is the model's
        own, "" none.
        num_captions: so many texts in `all`, best first: beams, or samples with sample=True.
        batch_size: pictures for one pass.
        beams (3; 1 is greedy), min_length (5) and max_length (20) in tokens with the prompt,
        length_penalty, repetition_penalty, and for sample=True top_p, top_k, min_p, temperature
        and seed: how the text is generated.
        forbid_words: words or phrases that are not written. force_words: of each entry one
        alternative ("cat|dog") is written; beams only. no_repeat_ngram: no run of so many tokens is
        written twice; 0 is off. Words are tokenised as every text is, and mean that run of tokens.
        on_token: called with each Token as it is decided; one picture, beams=1 or sample=True.

        >>> import blipcpp
        >>> model = blipcpp.Model.load()
        >>> str(model.caption("clock.png", forbid_words=["gray"]))
        'a clock on a green background'
        >>> str(model.caption("cat-bus.png", force_words=["above|below"]))
        'a cat above a bus on a pink background'
        >>> caption = model.caption("fox-crown.png", num_captions=3)
        >>> caption
        <Generation 'a fox above a crown on a purple background', score -0.0003>
        >>> len(caption.all), caption.token_ids[:3]
        (3, array([362,  37, 277], dtype=int32))
        >>> [str(c) for c in model.caption(["clock.png", "balloons.png"], beams=1)]
        ['a clock on a gray background', 'two balloons on a purple background']
        """
        struct = defaults("caption_options")
        prompt, batch_size = options.pop("prompt", None), options.pop("batch_size", 8)
        if prompt is not None:
            struct.prompt = encode(prompt)
        struct.generate = ctypes.pointer(_generate(options, options.pop("num_captions", 1)))
        report = _Tokens(options.pop("on_token", None))
        struct.on_token = report.callback
        _all_known(options, "caption")
        encoded, times = self._encode(listed(image), batch_size)
        results: List[Generation] = []
        for first in range(0, len(encoded), batch_size):
            chunk = encoded[first : first + batch_size]
            handles = (c_void_p * len(chunk))(*[one._handle.value for one in chunk])
            with self._session() as session:
                handle = report.call(
                    made, c.session_caption, session, handles, len(chunk), byref(struct)
                )
            results += generations_of(handle, times[first : first + batch_size])
        return results if is_many(image) else results[0]

    def captions(
        self,
        images: "Iterable[Picture]",
        *,
        batch_size: int = 8,
        workers: int = 2,
        progress: "Optional[Callable[[int, Optional[int]], Any]]" = None,
        errors: "Literal['raise', 'yield']" = "raise",
        **options: Any,
    ) -> "Iterator[Any]":
        """Captions of many pictures, in order, as soon as they are there. The next ones are read
        and resized by `workers` threads meanwhile; no more than a few batches are ever held.

        progress: called with (done, total) after each picture; total is None where images has no
        length.
        errors: "raise" ends at a picture that cannot be read; "yield" gives the exception in its
        place and goes on. Other arguments are those of caption.

        >>> import blipcpp, glob
        >>> model = blipcpp.Model.load()
        >>> for caption in model.captions(sorted(glob.glob("*.png"))[:2]):
        ...     print(caption)
        two balloons on a purple background
        a bicycle above a ghost above a sheep on an orange background
        """
        from ._many import in_batches

        _choice(errors, {"raise": 0, "yield": 1}, "errors")

        def caption(pictures: Any) -> Any:
            return self.caption(pictures, batch_size=batch_size, **options)

        return in_batches(self, images, caption, batch_size, workers, progress, errors == "raise")

    # ---- questions ----

    @overload
    def ask(  # type: ignore[overload-overlap]
        self, image: "Picture", question: str, **options: "Unpack[AskOptions]"
    ) -> Generation: ...

    @overload
    def ask(
        self, image: "Picture", question: Sequence[str], **options: "Unpack[AskOptions]"
    ) -> List[Generation]: ...

    def ask(self, image: Any, question: Any, **options: Any) -> Any:
        """Answers a question about a picture, or several at once.

        num_answers: so many texts in `all`. max_text_length: tokens that questions are truncated
        to; 0 = the model's. Other options as for caption, but for prompt and batch_size; answers
        have 1 to 10 tokens.

        >>> import blipcpp
        >>> model = blipcpp.Model.load()
        >>> questions = ["what is to the right of the cat?", "is there a dog?"]
        >>> [str(answer) for answer in model.ask("cat-bus.png", questions)]
        ['bus', 'no']
        """
        struct = defaults("ask_options")
        struct.generate = ctypes.pointer(_generate(options, options.pop("num_answers", 1)))
        struct.max_text_length = options.pop("max_text_length", 0)
        report = _Tokens(options.pop("on_token", None))
        struct.on_token = report.callback
        _all_known(options, "ask")
        questions = _strings(question, "question")
        encoded, times = self._one(image)
        with self._session() as session:
            handle = report.call(
                made,
                c.session_ask,
                session,
                encoded._handle,
                c_texts(questions),
                len(questions),
                byref(struct),
            )
        answers = generations_of(handle, [times] * len(questions))
        return answers[0] if isinstance(question, str) else answers

    def rank(
        self,
        image: "Picture",
        question: str,
        answers: Sequence[str],
        *,
        candidates: int = 128,
        max_text_length: int = 0,
    ) -> Generation:
        """Ranks given answers to a question: `all` holds them, best first; their scores are minus
        their losses.

        candidates: so many are kept by their first token.

        >>> import blipcpp
        >>> model = blipcpp.Model.load()
        >>> answers = ["dog", "bus", "cat"]
        >>> str(model.rank("cat-bus.png", "what is to the right of the cat?", answers))
        'bus'
        """
        options = defaults("ask_options")
        options.rank_candidates = candidates
        options.max_text_length = max_text_length
        texts = _strings(answers, "answers")
        encoded, times = self._one(image)
        with self._session() as session:
            handle = made(
                c.session_rank,
                session,
                encoded._handle,
                encode(question),
                c_texts(texts),
                len(texts),
                byref(options),
            )
        return generations_of(handle, [times])[0]

    # ---- streams ----

    def stream(
        self, image: "Picture", question: Optional[str] = None, **options: Any
    ) -> "Iterator[Token]":
        """The tokens of a caption, or of the answer to a question, as they are decided. Leaving the
        loop ends the work.

        Options are those of caption or ask; beams is 1 unless sample=True.

        >>> import blipcpp
        >>> model = blipcpp.Model.load()
        >>> [token.text for token in model.stream("clock.png")][:3]
        ['a', 'a clock', 'a clock on']
        """
        from ._many import stream

        options.setdefault("beams", 1)
        task: Callable[..., Any] = self.caption
        if question is not None:
            ask, words = self.ask, question
            task = lambda picture, **more: ask(picture, words, **more)  # noqa: E731
        return stream(lambda on_token: task(image, on_token=on_token, **options))

    # ---- matching ----

    @overload
    def match(  # type: ignore[overload-overlap]
        self,
        image: "Picture",
        text: str,
        *,
        head: str = "all",
        max_text_length: int = 0,
        itm_token: str = "cls",
    ) -> Match: ...

    @overload
    def match(
        self,
        image: "Picture",
        text: Sequence[str],
        *,
        head: str = "all",
        max_text_length: int = 0,
        itm_token: str = "cls",
    ) -> List[Match]: ...

    @overload
    def match(
        self,
        image: "Sequence[Picture]",
        text: Union[str, Sequence[str]],
        *,
        head: str = "all",
        max_text_length: int = 0,
        itm_token: str = "cls",
    ) -> List[Any]: ...

    def match(
        self,
        image: Any,
        text: Any,
        *,
        head: str = "all",
        max_text_length: int = 0,
        itm_token: str = "cls",
    ) -> Any:
        """How well a text, or each of several, fits a picture (for several pictures: a list of
        results for each).

        head: "itm" gives the probability alone, in half of the time of both; "itc" the cosine.
        itm_token: what a text begins with for the probability: "cls", as in the published demo and
        transformers, or "enc", as in training and the official evaluation.

        >>> import blipcpp
        >>> model = blipcpp.Model.load()
        >>> match = model.match("clock.png", "a clock")
        >>> round(match.match_probability, 3), round(match.cosine, 2)
        (1.0, 0.68)
        """
        options = defaults("match_options")
        options.head = _choice(head, HEADS, "head")
        options.itm_token = _choice(itm_token, ITM_TOKENS, "ITM token")
        options.max_text_length = max_text_length
        texts = _strings(text, "text")
        words = c_texts(texts)
        results = []
        for encoded in self._encode(listed(image), 8)[0]:
            with self._session() as session:
                handle = made(
                    c.session_match, session, encoded._handle, words, len(texts), byref(options)
                )
            matches = matches_of(handle)
            results.append(matches[0] if isinstance(text, str) else matches)
        return results if is_many(image) else results[0]

    # ---- statements about two pictures ----

    @overload
    def nlvr(  # type: ignore[overload-overlap]
        self, first: "Picture", second: "Picture", text: str, *, max_text_length: int = 0
    ) -> float: ...

    @overload
    def nlvr(
        self,
        first: "Picture",
        second: "Picture",
        text: Sequence[str],
        *,
        max_text_length: int = 0,
    ) -> "npt.NDArray[np.float32]": ...

    def nlvr(
        self, first: "Picture", second: "Picture", text: Any, *, max_text_length: int = 0
    ) -> Any:
        """How likely a statement, or each of several, holds for two pictures, 0 to 1, by a model
        trained on NLVR2: true is above 0.5. `first` is the left picture.

        max_text_length: 0 reads a statement whole, up to the model's own limit.
        """
        options = defaults("nlvr_options")
        options.max_text_length = max_text_length
        texts = _strings(text, "text")
        encoded = self._encode([first, second], 2)[0]
        with self._session() as session:
            probabilities = tensor(
                made(
                    c.session_nlvr,
                    session,
                    encoded[0]._handle,
                    encoded[1]._handle,
                    c_texts(texts),
                    len(texts),
                    byref(options),
                )
            )
        return float(probabilities[0]) if isinstance(text, str) else probabilities

    # ---- vectors and attention ----

    def embed(
        self, image: "Union[Picture, Sequence[Picture]]", *, batch_size: int = 8
    ) -> "npt.NDArray[np.float32]":
        """The ITC vector of a picture, [embed_dim], or of several, [n, embed_dim]; of length 1, so
        that dot products with those of texts are cosines.

        >>> import blipcpp
        >>> model = blipcpp.Model.load()
        >>> pictures, text = model.embed(["clock.png", "cat-bus.png"]), model.embed_text("a cat")
        >>> pictures.shape, int((pictures @ text).argmax())
        ((2, 128), 1)
        """
        encoded = self._encode(listed(image), batch_size)[0]
        handles = (c_void_p * len(encoded))(*[one._handle.value for one in encoded])
        with self._session() as session:
            vectors = tensor(made(c.session_embed_images, session, handles, len(encoded)))
        return vectors if is_many(image) else vectors[0]

    def embed_text(
        self, text: Union[str, Sequence[str]], *, max_text_length: int = 0
    ) -> "npt.NDArray[np.float32]":
        """As embed, of a text or of several."""
        options = defaults("embed_options")
        options.max_text_length = max_text_length
        texts = _strings(text, "text")
        with self._session() as session:
            vectors = tensor(
                made(c.session_embed_texts, session, c_texts(texts), len(texts), byref(options))
            )
        return vectors[0] if isinstance(text, str) else vectors

    def features(
        self,
        kind: str,
        image: "Optional[Picture]" = None,
        text: Optional[str] = None,
        *,
        max_text_length: int = 0,
    ) -> "npt.NDArray[np.float32]":
        """Features of single tokens, as LAVIS' feature extractor gives them: [tokens, width].

        kind: "image" of a picture, "text" of a text alone, "multimodal" of a text over a picture,
        "image-projected" and "text-projected" as the ITC heads compare them: [tokens, embed_dim],
        each of length 1.
        max_text_length: 0 reads a text whole, up to the model's own limit.

        >>> import blipcpp
        >>> model = blipcpp.Model.load()
        >>> model.features("image", "clock.png").shape
        (65, 192)
        >>> model.features("multimodal", "clock.png", "a clock").shape
        (4, 192)
        """
        options = defaults("embed_options")
        options.max_text_length = max_text_length
        given = _choice(kind, FEATURES, "kind")
        encoded = None if image is None else self._one(image)[0]
        with self._session() as session:
            features: "npt.NDArray[np.float32]" = tensor(
                made(
                    c.session_features,
                    session,
                    given,
                    None if encoded is None else encoded._handle,
                    None if text is None else encode(text),
                    byref(options),
                )
            )
        return features

    def attention(
        self,
        image: "Picture",
        text: Union[str, Text],
        question: Optional[str] = None,
        *,
        layers: int = 0,
        prompt: Optional[str] = None,
        max_text_length: int = 0,
    ) -> Attention:
        """Where the model looked for each word of a caption, or (question given) of an answer to
        it.

        text: what caption or ask gave, or any text, which is read as if the model had written it.
        layers: the last so many of each tower's; 0 = the later half. prompt: the caption's, as it
        was given to caption.

        >>> import blipcpp
        >>> model = blipcpp.Model.load()
        >>> picture = model.encode("cat-bus.png")
        >>> look = model.attention(picture, model.caption(picture))
        >>> look.words[:3], look.weights.shape
        (['a', 'cat', 'to'], (12, 8, 8))
        """
        options = defaults("attention_options")
        options.layers = layers
        options.max_text_length = max_text_length
        if prompt is not None:
            options.prompt = encode(prompt)
        words, ids = encode(str(text)), None
        count = 0
        if isinstance(text, Text):
            ids = text.token_ids.ctypes.data_as(ctypes.POINTER(c_int32))
            count = len(text.token_ids)
        encoded = self._one(image)[0]
        with self._session() as session:
            arguments = (words, ids, count, byref(options))
            if question is None:
                return Attention(
                    made(c.session_attend_caption, session, encoded._handle, *arguments)
                )
            return Attention(
                made(
                    c.session_attend_answer, session, encoded._handle, encode(question), *arguments
                )
            )

    def dump(
        self, stage: str, image: "ImageLike", text: Optional[str] = None
    ) -> "npt.NDArray[np.float32]":
        """What a stage computes ("pixels", "vision", "text", "question"), to compare with a
        reference.

        >>> import blipcpp
        >>> blipcpp.Model.load().dump("vision", "clock.png").shape
        (1, 65, 192)
        """
        number = _choice(stage, STAGES, "stage")
        picture = Image.of(image)
        with self._session() as session:
            words = None if text is None else encode(text)
            return tensor(made(c.session_dump, session, number, picture._handle, words))

    def networks(self) -> List[NetworkUse]:
        """The networks of a compiled model and what they have done; else none."""
        handle = made(c.engine_networks, self._engine.handle)
        try:
            return [
                record_of(NetworkUse, c.networks_at(handle, i).contents)
                for i in range(c.networks_count(handle))
            ]
        finally:
            c.networks_free(handle)


def _strings(value: Any, what: str) -> List[str]:
    texts = [value] if isinstance(value, str) else list(value)
    for text in texts:
        if not isinstance(text, str):
            raise UsageError("%s must be a text or a list of texts, not %r" % (what, text))
    return texts


class _Progress(Callback):
    def __init__(self, progress: "Optional[Progress]") -> None:
        super().__init__()
        self.callback = progress_callback()
        if progress is not None:
            report = progress
            self.callback = progress_callback(
                lambda stage, done, total, _: self._guarded(report, decode(stage), done, total)
            )


class _Tokens(Callback):
    def __init__(self, on_token: "Optional[Callable[[Token], Any]]") -> None:
        from ._c import token_callback

        super().__init__()
        self.callback = token_callback()
        if on_token is not None:
            report = on_token
            self.callback = token_callback(
                lambda id, text, _: self._guarded(report, Token(id, decode(text)))
            )


# In a child after a fork nothing of these engines may be used, nor may locks that other threads
# held.
_models: "weakref.WeakSet[Model]" = weakref.WeakSet()


def _after_fork() -> None:
    for model in list(_models):
        model._loaded = None
        model._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

/* libblip for every language: the C interface, which is also the library's binary interface (ABI).
 *
 *   blip_error* error = NULL;
 *   blip_engine* engine = NULL;
 *   blip_session* session = NULL;
 *   blip_image* image = NULL;
 *   blip_encoded* encoded = NULL;
 *   blip_generations* captions = NULL;
 *   if (blip_engine_load("model.gguf", NULL, &engine, &error) == BLIP_OK &&
 *       blip_session_new(engine, NULL, &session, &error) == BLIP_OK &&
 *       blip_image_from_file("cat.jpg", NULL, &image, &error) == BLIP_OK &&
 *       blip_session_encode(session, (const blip_image* const*)&image, 1, &encoded, &error) ==
 *           BLIP_OK &&
 *       blip_session_caption(session, (const blip_encoded* const*)&encoded, 1, NULL, &captions,
 *                            &error) == BLIP_OK)
 *     puts(blip_generations_at(captions, 0, 0)->text);
 *   else
 *     fputs(blip_error_message(error), stderr);
 *   blip_error_free(error);
 *   blip_generations_free(captions);  // and so on with the others, in any order
 *
 * Errors. A function that can fail returns a blip_status, and takes as its last argument where to
 * leave a blip_error with the message (NULL: nowhere). On success *error is set to NULL; what it
 * held before is overwritten, not freed. Outputs are set to NULL where a call fails. Nothing is
 * kept per thread, so that a scheduler may move its tasks between calls.
 *
 * Handles. What a function gives out through a pointer to a handle belongs to the caller, who frees
 * it with the _free of its type; NULL may be freed. Handles keep what they need alive: they may be
 * freed in any order, a session's engine before the session. A NULL handle, or one of another type,
 * is BLIP_ERROR_USAGE; accessors, which return no status, then return NULL, zero or, for numbers
 * that may be missing, NaN.
 *
 * Records. Results are read through `const` structs that belong to their handle and live as long as
 * it does. Options are structs of the caller. Both begin with struct_size, and grow at their end
 * alone:
 *   - Options: fill them with their _default function, to which the caller says the size that its
 *     header gives them, then set fields. NULL stands for the defaults. Fields beyond a smaller
 *     struct_size, of a program built with an older header, take their defaults. Fields that this
 *     library does not know, of a newer header, must be zero, which _default sees to; anything
 *     else is BLIP_ERROR_USAGE, as is a struct_size that no header could have given.
 *   - Records: a field is there if struct_size covers it.
 *
 * Threads. Engines, images, encoded pictures and results may be used by several threads at once. A
 * session works for one call at a time: a second one meanwhile, from another thread or from a
 * callback, is BLIP_ERROR_USAGE. blip_session_cancel alone may be called at any time. Callbacks are
 * called by the thread that made the call; they must return (no longjmp, no exception through
 * them).
 *
 * Processes. An engine's threads do not survive fork(): in the child, calls that take an engine, a
 * session or an encoded picture from before the fork are BLIP_ERROR_USAGE, and freeing them does
 * nothing. Load the model again there.
 *
 * Texts are UTF-8 and end with a zero byte. Enumerations are int32_t with the constants below;
 * where a value is none of them, the call is BLIP_ERROR_USAGE.
 *
 * ABI. Every function here has the symbol version BLIP_0, after BLIP_ABI_VERSION, which is the
 * library's SOVERSION too. It is raised when a program built with an older header would no longer
 * work; functions and fields are added without that. Only this header is ABI: blip.h and the other
 * headers in C++ promise source compatibility alone. */
#ifndef BLIP_C_H
#define BLIP_C_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define BLIP_C_API __attribute__((visibility("default")))
#else
#define BLIP_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define BLIP_ABI_VERSION 0

/* The ABI version of the library that runs: a program built with another BLIP_ABI_VERSION must not
 * go on. */
BLIP_C_API int32_t blip_abi_version(void);
/* "1.2.3" */
BLIP_C_API const char* blip_version(void);

/* ---- Errors ---- */

typedef int32_t blip_status;
enum {
  BLIP_OK = 0,
  BLIP_ERROR_USAGE = 1,       /* an argument that makes no sense */
  BLIP_ERROR_IO = 2,          /* a file that cannot be opened, read or written */
  BLIP_ERROR_IMAGE = 3,       /* bytes that are no picture we can decode, or over a limit */
  BLIP_ERROR_MODEL = 4,       /* a checkpoint that is damaged, incomplete or of an unknown kind */
  BLIP_ERROR_UNSUPPORTED = 5, /* the model or device lacks what was asked for */
  BLIP_ERROR_DEVICE = 6,      /* a device or its runtime is missing or failed */
  BLIP_ERROR_CANCELLED = 7,   /* a callback or blip_session_cancel ended the call */
  BLIP_ERROR_MEMORY = 8,      /* memory ran out */
  BLIP_ERROR_INTERNAL = 9     /* a mistake of the library: please report it */
};

typedef struct blip_error blip_error;

/* "ok", "usage", "io", "image", "model", "unsupported", "device", "cancelled", "memory",
 * "internal"; else "unknown". */
BLIP_C_API const char* blip_status_name(blip_status status);
BLIP_C_API blip_status blip_error_status(const blip_error* error); /* of NULL: BLIP_OK */
BLIP_C_API const char* blip_error_message(
    const blip_error* error); /* what, where and what to do; of NULL: "" */
BLIP_C_API void blip_error_free(blip_error* error);

/* ---- Callbacks; user_data is that of the options they stand in ---- */

/* done counts from 0 to total, of what stage, a short word, names. Not zero ends the call with
 * BLIP_ERROR_CANCELLED. */
typedef int32_t (*blip_progress_callback)(const char* stage, size_t done, size_t total,
                                          void* user_data);
/* Asked between stages and between decoding steps. Not zero ends the call with
 * BLIP_ERROR_CANCELLED. */
typedef int32_t (*blip_cancel_callback)(void* user_data);
/* A text was truncated, or the like. */
typedef void (*blip_warning_callback)(const char* message, void* user_data);
/* A token was decided: its id and the text so far, without the prompt. Not zero ends the call with
 * BLIP_ERROR_CANCELLED. */
typedef int32_t (*blip_token_callback)(int32_t id, const char* text, void* user_data);

/* ---- Number types ---- */

enum {
  BLIP_DTYPE_AUTO = 0, /* f32 for small models, else the fastest type on the processor */
  BLIP_DTYPE_F32 = 1,  /* the reference's answers token for token */
  BLIP_DTYPE_BF16 = 2,
  BLIP_DTYPE_INT8 = 3,
  BLIP_DTYPE_F16 = 4 /* compiled models alone */
};

/* "auto", "f32", "bf16", "int8", "f16"; "unknown" for another number. */
BLIP_C_API const char* blip_dtype_name(int32_t dtype);
BLIP_C_API blip_status blip_dtype_parse(const char* name, int32_t* dtype, blip_error** error);

/* ---- Pictures: 8-bit RGB, rows from top to bottom, EXIF orientation applied ---- */

typedef struct blip_image blip_image;

/* What a picture may cost before it is refused, and how it is read. */
typedef struct blip_image_options {
  uint32_t struct_size;
  uint32_t reserved;   /* 0 */
  uint64_t max_bytes;  /* encoded size of one picture; 0 = no limit. Default 256 MiB */
  uint64_t max_pixels; /* width x height before decoding; 0 = no limit. Default 178956970 */
  uint64_t max_memory; /* of decoding, in bytes beside the file; 0 = no limit. Default 1 GiB */
  /* What transparent pixels are laid over: "#rrggbb", "#rgb" or one of CSS's sixteen basic
     names. Default NULL: their alpha is dropped, as Pillow's convert("RGB") does. */
  const char* background;
} blip_image_options;
BLIP_C_API void blip_image_options_default(blip_image_options* options, uint32_t struct_size);

/* Read a picture, found by content: its first frame or page. `blip formats` lists what this build
   reads. BLIP_ERROR_IO or BLIP_ERROR_IMAGE. */
BLIP_C_API blip_status blip_image_from_file(const char* path, const blip_image_options* options,
                                            blip_image** image, blip_error** error);
BLIP_C_API blip_status blip_image_from_memory(const void* bytes, size_t size,
                                              const blip_image_options* options, blip_image** image,
                                              blip_error** error);
/* What a picture's header says. A record of the caller: set struct_size, the rest is filled as far
 * as that covers it. */
typedef struct blip_image_info {
  uint32_t struct_size;
  int32_t width, height; /* upright: EXIF orientation applied */
  uint32_t reserved;
  uint64_t decode_bytes; /* of memory that decoding takes beside the file, the pixels included: an
                            upper estimate */
  const char* format;    /* "JPEG", "PNG", "WebP", ..., as `blip formats` names them; never freed */
} blip_image_info;
/* Reads the header alone and checks it against the limits. The pixels may still turn out to be
 * damaged. */
BLIP_C_API blip_status blip_image_inspect(const void* bytes, size_t size,
                                          const blip_image_options* options, blip_image_info* info,
                                          blip_error** error);
/* Copies width x height RGB pixels; stride is bytes per row, 0 = 3 x width. */
BLIP_C_API blip_status blip_image_from_rgb(const uint8_t* rgb, int32_t width, int32_t height,
                                           size_t stride, blip_image** image, blip_error** error);
/* The picture at another size, by the bicubic filter of Pillow. */
BLIP_C_API blip_status blip_image_resized(const blip_image* image, int32_t width, int32_t height,
                                          blip_image** resized, blip_error** error);
BLIP_C_API int32_t blip_image_width(const blip_image* image);
BLIP_C_API int32_t blip_image_height(const blip_image* image);
BLIP_C_API const uint8_t* blip_image_data(
    const blip_image* image); /* [height, width, 3], tightly packed */
BLIP_C_API void blip_image_free(blip_image* image);

/* ---- Models ---- */

/* One of the parts that a model may hold. */
typedef struct blip_part_info {
  uint32_t struct_size;
  int32_t layers, width, heads, mlp;
  int32_t reserved;
  uint64_t parameters;
  const char* name; /* "vision", "text_encoder", "caption_decoder", "question_encoder",
                       "answer_decoder", "nlvr_encoder" */
  const char* type; /* of its tensors in the file: "f32", "f16", "bf16", "q8_0" or "mixed" */
} blip_part_info;

typedef struct blip_model_info {
  uint32_t struct_size;
  int32_t image_size, patch_size, vocab_size;
  int32_t embed_dim; /* length of ITC vectors; 0 = the model has none */
  /* What it can do: 0 or 1. */
  int32_t can_caption, can_match_itm, can_match_itc, can_ask, can_rank, can_attend;
  int32_t fixed_length; /* compiled models that decode greedily to a fixed length: that length; 0 =
                           free */
  int32_t max_length;   /* longest caption or answer in tokens, prompt included; 0 = it writes none,
                           or not told */
  int32_t text_length;  /* texts and questions are truncated to so many tokens unless options say
                           otherwise; 0 = reads none */
  int32_t max_text_length; /* the most that max_text_length of options may say */
  int32_t bos_token, eos_token,
      pad_token;          /* ids that begin and end captions and answers, and that pad; -1 = none */
  int32_t question_token; /* the id that begins questions; -1 = none */
  int32_t reserved;
  uint64_t parameters;
  const char* prompt; /* what its captions continue unless options say otherwise */
  const char* path;
  const char* format; /* "safetensors", "torch", "gguf", "bmodel" */
  const char* name;   /* from the file's metadata, else the file or folder name */
  size_t part_count;
  const blip_part_info* const* parts;
  size_t warning_count;
  const char* const* warnings; /* what its files say and is not followed, a sentence each */
  size_t adapter_count;
  const char* const* adapters; /* LoRA adapters that were merged into it, by name */
  int32_t can_nlvr;            /* 0 or 1 */
  uint32_t reserved2;          /* 0 */
} blip_model_info;

/* What a model file holds, read without loading its weights. */
typedef struct blip_inspection blip_inspection;
BLIP_C_API blip_status blip_inspect(const char* path, blip_inspection** inspection,
                                    blip_error** error);
BLIP_C_API const blip_model_info* blip_inspection_info(const blip_inspection* inspection);
BLIP_C_API void blip_inspection_free(blip_inspection* inspection);

/* ---- Engines: a loaded model on a device, immutable ---- */

typedef struct blip_engine blip_engine;

typedef struct blip_engine_options {
  uint32_t struct_size;
  int32_t dtype;      /* BLIP_DTYPE_...; default AUTO */
  int32_t threads;    /* 0 = every core that this process may use (default); else 1 to 1024 */
  uint32_t reserved;  /* 0 */
  const char* device; /* NULL = "cpu" (default); "sophon:N", "sophon:0,1" or "sophon:all" for
                         compiled models */
  /* sophon: the files of one compiled model; path is then ignored. Default none. */
  const char* const* bmodels;
  size_t bmodel_count;
  const char* tokenizer;           /* sophon: vocab.txt, tokenizer.json or a folder with one; NULL =
                                      bert-base-uncased (default) */
  blip_progress_callback progress; /* of loading, by tensor; NULL = none (default) */
  void* user_data;
  /* LoRA adapters as peft saves them, merged when the model is loaded: folders, or names that are
   * in the Hugging Face cache. Several add up. Default none. */
  const char* const* adapters;
  size_t adapter_count;
} blip_engine_options;
BLIP_C_API void blip_engine_options_default(blip_engine_options* options, uint32_t struct_size);

/* path: a Hugging Face folder, an official .pth, a pytorch_model.bin, a .safetensors or a .gguf
 * file, a folder with a LoRA adapter, whose base model is then looked for, or a name of any as
 * blip_find_model takes it; on a SOPHON chip a .bmodel or a folder of compiled networks. path may
 * be NULL with bmodels. */
BLIP_C_API blip_status blip_engine_load(const char* path, const blip_engine_options* options,
                                        blip_engine** engine, blip_error** error);
BLIP_C_API const blip_model_info* blip_engine_info(const blip_engine* engine);
BLIP_C_API int32_t
blip_engine_dtype(const blip_engine* engine); /* the type in use, never AUTO; -1 for no engine */
BLIP_C_API int32_t blip_engine_threads(const blip_engine* engine);
BLIP_C_API const char* blip_engine_device(const blip_engine* engine);
/* The picture in the model's size: what blip_session_encode does first, for another thread while a
 * session is at work. */
BLIP_C_API blip_status blip_engine_prepare(const blip_engine* engine, const blip_image* image,
                                           blip_image** prepared, blip_error** error);
/* The tokens of a text without those that the model puts around it, before any truncation; 0 for a
 * text that has none. A caption after this prompt begins with as many tokens and one more. */
BLIP_C_API blip_status blip_engine_count_tokens(const blip_engine* engine, const char* text,
                                                size_t* count, blip_error** error);
/* The text of token ids, as captions and answers are written: without special tokens and those
 * beyond the vocabulary. */
BLIP_C_API blip_status blip_engine_decode(const blip_engine* engine, const int32_t* token_ids,
                                          size_t count, char** text, blip_error** error);
BLIP_C_API void blip_string_free(char* text);
BLIP_C_API void blip_engine_free(blip_engine* engine);

/* A network of a compiled model and what it has done since it was loaded. */
typedef struct blip_network_use {
  uint32_t struct_size;
  int32_t cores; /* of the chip, for one launch */
  const char* device;
  const char* name;
  const char* inputs; /* "f32 [1, 3, 384, 384]", one after the other */
  const char* outputs;
  uint64_t launches;
  double milliseconds; /* of all launches together */
} blip_network_use;

typedef struct blip_networks blip_networks;
BLIP_C_API blip_status blip_engine_networks(const blip_engine* engine, blip_networks** networks,
                                            blip_error** error);
BLIP_C_API size_t blip_networks_count(const blip_networks* networks); /* 0 for models of weights */
BLIP_C_API const blip_network_use* blip_networks_at(const blip_networks* networks, size_t index);
BLIP_C_API void blip_networks_free(blip_networks* networks);

/* ---- Sessions: what runs tasks, one call at a time ---- */

typedef struct blip_session blip_session;

typedef struct blip_session_options {
  uint32_t struct_size;
  int32_t threads; /* threads of its own, 1 to 1024; 0 = shares the engine's, of which one session
                      computes at a time (default) */
  blip_cancel_callback cancel;   /* NULL = never (default) */
  blip_warning_callback warning; /* NULL = warnings are dropped (default) */
  void* user_data;
} blip_session_options;
BLIP_C_API void blip_session_options_default(blip_session_options* options, uint32_t struct_size);

BLIP_C_API blip_status blip_session_new(const blip_engine* engine,
                                        const blip_session_options* options, blip_session** session,
                                        blip_error** error);
/* From any thread: the call that the session is at ends with BLIP_ERROR_CANCELLED soon. Without one
 * it does nothing. */
BLIP_C_API void blip_session_cancel(blip_session* session);
/* Not while the session is at work. */
BLIP_C_API void blip_session_free(blip_session* session);

/* A picture after the vision tower. Encode once, then caption, match and ask as often as you like,
 * with sessions of the engine that made it. */
typedef struct blip_encoded blip_encoded;

/* One batch. encoded has room for count handles; all are set, or all NULL. */
BLIP_C_API blip_status blip_session_encode(blip_session* session, const blip_image* const* images,
                                           size_t count, blip_encoded** encoded,
                                           blip_error** error);
BLIP_C_API double blip_encoded_preprocess_ms(
    const blip_encoded* encoded); /* resize and normalise; NaN for no handle */
BLIP_C_API double blip_encoded_encode_ms(
    const blip_encoded* encoded); /* vision tower; the batch's time / its pictures */
BLIP_C_API uint64_t
blip_encoded_bytes(const blip_encoded* encoded); /* of memory that it holds now; grows with tasks */
BLIP_C_API void blip_encoded_free(blip_encoded* encoded);

/* ---- Captions and answers ---- */

typedef struct blip_text {
  uint32_t struct_size;
  float score; /* beams: summed log-probability / generated tokens^length_penalty; ranked: minus the
                  summed loss; else the summed log-probability; NaN: not told (compiled models) */
  const char* text;         /* without the prompt */
  size_t text_bytes;        /* without the zero at its end */
  const int32_t* token_ids; /* with the prompt; the end token stays where it was generated */
  size_t token_count;
} blip_text;

/* Texts for each of several inputs (pictures, questions). */
typedef struct blip_generations blip_generations;
BLIP_C_API size_t blip_generations_count(const blip_generations* generations); /* inputs */
BLIP_C_API size_t blip_generations_texts(const blip_generations* generations,
                                         size_t input); /* texts of one */
BLIP_C_API const blip_text* blip_generations_at(
    const blip_generations* generations, size_t input,
    size_t rank); /* rank 0 is the best; NULL beyond the last */
BLIP_C_API double blip_generations_decode_ms(const blip_generations* generations,
                                             size_t input); /* batch's time / inputs */
BLIP_C_API void blip_generations_free(blip_generations* generations);

/* How a text is generated. Lengths count tokens, prompt included. A compiled model may have its
 * fixed-length decoding compiled in (fixed_length): anything but the defaults is then
 * BLIP_ERROR_UNSUPPORTED, save beams = 1. */
typedef struct blip_generate_options {
  uint32_t struct_size;
  int32_t beams;      /* 1 = greedy; 1 to 64. Default 3 */
  int32_t min_length; /* the end token is forbidden before it; -1 = the task's (default): captions
                         5, answers 1 */
  int32_t
      max_length; /* generation stops there; -1 = the task's (default): captions 20, answers 10 */
  float length_penalty;     /* beam scores are divided by (generated tokens)^penalty. Default 1 */
  float repetition_penalty; /* > 1 discourages tokens already in the text. Default 1 */
  int32_t sample; /* not zero: draw from the distribution; beams is then ignored. Default 0 */
  float top_p; /* sampling: smallest set of tokens holding this probability; 1 = off. Default 0.9 */
  int32_t top_k;      /* sampling: only the k most likely tokens; 0 = off (default) */
  float temperature;  /* sampling: > 1 flatter, < 1 sharper; must be > 0. Default 1 */
  uint64_t seed;      /* sampling: same seed, same texts. Default 0 */
  int32_t num_return; /* texts per input; at most beams unless sampling. Default 1 */
  uint32_t reserved;  /* 0 */
  /* Words that are not written. Each entry is a word or a phrase, or several separated by '|'.
   * They are tokenised as texts are, and mean that run of tokens. Default none. */
  const char* const* forbid_words;
  size_t forbid_word_count;
  /* Beam search: of each entry, one of the alternatives that '|' separates is written. Fewer texts
   * than num_return come where no more have them all; BLIP_ERROR_USAGE where none has. Default
   * none. */
  const char* const* force_words;
  size_t force_word_count;
  int32_t no_repeat_ngram; /* no run of so many tokens is written twice; 0 = off (default) */
  uint32_t reserved2;      /* 0 */
  float min_p; /* sampling: only tokens of at least this share of the likeliest one's probability;
                  0 = off (default) */
  uint32_t reserved3; /* 0 */
} blip_generate_options;
BLIP_C_API void blip_generate_options_default(blip_generate_options* options, uint32_t struct_size);

typedef struct blip_caption_options {
  uint32_t struct_size;
  uint32_t reserved;  /* 0 */
  const char* prompt; /* captions continue it; NULL = the model's (default), "" = none */
  const blip_generate_options* generate; /* NULL = defaults (default) */
  blip_token_callback
      on_token; /* one input, greedy or sampling: as each token is decided; NULL = none (default) */
  void* user_data;
} blip_caption_options;
BLIP_C_API void blip_caption_options_default(blip_caption_options* options, uint32_t struct_size);

BLIP_C_API blip_status blip_session_caption(blip_session* session,
                                            const blip_encoded* const* images, size_t count,
                                            const blip_caption_options* options,
                                            blip_generations** captions, blip_error** error);

typedef struct blip_ask_options {
  uint32_t struct_size;
  int32_t rank_candidates; /* ranking: answers kept by their first token. Default 128 */
  int32_t
      max_text_length; /* questions are truncated to so many tokens; 0 = the model's (default) */
  uint32_t reserved;   /* 0 */
  const blip_generate_options* generate; /* NULL = defaults (default) */
  blip_token_callback on_token; /* as for captions, of the only question; NULL = none (default) */
  void* user_data;
} blip_ask_options;
BLIP_C_API void blip_ask_options_default(blip_ask_options* options, uint32_t struct_size);

/* An answer for each question, one batch. */
BLIP_C_API blip_status blip_session_ask(blip_session* session, const blip_encoded* image,
                                        const char* const* questions, size_t count,
                                        const blip_ask_options* options, blip_generations** answers,
                                        blip_error** error);
/* Ranks given answers to one question; the result has one input whose texts are the answers that
 * survived, best first. */
BLIP_C_API blip_status blip_session_rank(blip_session* session, const blip_encoded* image,
                                         const char* question, const char* const* answers,
                                         size_t count, const blip_ask_options* options,
                                         blip_generations** ranked, blip_error** error);

/* ---- Matches ---- */

enum { BLIP_HEAD_ALL = 0, BLIP_HEAD_ITM = 1, BLIP_HEAD_ITC = 2 };
enum { BLIP_ITM_TOKEN_CLS = 0, BLIP_ITM_TOKEN_ENC = 1 };

typedef struct blip_match_options {
  uint32_t struct_size;
  int32_t head; /* ITM gives the probability, ITC the cosine; ALL = those the model has (default) */
  int32_t max_text_length; /* texts are truncated to so many tokens, 3 to the model's; 0 = its
                              text_length (default) */
  uint32_t reserved;       /* 0 */
  int32_t itm_token;  /* what a text begins with for the ITM head: CLS, as in the published demo and
                         transformers (default), or ENC, as in training and the official evaluation;
                         BLIP_ERROR_UNSUPPORTED where the vocabulary has no [ENC] */
  uint32_t reserved2; /* 0 */
} blip_match_options;
BLIP_C_API void blip_match_options_default(blip_match_options* options, uint32_t struct_size);

typedef struct blip_matches blip_matches;
BLIP_C_API blip_status blip_session_match(blip_session* session, const blip_encoded* image,
                                          const char* const* texts, size_t count,
                                          const blip_match_options* options, blip_matches** matches,
                                          blip_error** error);
BLIP_C_API size_t blip_matches_count(const blip_matches* matches);
/* count values in the order of the texts. NaN: the model lacks the head, or it was not asked for.
 */
BLIP_C_API const float* blip_matches_probabilities(const blip_matches* matches); /* 0 to 1 */
BLIP_C_API const float* blip_matches_cosines(const blip_matches* matches);       /* -1 to 1 */
/* The ITM head's number for "fits" before the softmax; NaN also where a compiled model gives the
   probability alone. */
BLIP_C_API const float* blip_matches_logits(const blip_matches* matches);
BLIP_C_API void blip_matches_free(blip_matches* matches);

/* ---- Tensors: float32, row-major ---- */

typedef struct blip_tensor blip_tensor;
BLIP_C_API size_t blip_tensor_rank(const blip_tensor* tensor);
BLIP_C_API const int64_t* blip_tensor_shape(const blip_tensor* tensor);
BLIP_C_API const float* blip_tensor_data(const blip_tensor* tensor);
BLIP_C_API void blip_tensor_free(blip_tensor* tensor);

/* ---- Statements about two pictures (NLVR2) ---- */

typedef struct blip_nlvr_options {
  uint32_t struct_size;
  int32_t max_text_length; /* as in blip_match_options */
} blip_nlvr_options;
BLIP_C_API void blip_nlvr_options_default(blip_nlvr_options* options, uint32_t struct_size);

/* How likely each statement holds for two pictures, 0 to 1; true is above 0.5: [count]. The order
 * of the pictures counts: first is the left one. A statement is read as it is, and whole, up to the
 * model's max_text_length, unless options say otherwise. */
BLIP_C_API blip_status blip_session_nlvr(blip_session* session, const blip_encoded* first,
                                         const blip_encoded* second, const char* const* statements,
                                         size_t count, const blip_nlvr_options* options,
                                         blip_tensor** probabilities, blip_error** error);

/* ---- Vectors and features ---- */

typedef struct blip_embed_options {
  uint32_t struct_size;
  int32_t max_text_length; /* as in blip_match_options */
} blip_embed_options;
BLIP_C_API void blip_embed_options_default(blip_embed_options* options, uint32_t struct_size);

/* ITC vectors, L2-normalised: [count, embed_dim]. */
BLIP_C_API blip_status blip_session_embed_images(blip_session* session,
                                                 const blip_encoded* const* images, size_t count,
                                                 blip_tensor** vectors, blip_error** error);
BLIP_C_API blip_status blip_session_embed_texts(blip_session* session, const char* const* texts,
                                                size_t count, const blip_embed_options* options,
                                                blip_tensor** vectors, blip_error** error);

enum {
  BLIP_FEATURES_IMAGE = 0,
  BLIP_FEATURES_IMAGE_PROJECTED = 1,
  BLIP_FEATURES_TEXT = 2,
  BLIP_FEATURES_TEXT_PROJECTED = 3,
  BLIP_FEATURES_MULTIMODAL = 4
};
/* Features of single tokens, as LAVIS' feature extractor gives them: of the picture, of the text
 * alone, or of the text over the picture. [tokens, width], or [tokens, embed_dim] where projected
 * by the ITC heads, each then of length 1. image is NULL for kinds of texts, text for kinds of
 * pictures. A text is read whole, up to the model's max_text_length, unless options say otherwise.
 */
BLIP_C_API blip_status blip_session_features(blip_session* session, int32_t kind,
                                             const blip_encoded* image, const char* text,
                                             const blip_embed_options* options,
                                             blip_tensor** features, blip_error** error);

enum {
  BLIP_STAGE_PIXELS = 0,  /* [1, 3, S, S] normalised picture */
  BLIP_STAGE_VISION = 1,  /* [1, N, D] image tokens */
  BLIP_STAGE_TEXT = 2,    /* [1, T, D] text encoder over the picture (ITM) */
  BLIP_STAGE_QUESTION = 3 /* [1, T, D] question encoder over the picture */
};
/* What a stage computes, to compare with a reference. text: of the last two stages, else NULL. */
BLIP_C_API blip_status blip_session_dump(blip_session* session, int32_t stage,
                                         const blip_image* image, const char* text,
                                         blip_tensor** tensor, blip_error** error);

/* ---- Attention: where the model looked while it wrote a text ---- */

typedef struct blip_attention_options {
  uint32_t struct_size;
  int32_t layers;          /* the last so many of each tower's; 0 = the later half (default) */
  int32_t max_text_length; /* of the question, as in blip_ask_options */
  uint32_t reserved;       /* 0 */
  const char*
      prompt; /* the caption's, which its token ids begin with; NULL = the model's (default) */
} blip_attention_options;
BLIP_C_API void blip_attention_options_default(blip_attention_options* options,
                                               uint32_t struct_size);

typedef struct blip_attention blip_attention;
/* token_ids: those of the caption's blip_text, or NULL: the text is then read as if the model had
 * written it. */
BLIP_C_API blip_status blip_session_attend_caption(blip_session* session, const blip_encoded* image,
                                                   const char* caption, const int32_t* token_ids,
                                                   size_t token_count,
                                                   const blip_attention_options* options,
                                                   blip_attention** attention, blip_error** error);
BLIP_C_API blip_status blip_session_attend_answer(blip_session* session, const blip_encoded* image,
                                                  const char* question, const char* answer,
                                                  const int32_t* token_ids, size_t token_count,
                                                  const blip_attention_options* options,
                                                  blip_attention** attention, blip_error** error);
/* Which words: of the caption or the answer, or (question not zero) of the question that was
 * answered. */
BLIP_C_API size_t blip_attention_words(const blip_attention* attention, int32_t question);
BLIP_C_API const char* blip_attention_word(const blip_attention* attention, int32_t question,
                                           size_t index);
/* [words, side, side]: each word's weights over the picture squashed to a square, together 1. NULL
 * without words. */
BLIP_C_API const float* blip_attention_weights(const blip_attention* attention, int32_t question);
BLIP_C_API int32_t blip_attention_side(const blip_attention* attention); /* patches along an edge */
BLIP_C_API void blip_attention_free(blip_attention* attention);

/* ---- Devices and files ---- */

typedef struct blip_device_info {
  uint32_t struct_size;
  uint32_t reserved;
  const char* id;          /* "cpu", "sophon:0" */
  const char* description; /* "AMD ..., 2 threads, avx512_bf16" */
} blip_device_info;

typedef struct blip_device_list blip_device_list;
BLIP_C_API blip_status blip_devices(blip_device_list** devices, blip_error** error);
BLIP_C_API size_t blip_device_list_count(const blip_device_list* devices);
BLIP_C_API const blip_device_info* blip_device_list_at(const blip_device_list* devices,
                                                       size_t index);
BLIP_C_API void blip_device_list_free(blip_device_list* devices);

enum { BLIP_FILE_F32 = 0, BLIP_FILE_F16 = 1, BLIP_FILE_BF16 = 2, BLIP_FILE_Q8_0 = 3 };

typedef struct blip_convert_options {
  uint32_t struct_size;
  int32_t type;                    /* BLIP_FILE_..., of matrices; vectors stay f32. Default F16 */
  blip_progress_callback progress; /* by tensor; NULL = none (default) */
  blip_warning_callback warning;   /* the warnings of the source; NULL = dropped (default) */
  void* user_data;
  const char* const* adapters; /* merged into it, as those of blip_engine_options; default none */
  size_t adapter_count;
} blip_convert_options;
BLIP_C_API void blip_convert_options_default(blip_convert_options* options, uint32_t struct_size);

/* Writes source (anything blip_engine_load opens) as one GGUF file, which appears under its name
 * only when it is complete. */
BLIP_C_API blip_status blip_convert(const char* source, const char* destination,
                                    const blip_convert_options* options, blip_error** error);

/* ---- Models by name: the Hugging Face cache, downloads into it, and what is there ----
 *
 * A name is ORG/NAME or ORG/NAME@REVISION (a branch, a tag or a commit; "main" where none is
 * given), or one of the short names of blip_known_model_at. The cache is shared with the
 * huggingface_hub package. */

/* Bytes of one file of a model that are there, of all that it has (0: not told). Not zero ends the
 * call with BLIP_ERROR_CANCELLED; what arrived is kept, and the next call goes on from there. */
typedef int32_t (*blip_download_callback)(const char* file, uint64_t done, uint64_t total,
                                          void* user_data);

typedef struct blip_hub_options {
  uint32_t struct_size;
  int32_t offline;   /* not zero: never use the network. Default 0; $HF_HUB_OFFLINE does the same */
  int32_t update;    /* not zero: blip_pull asks whether a revision that is there has moved on.
                        Default 0 */
  int32_t retry_ms;  /* before the first retry of what failed in passing; doubled each time, five
                        times in all. Default 1000 */
  const char* cache; /* the cache's folder; NULL = $HF_HUB_CACHE, $HF_HOME/hub or
                        ~/.cache/huggingface/hub (default) */
  const char* endpoint; /* "https://host"; NULL = $HF_ENDPOINT, else Hugging Face's (default) */
  const char* token;    /* sent to the endpoint alone; NULL = $HF_TOKEN, else the file that
                           `hf auth login` writes (default) */
  blip_download_callback progress; /* NULL = none (default) */
  blip_cancel_callback cancel;     /* asked about ten times a second; NULL = never (default) */
  blip_warning_callback warning;   /* retries, what stays on disk; NULL = dropped (default) */
  void* user_data;
} blip_hub_options;
BLIP_C_API void blip_hub_options_default(blip_hub_options* options, uint32_t struct_size);

/* Is this text of the form of a model's name? 0 or 1; nothing is said about whether there is one.
 */
BLIP_C_API int32_t blip_is_model_name(const char* text);
/* What blip_engine_load opens for a name, which does this itself: the name where it is a path, else
 * the revision's folder in the cache of Hugging Face or ModelScope. Uses no network. BLIP_ERROR_IO
 * where it is in neither, with what was looked for, where, and the nearest known name. */
BLIP_C_API blip_status blip_find_model(const char* name, const blip_hub_options* options,
                                       char** path, blip_error** error);
/* As blip_find_model, and downloads what is missing: the configuration, the vocabulary and one form
 * of the weights, each checked against the hub's checksum before it gets its name.
 * BLIP_ERROR_USAGE for what is no name, BLIP_ERROR_IO where the model cannot be had,
 * BLIP_ERROR_UNSUPPORTED in builds without downloads. Free path with blip_string_free. */
BLIP_C_API blip_status blip_pull(const char* name, const blip_hub_options* options, char** path,
                                 blip_error** error);
/* The base model, a name or a path, that the LoRA adapter at a path states and that
 * blip_engine_load will look for; "" where there is no adapter, where it states none, and where the
 * base lies beside it. BLIP_ERROR_MODEL for a damaged one. Free base with blip_string_free. */
BLIP_C_API blip_status blip_adapter_base(const char* path, char** base, blip_error** error);
/* Which of a repository's files blip_pull takes, by their names: wanted has room for count values,
 * 0 or 1. For programs with a downloader of their own. All 0: it holds no weights that can be read.
 */
BLIP_C_API blip_status blip_wanted_files(const char* const* names, size_t count, uint8_t* wanted,
                                         blip_error** error);
/* Removes a model's revision from the cache (all where none is named) and what no other needs.
 * bytes, unless NULL: what became free. BLIP_ERROR_IO where it is not there. */
BLIP_C_API blip_status blip_remove_cached(const char* name, const blip_hub_options* options,
                                          uint64_t* bytes, blip_error** error);

/* A revision in the cache that holds weights: not of BLIP alone, which blip_inspect tells. */
typedef struct blip_cached_model {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t bytes;
  const char* name;     /* "ORG/NAME" */
  const char* commit;   /* 40 hexadecimal digits */
  const char* revision; /* the branch or tag that points to it, "" where none does */
  const char* path;     /* what blip_engine_load takes */
} blip_cached_model;

typedef struct blip_model_list blip_model_list;
BLIP_C_API blip_status blip_cached_models(const blip_hub_options* options, blip_model_list** models,
                                          blip_error** error);
BLIP_C_API size_t blip_model_list_count(const blip_model_list* models);
BLIP_C_API const blip_cached_model* blip_model_list_at(const blip_model_list* models, size_t index);
BLIP_C_API void blip_model_list_free(blip_model_list* models);

/* A published checkpoint that people ask for by a short name; never freed. */
typedef struct blip_known_model {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t bytes;         /* of the download, about */
  const char* short_name; /* "caption-base" */
  const char* source;     /* "ORG/NAME", or the address of an official .pth file */
  const char* task;       /* "caption", "match", "ask" */
  const char* licence;    /* SPDX identifier */
} blip_known_model;
BLIP_C_API size_t blip_known_model_count(void);
BLIP_C_API const blip_known_model* blip_known_model_at(size_t index); /* NULL beyond the last */

#ifdef __cplusplus
}
#endif

#endif /* BLIP_C_H */

// Sessions: tasks, one call at a time.
#include "capi/handles.h"

using namespace blip::capi;
using blip::Error;
using blip::ErrorCode;

blip::SessionOptions blip_session::in_cpp() {
  blip::SessionOptions made;
  made.threads = options.threads;
  made.cancel = [this] {
    return stop.load(std::memory_order_relaxed) ||
           (options.cancel != nullptr && options.cancel(options.user_data) != 0);
  };
  if (options.warning != nullptr)
    made.warning = [this](const std::string& message) {
      options.warning(message.c_str(), options.user_data);
    };
  return made;
}

namespace {

// A call has the session for itself.
class Call {
 public:
  explicit Call(blip_session* session) : session_(checked(session, "session")) {
    if (session_.busy.exchange(true)) {
      throw Error(
          ErrorCode::kUsage,
          "the session is at another call, from another thread or from the callback that made " +
              std::string("this one; give each thread a session of its own"));
    }
    session_.stop = false;
  }
  ~Call() { session_.busy = false; }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  blip::Session& operator*() const { return session_.session; }
  blip::Session* operator->() const { return &session_.session; }

  // The work asks the session's stop flag between tokens; the last token has no work after it that
  // could ask.
  std::function<void(std::int32_t, const std::string&)> tokens(blip_token_callback on_token,
                                                               void* user_data) const {
    if (on_token == nullptr) return {};
    return [this, on_token, user_data](std::int32_t id, const std::string& text) {
      if (on_token(id, text.c_str(), user_data) != 0) session_.stop = true;
    };
  }
  void end() const {
    if (session_.stop) throw_cancelled();
  }

 private:
  blip_session& session_;
};

std::vector<blip::EncodedImage> encoded_images(const blip_encoded* const* images,
                                               std::size_t count) {
  if (images == nullptr && count > 0) throw Error(ErrorCode::kUsage, "images is NULL");
  std::vector<blip::EncodedImage> list;
  for (std::size_t i = 0; i < count; ++i)
    list.push_back(checked(images[i], "images[" + std::to_string(i) + "]").image);
  return list;
}

blip::AskOptions ask_options(const blip_ask_options* given, const Call& call) {
  const auto o = read_options(given, "blip_ask_options");
  blip::AskOptions options;
  apply(o.generate, options.generate);
  options.rank_candidates = o.rank_candidates;
  options.max_text_length = o.max_text_length;
  options.on_token = call.tokens(o.on_token, o.user_data);
  return options;
}

blip::CaptionOptions caption_options(const blip_caption_options* given, const Call& call) {
  const auto o = read_options(given, "blip_caption_options");
  blip::CaptionOptions options;
  if (o.prompt != nullptr) options.prompt = o.prompt;
  apply(o.generate, options.generate);
  options.on_token = call.tokens(o.on_token, o.user_data);
  return options;
}

blip::Text attended(const char* text, const char* name, const std::int32_t* token_ids,
                    std::size_t token_count) {
  if (token_ids == nullptr && token_count > 0) throw Error(ErrorCode::kUsage, "token_ids is NULL");
  blip::Text made;
  made.text = required(text, name);
  made.token_ids.assign(token_ids, token_ids + token_count);
  return made;
}

blip_tensor* matrix(const std::vector<std::vector<float>>& rows, int columns) {
  blip::Tensor made{{static_cast<std::int64_t>(rows.size()), columns}, {}};
  made.values.reserve(rows.size() * static_cast<std::size_t>(columns));
  for (const auto& row : rows) made.values.insert(made.values.end(), row.begin(), row.end());
  return new blip_tensor(std::move(made));
}

}  // namespace

extern "C" {

blip_status blip_session_new(const blip_engine* engine, const blip_session_options* options,
                             blip_session** session, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(session);
    *session = new blip_session(checked(engine, "engine").engine,
                                read_options(options, "blip_session_options"));
  });
}

void blip_session_cancel(blip_session* session) {
  if (valid(session) && session->busy) session->stop = true;
}

void blip_session_free(blip_session* session) { release(session); }

blip_status blip_session_encode(blip_session* session, const blip_image* const* images,
                                size_t count, blip_encoded** encoded, blip_error** error) {
  return guarded(error, [&] {
    if ((encoded == nullptr || images == nullptr) && count > 0)
      throw Error(ErrorCode::kUsage,
                  encoded == nullptr ? "the place for the results is NULL" : "images is NULL");
    std::fill_n(encoded, count, nullptr);
    const Call call(session);
    std::vector<blip::Image> list;
    for (std::size_t i = 0; i < count; ++i)
      list.push_back(checked(images[i], "images[" + std::to_string(i) + "]").image);
    std::vector<std::unique_ptr<blip_encoded>> made;
    for (auto& image : call->encode(list))
      made.push_back(std::make_unique<blip_encoded>(std::move(image)));
    for (std::size_t i = 0; i < count; ++i) encoded[i] = made[i].release();
  });
}

blip_status blip_session_caption(blip_session* session, const blip_encoded* const* images,
                                 size_t count, const blip_caption_options* options,
                                 blip_generations** captions, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(captions);
    const Call call(session);
    const auto in_cpp = caption_options(options, call);
    auto made = call->caption(encoded_images(images, count), in_cpp);
    call.end();
    *captions = new blip_generations(std::move(made));
  });
}

blip_status blip_session_ask(blip_session* session, const blip_encoded* image,
                             const char* const* questions, size_t count,
                             const blip_ask_options* options, blip_generations** answers,
                             blip_error** error) {
  return guarded(error, [&] {
    prepare_output(answers);
    const Call call(session);
    const auto in_cpp = ask_options(options, call);
    auto made =
        call->ask(checked(image, "image").image, strings(questions, count, "questions"), in_cpp);
    call.end();
    *answers = new blip_generations(std::move(made));
  });
}

blip_status blip_session_rank(blip_session* session, const blip_encoded* image,
                              const char* question, const char* const* answers, size_t count,
                              const blip_ask_options* options, blip_generations** ranked,
                              blip_error** error) {
  return guarded(error, [&] {
    prepare_output(ranked);
    const Call call(session);
    const auto in_cpp = ask_options(options, call);
    const auto texts = strings(answers, count, "answers");
    *ranked = new blip_generations(
        {call->rank(checked(image, "image").image, required(question, "question"), texts, in_cpp)});
  });
}

blip_status blip_session_match(blip_session* session, const blip_encoded* image,
                               const char* const* texts, size_t count,
                               const blip_match_options* options, blip_matches** matches,
                               blip_error** error) {
  return guarded(error, [&] {
    prepare_output(matches);
    const Call call(session);
    const auto in_cpp = match_options(options);
    *matches = new blip_matches(
        call->match(checked(image, "image").image, strings(texts, count, "texts"), in_cpp));
  });
}

blip_status blip_session_nlvr(blip_session* session, const blip_encoded* first,
                              const blip_encoded* second, const char* const* statements,
                              size_t count, const blip_nlvr_options* options,
                              blip_tensor** probabilities, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(probabilities);
    const Call call(session);
    auto made = call->nlvr(checked(first, "first").image, checked(second, "second").image,
                           strings(statements, count, "statements"), nlvr_options(options));
    const auto rows = static_cast<std::int64_t>(made.size());
    *probabilities = new blip_tensor({{rows}, std::move(made)});
  });
}

blip_status blip_session_embed_images(blip_session* session, const blip_encoded* const* images,
                                      size_t count, blip_tensor** vectors, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(vectors);
    const Call call(session);
    std::vector<std::vector<float>> rows;
    for (const auto& image : encoded_images(images, count)) rows.push_back(call->embed(image));
    *vectors = matrix(rows, rows.empty() ? 0 : static_cast<int>(rows.front().size()));
  });
}

blip_status blip_session_embed_texts(blip_session* session, const char* const* texts, size_t count,
                                     const blip_embed_options* options, blip_tensor** vectors,
                                     blip_error** error) {
  return guarded(error, [&] {
    prepare_output(vectors);
    const Call call(session);
    const auto rows = call->embed(strings(texts, count, "texts"), embed_options(options));
    *vectors = matrix(rows, rows.empty() ? 0 : static_cast<int>(rows.front().size()));
  });
}

blip_status blip_session_features(blip_session* session, int32_t kind, const blip_encoded* image,
                                  const char* text, const blip_embed_options* options,
                                  blip_tensor** features, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(features);
    const Call call(session);
    if (kind < BLIP_FEATURES_IMAGE || kind > BLIP_FEATURES_MULTIMODAL)
      throw Error(ErrorCode::kUsage, "kind is " + std::to_string(kind) + "; known are 0 to 4");
    const blip::EncodedImage* encoded = image == nullptr ? nullptr : &checked(image, "image").image;
    *features =
        new blip_tensor(call->features(static_cast<blip::FeatureKind>(kind), encoded,
                                       text == nullptr ? "" : text, embed_options(options)));
  });
}

blip_status blip_session_dump(blip_session* session, int32_t stage, const blip_image* image,
                              const char* text, blip_tensor** tensor, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(tensor);
    const Call call(session);
    if (stage < BLIP_STAGE_PIXELS || stage > BLIP_STAGE_QUESTION)
      throw Error(ErrorCode::kUsage, "stage is " + std::to_string(stage) + "; known are 0 to 3");
    const std::string words = text == nullptr ? "" : text;
    *tensor = new blip_tensor(
        call->dump(static_cast<blip::Stage>(stage), checked(image, "image").image, words));
  });
}

blip_status blip_session_attend_caption(blip_session* session, const blip_encoded* image,
                                        const char* caption, const int32_t* token_ids,
                                        size_t token_count, const blip_attention_options* options,
                                        blip_attention** attention, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(attention);
    const Call call(session);
    const auto text = attended(caption, "caption", token_ids, token_count);
    *attention = new blip_attention(
        call->attention(checked(image, "image").image, text, attention_options(options)));
  });
}

blip_status blip_session_attend_answer(blip_session* session, const blip_encoded* image,
                                       const char* question, const char* answer,
                                       const int32_t* token_ids, size_t token_count,
                                       const blip_attention_options* options,
                                       blip_attention** attention, blip_error** error) {
  return guarded(error, [&] {
    prepare_output(attention);
    const Call call(session);
    const auto text = attended(answer, "answer", token_ids, token_count);
    *attention = new blip_attention(call->attention(checked(image, "image").image,
                                                    required(question, "question"), text,
                                                    attention_options(options)));
  });
}

}  // extern "C"

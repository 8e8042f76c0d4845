// Many texts in one pass, of which a bad one must fail alone.
#pragma once

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blip/error.h"

namespace blip::cli {

// A text's result, or why it has none.
template <class Result>
struct Outcome {
  std::optional<Result> result;
  std::string error;
};

// Runs `work` on all texts together and, where the pass is refused for a text of it
// (Error(kUsage)), on each alone. What was refused alone is remembered and left out of later
// passes.
template <class Result>
class OneByOne {
 public:
  explicit OneByOne(std::size_t texts) : errors_(texts) {}

  // work(texts) returns one Result per text.
  template <class Work>
  std::vector<Outcome<Result>> run(std::span<const std::string> texts, const Work& work) {
    std::vector<Outcome<Result>> outcomes(texts.size());
    std::vector<std::string> good;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      outcomes[i].error = errors_[i];
      if (!errors_[i].empty()) continue;
      good.push_back(texts[i]);
      places.push_back(i);
    }
    if (good.empty()) return outcomes;
    try {
      std::vector<Result> results = work(std::span<const std::string>(good));
      for (std::size_t i = 0; i < results.size(); ++i)
        outcomes[places[i]].result = std::move(results[i]);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUsage) throw;
      for (std::size_t i = 0; i < good.size(); ++i) run_alone(good[i], places[i], work, outcomes);
    }
    return outcomes;
  }

 private:
  template <class Work>
  void run_alone(const std::string& text, std::size_t place, const Work& work,
                 std::vector<Outcome<Result>>& outcomes) {
    try {
      outcomes[place].result = std::move(work(std::span<const std::string>(&text, 1)).front());
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUsage) throw;
      outcomes[place].error = errors_[place] = error.what();
    }
  }

  std::vector<std::string> errors_;
};

// The texts of an input: its own, else those that all inputs share. Throws Error(kImage), the
// picture's failure, where there are none; option: what gives them.
inline const std::vector<std::string>& texts_for(const std::vector<std::string>& all,
                                                 const std::vector<std::string>& own,
                                                 const char* option) {
  if (all.empty() && own.empty())
    throw Error(ErrorCode::kImage, std::string("nothing is asked of it; give ") + option);
  return own.empty() ? all : own;
}

// Of the texts of an input, where it has some of its own, else of those that all inputs share,
// whose errors `shared` remembers.
template <class Result, class Work>
std::vector<Outcome<Result>> run_texts(OneByOne<Result>& shared,
                                       const std::vector<std::string>& all,
                                       const std::vector<std::string>& own, const Work& work) {
  if (own.empty()) return shared.run(all, work);
  return OneByOne<Result>(own.size()).run(own, work);
}

// Throws Error(kImage), the failure of the text's picture, where the text has no result.
template <class Result>
void require_result(const Outcome<Result>& outcome, const std::string& text) {
  if (outcome.result) return;
  const bool named = outcome.error.find(text) != std::string::npos;
  throw Error(ErrorCode::kImage, named ? outcome.error : "\"" + text + "\": " + outcome.error);
}

}  // namespace blip::cli

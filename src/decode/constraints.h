// Forced words: how far a text has come with them. Internal to src/decode.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace blip::decode {

// One forced word: its alternatives as a tree of tokens. A text has it when it came to a leaf.
class Constraint {
 public:
  // Throws Error(kUsage) where one alternative begins with another, which would never be reached.
  explicit Constraint(const std::vector<std::vector<std::int32_t>>& alternatives);

  static constexpr int kRoot = 0;
  int child(int node, std::int32_t token) const;  // -1: none
  // In the order of the alternatives.
  const std::vector<std::pair<std::int32_t, int>>& children(int node) const {
    return nodes_[static_cast<std::size_t>(node)].children;
  }
  int depth(int node) const { return nodes_[static_cast<std::size_t>(node)].depth; }
  int height() const { return height_; }  // tokens of the longest alternative

 private:
  struct Node {
    std::vector<std::pair<std::int32_t, int>> children;
    int depth = 0;
  };
  std::vector<Node> nodes_;
  int height_ = 0;
};

// All forced words of a request.
struct Constraints {
  explicit Constraints(const std::vector<std::vector<std::vector<std::int32_t>>>& forced);

  std::vector<Constraint> all;
  int height = 0;  // of the highest
};

// How far one text has come, as transformers' ConstraintListState counts it: a word is begun where
// none is, gone on with as long as its tokens come one after the other, and else begun anew.
class Progress {
 public:
  explicit Progress(const Constraints& constraints);
  Progress(const Constraints& constraints, std::span<const std::int32_t> text);

  void add(std::int32_t token);
  bool complete() const { return current_ < 0 && pending_.empty(); }
  // The tokens that bring the text on.
  std::vector<std::int32_t> next_tokens() const;
  // Larger for a text that is further: `height` for each word that it has, and the part of one
  // that it is in.
  int bank() const;

 private:
  const Constraint& constraint(int index) const {
    return constraints_->all[static_cast<std::size_t>(index)];
  }

  const Constraints* constraints_;
  std::vector<int> pending_;
  int current_ = -1;  // the word that the text is in; -1: none
  // Where in it. Copies share it, as those of transformers share a list: of several texts that go
  // on from one inside of a word, the later ones see the steps of the earlier. It decides their
  // banks, so it is kept.
  std::shared_ptr<int> node_;
};

}  // namespace blip::decode

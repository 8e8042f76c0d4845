#include "decode/constraints.h"

#include <algorithm>
#include <numeric>

#include "blip/error.h"

namespace blip::decode {

Constraint::Constraint(const std::vector<std::vector<std::int32_t>>& alternatives) : nodes_(1) {
  for (const std::vector<std::int32_t>& tokens : alternatives) {
    int node = kRoot;
    bool fresh = false;
    for (const std::int32_t token : tokens) {
      int next = child(node, token);
      if (node != kRoot && !fresh && children(node).empty()) break;
      if (next < 0) {
        next = static_cast<int>(nodes_.size());
        nodes_.push_back({{}, depth(node) + 1});
        nodes_[static_cast<std::size_t>(node)].children.emplace_back(token, next);
        fresh = true;
      }
      node = next;
    }
    if (!fresh) {
      throw Error(ErrorCode::kUsage,
                  "force_words: of the alternatives of a word one begins with another, in tokens; "
                  "leave the longer one out");
    }
    height_ = std::max(height_, depth(node));
  }
}

int Constraint::child(int node, std::int32_t token) const {
  for (const auto& [other, next] : children(node))
    if (other == token) return next;
  return -1;
}

Constraints::Constraints(const std::vector<std::vector<std::vector<std::int32_t>>>& forced) {
  for (const auto& alternatives : forced) {
    all.emplace_back(alternatives);
    height = std::max(height, all.back().height());
  }
}

Progress::Progress(const Constraints& constraints)
    : constraints_(&constraints), pending_(constraints.all.size()) {
  std::iota(pending_.begin(), pending_.end(), 0);
}

Progress::Progress(const Constraints& constraints, std::span<const std::int32_t> text)
    : Progress(constraints) {
  for (const std::int32_t token : text) {
    if (complete()) break;
    add(token);
  }
}

void Progress::add(std::int32_t token) {
  if (complete()) return;
  if (current_ >= 0) {
    const int next = constraint(current_).child(*node_, token);
    if (next < 0) {
      pending_.push_back(current_);
      current_ = -1;
      return;
    }
    *node_ = next;
    if (!constraint(current_).children(next).empty()) return;
    current_ = -1;
  } else {
    const auto begun = std::find_if(pending_.begin(), pending_.end(), [&](int index) {
      return constraint(index).child(Constraint::kRoot, token) >= 0;
    });
    if (begun == pending_.end()) return;
    const int index = *begun, next = constraint(index).child(Constraint::kRoot, token);
    pending_.erase(begun);
    if (!constraint(index).children(next).empty()) {
      current_ = index;
      node_ = std::make_shared<int>(next);
    }
  }
}

std::vector<std::int32_t> Progress::next_tokens() const {
  std::vector<std::int32_t> tokens;
  const auto append = [&](int index, int node) {
    for (const auto& [token, next] : constraint(index).children(node)) tokens.push_back(token);
  };
  if (current_ >= 0) {
    append(current_, *node_);
  } else {
    for (const int index : pending_) append(index, Constraint::kRoot);
  }
  return tokens;
}

int Progress::bank() const {
  const int height = constraints_->height,
            left = static_cast<int>(pending_.size()) + (current_ >= 0 ? 1 : 0),
            done = static_cast<int>(constraints_->all.size()) - left;
  if (current_ < 0) return done * height;
  const Constraint& word = constraint(current_);
  return (done + 1) * height - (word.height() - word.depth(*node_));
}

}  // namespace blip::decode

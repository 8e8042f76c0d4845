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
      const bool leaf = node != kRoot && !fresh && children(node).empty();
      if (leaf) node = -1;
      if (node < 0) break;
      if (next < 0) {
        next = static_cast<int>(nodes_.size());
        nodes_.push_back({{}, depth(node) + 1});
        nodes_[static_cast<std::size_t>(node)].children.emplace_back(token, next);
        fresh = true;
      }
      node = next;
    }
    if (node < 0 || !fresh) {
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
    if (complete_) break;
    add(token);
  }
}

void Progress::add(std::int32_t token) {
  if (complete_) return;
  const auto of = [this](int index) -> const Constraint& {
    return constraints_->all[static_cast<std::size_t>(index)];
  };
  if (current_ >= 0) {
    const int next = of(current_).child(*node_, token);
    if (next < 0) {
      pending_.push_back(current_);
      current_ = -1;
      return;
    }
    *node_ = next;
    if (!of(current_).children(next).empty()) return;
    current_ = -1;
  } else {
    const auto begun = std::find_if(pending_.begin(), pending_.end(), [&](int index) {
      return of(index).child(Constraint::kRoot, token) >= 0;
    });
    if (begun == pending_.end()) return;
    const int index = *begun, next = of(index).child(Constraint::kRoot, token);
    pending_.erase(begun);
    if (!of(index).children(next).empty()) {
      current_ = index;
      node_ = std::make_shared<int>(next);
      return;
    }
  }
  ++done_;
  complete_ = pending_.empty();
}

std::vector<std::int32_t> Progress::next_tokens() const {
  std::vector<std::int32_t> tokens;
  const auto append = [&](int index, int node) {
    for (const auto& [token, next] :
         constraints_->all[static_cast<std::size_t>(index)].children(node))
      tokens.push_back(token);
  };
  if (current_ >= 0) {
    append(current_, *node_);
  } else {
    for (const int index : pending_) append(index, Constraint::kRoot);
  }
  return tokens;
}

int Progress::bank() const {
  int bank = done_ * constraints_->height;
  if (current_ >= 0) {
    const Constraint& constraint = constraints_->all[static_cast<std::size_t>(current_)];
    bank += constraints_->height - (constraint.height() - constraint.depth(*node_));
  }
  return bank;
}

}  // namespace blip::decode

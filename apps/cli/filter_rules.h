// --keep: which texts fit their pictures well enough.
#pragma once

#include <string>
#include <vector>

#include "blip/blip.h"

namespace blip::cli {

class FilterRules {
 public:
  // "itm>0.5", "itc>=0.3": all of them must hold. Throws Exit(2) for one that is none.
  explicit FilterRules(const std::vector<std::string>& rules);

  // A rule is about the ITC heads' cosine.
  bool need_cosine() const;

  struct Verdict {
    bool kept;
    std::string reason;  // "itm 0.9312 > 0.5", "itm 0.0121 <= 0.5"
  };
  Verdict judge(const Match& match) const;

 private:
  struct Rule {
    bool cosine = false, or_equal = false;
    double limit = 0;
    std::string shown;  // the limit as it was written
  };
  static Rule read(const std::string& text);

  std::vector<Rule> rules_;
};

}  // namespace blip::cli

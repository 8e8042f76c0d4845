#include "cli/filter_rules.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cli/console.h"
#include "cli/exit.h"

namespace blip::cli {

FilterRules::FilterRules(const std::vector<std::string>& rules) {
  for (const std::string& rule : rules) rules_.push_back(read(rule));
}

FilterRules::Rule FilterRules::read(const std::string& given) {
  std::string text = given;
  std::erase(text, ' ');
  Rule rule;
  rule.cosine = text.starts_with("itc");
  const bool named = rule.cosine || text.starts_with("itm");
  rule.or_equal = named && text.substr(3).starts_with(">=");
  rule.shown = named ? text.substr(std::min<std::size_t>(rule.or_equal ? 5 : 4, text.size())) : "";
  const char* const end = rule.shown.data() + rule.shown.size();
  const auto [stopped, error] = std::from_chars(rule.shown.data(), end, rule.limit);
  const double low = rule.cosine ? -1 : 0;
  if (!named || text[3] != '>' || error != std::errc() || stopped != end ||
      !(rule.limit >= low && rule.limit <= 1))
    throw Exit(kExitUsage, "--keep: \"" + given +
                               "\" is no rule such as itm>0.5 (the match probability, 0 to 1) or "
                               "itc>=0.3 (the cosine, -1 to 1)");
  return rule;
}

bool FilterRules::need_cosine() const {
  return std::any_of(rules_.begin(), rules_.end(), [](const Rule& rule) { return rule.cosine; });
}

FilterRules::Verdict FilterRules::judge(const Match& match) const {
  Verdict verdict{true, ""};
  for (const Rule& rule : rules_) {
    const float value = (rule.cosine ? match.cosine : match.match_probability).value_or(NAN);
    const auto limit = static_cast<float>(rule.limit);
    const bool holds = rule.or_equal ? value >= limit : value > limit;
    const std::string sign = holds           ? (rule.or_equal ? " >= " : " > ")
                             : rule.or_equal ? " < "
                                             : " <= ";
    const std::string reason =
        (rule.cosine ? "itc " : "itm ") + fixed(value, 4) + sign + rule.shown;
    if (!holds) return {false, reason};
    verdict.reason += (verdict.reason.empty() ? "" : ", ") + reason;
  }
  return verdict;
}

}  // namespace blip::cli

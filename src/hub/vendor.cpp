#include "hub/vendor.h"

#include <algorithm>

#include "base/ascii.h"
#include "blip/error.h"

namespace blip::hub {
namespace {

constexpr const char* kOrganisation = "sophon-demo/";

}  // namespace

const std::vector<std::string>& vendor_names() {
  static const std::vector<std::string> names = {"sophon-demo/bm1684", "sophon-demo/bm1684x",
                                                 "sophon-demo/bm1688"};
  return names;
}

// The files lie on an SFTP server whose login is that of the vendor's own program: it is not ours
// to hand on. The message is one line, as all are, whose commands can be copied.
void refuse_vendor_model(const Name& name) {
  const std::string repository = lower(name.repository);
  if (!repository.starts_with(kOrganisation)) return;
  const auto& names = vendor_names();
  if (std::find(names.begin(), names.end(), repository) == names.end() || !name.revision.empty()) {
    std::string known;
    for (const std::string& one : names) known += (known.empty() ? "" : ", ") + one;
    throw Error(ErrorCode::kUnsupported,
                name.repository + (name.revision.empty() ? "" : "@" + name.revision) +
                    ": the vendor's compiled models are " + known + ", without revisions");
  }
  const std::string chip = repository.substr(std::string(kOrganisation).size());
  const auto file = [&](const std::string& part) {
    return "blip_" + part + "_" + chip + "_f32_1b.bmodel";
  };
  throw Error(
      ErrorCode::kUnsupported,
      name.repository +
          ": the vendor's compiled models are on no hub; its own program dfss fetches them: " +
          "`python3 -m pip install dfss && for part in cap itm vqa_venc vqa_tenc vqa_tdec; do " +
          "python3 -m dfss --url=open@sophgo.com:sophon-demo/BLIP/" + file("${part}") +
          "; done`; then name the files: " + "`blip caption --bmodel-path " + file("cap") +
          " PICTURE` (`blip ask --help`, docs/SOPHON.md)");
}

}  // namespace blip::hub

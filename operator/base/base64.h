// Base64 as Kubernetes writes it in Secrets and kubeconfigs (RFC 4648, with padding).
// Thread: pure functions.
#pragma once

#include <string>

#include "operator/base/error.h"

namespace regroup {

std::string EncodeBase64(const std::string& bytes);
// Line breaks are skipped; any other foreign character is kInvalid.
Result<std::string> DecodeBase64(const std::string& text);

}  // namespace regroup

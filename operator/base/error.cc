#include "operator/base/error.h"

namespace regroup {

std::string_view ToString(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound: return "NotFound";
    case ErrorCode::kConflict: return "Conflict";
    case ErrorCode::kAlreadyExists: return "AlreadyExists";
    case ErrorCode::kGone: return "Gone";
    case ErrorCode::kForbidden: return "Forbidden";
    case ErrorCode::kInvalid: return "Invalid";
    case ErrorCode::kUnavailable: return "Unavailable";
    case ErrorCode::kDeadlineExceeded: return "DeadlineExceeded";
    case ErrorCode::kCancelled: return "Cancelled";
    case ErrorCode::kTooManyRequests: return "TooManyRequests";
    case ErrorCode::kInternal: return "Internal";
  }
  return "Internal";
}

}  // namespace regroup

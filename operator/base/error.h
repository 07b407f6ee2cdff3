// Errors as values. Every fallible call of the project returns Result<T>; the code is what a
// caller can act on, the message is what a person reads.
// Thread: plain values. Source of the code set: gRPC's canonical codes, cut down to those on which
// some caller of ours branches.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace regroup {

enum class ErrorCode {
  kNotFound,          // the object or member does not exist
  kConflict,          // a resourceVersion, UID or precondition did not match: read and plan again
  kAlreadyExists,     // a create met an object of that name
  kGone,              // HTTP 410: the resourceVersion is too old, list again
  kForbidden,         // RBAC, admission or the engine's ACL said no
  kInvalid,           // the input can never succeed as it is
  kUnavailable,       // no connection: nothing was sent, or the other side refused
  kDeadlineExceeded,  // no answer in time: the outcome is UNKNOWN and must be read back
  kCancelled,         // stopped by us: the outcome is unknown as well
  kTooManyRequests,   // HTTP 429: wait retry_after_ms
  kInternal,          // a bug or an answer that we cannot read
};

std::string_view ToString(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  int http_status = 0;                // 0 where HTTP had no part in it
  std::int64_t retry_after_ms = 0;    // from Retry-After, else 0
};

template <typename T>
using Result = tl::expected<T, Error>;

// True where the effect may or may not have happened (a lost reply): the caller reads it back.
inline bool IsUnknownOutcome(const Error& error) {
  return error.code == ErrorCode::kDeadlineExceeded || error.code == ErrorCode::kCancelled;
}

inline tl::unexpected<Error> Fail(ErrorCode code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message), 0, 0});
}

}  // namespace regroup

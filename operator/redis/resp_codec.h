// The engine's wire format (RESP2): our own writer, hiredis's reader behind one small class. Pure
// and bounded: a reply larger than kReplyMaxBytes or nested deeper than hiredis allows is an error.
// Thread: a decoder belongs to one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "operator/base/error.h"

struct redisReader;

namespace regroup::redis {

inline constexpr std::size_t kReplyMaxBytes = 4 << 20;

struct Reply {
  bool is_error = false;
  bool is_array = false;
  std::string text;             // status, bulk, integer or error as text
  std::vector<Reply> elements;  // arrays
};

// *N then $len for each word; words may hold any bytes.
std::string EncodeCommand(const std::vector<std::string>& words);

class RespDecoder {
 public:
  // kInvalid: not RESP, or over the bound; the connection is of no more use.
  Result<void> Feed(std::string_view bytes);
  // The next whole reply; nothing where more bytes are needed.
  Result<std::optional<Reply>> Next();

 private:
  struct Free {
    void operator()(redisReader* reader) const;
  };
  using Reader = std::unique_ptr<redisReader, Free>;
  static Reader& Spare();

  Reader reader_;  // only while bytes of a reply are held
  std::size_t pending_bytes_ = 0;
};

}  // namespace regroup::redis

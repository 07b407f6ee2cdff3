#include "operator/redis/resp_codec.h"

#include <hiredis/hiredis.h>

#include <memory>

namespace regroup::redis {

namespace {

Reply Convert(const redisReply& raw) {
  Reply reply;
  switch (raw.type) {
    case REDIS_REPLY_ARRAY:
      reply.is_array = true;
      for (std::size_t i = 0; i < raw.elements; ++i) {
        reply.elements.push_back(Convert(*raw.element[i]));
      }
      break;
    case REDIS_REPLY_INTEGER:
      reply.text = std::to_string(raw.integer);
      break;
    case REDIS_REPLY_ERROR:
      reply.is_error = true;
      reply.text.assign(raw.str, static_cast<std::size_t>(raw.len));
      break;
    case REDIS_REPLY_NIL:
      break;
    default:
      if (raw.str != nullptr) reply.text.assign(raw.str, static_cast<std::size_t>(raw.len));
  }
  return reply;
}

}  // namespace

std::string EncodeCommand(const std::vector<std::string>& words) {
  std::string out = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) {
    out += "$" + std::to_string(word.size()) + "\r\n";
    out += word;
    out += "\r\n";
  }
  return out;
}

void RespDecoder::Free::operator()(redisReader* reader) const { redisReaderFree(reader); }

// Its buffer keeps the size of the largest reply, and thousands of connections wait at rest: those
// of one thread share one reader, which is lent to whoever has bytes.
RespDecoder::Reader& RespDecoder::Spare() {
  thread_local Reader spare;
  return spare;
}

Result<void> RespDecoder::Feed(std::string_view bytes) {
  pending_bytes_ += bytes.size();
  if (pending_bytes_ > kReplyMaxBytes) return Fail(ErrorCode::kInvalid, "reply is too large");
  if (!reader_) reader_ = std::move(Spare());
  if (!reader_) reader_.reset(redisReaderCreate());
  if (redisReaderFeed(reader_.get(), bytes.data(), bytes.size()) != REDIS_OK) {
    return Fail(ErrorCode::kInvalid, "reply cannot be read");
  }
  return {};
}

Result<std::optional<Reply>> RespDecoder::Next() {
  if (!reader_) return std::optional<Reply>();
  void* raw = nullptr;
  if (redisReaderGetReply(reader_.get(), &raw) != REDIS_OK) {
    return Fail(ErrorCode::kInvalid, "reply is not RESP");
  }
  if (raw == nullptr) return std::optional<Reply>();
  std::unique_ptr<redisReply, void (*)(void*)> owned(static_cast<redisReply*>(raw),
                                                     freeReplyObject);
  pending_bytes_ = 0;
  if (reader_->pos == reader_->len) Spare() = std::move(reader_);
  return std::optional<Reply>(Convert(*owned));
}

}  // namespace regroup::redis
